"""Columns of byte strings as spans of one buffer, which is how kernels read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

# Kernels may read so far beyond the last byte of a string.
MARGIN: Final = 64


class Slices(NamedTuple):
    """`spans` are (start, length) in `buffer`, shape (n, 2), length -1 for None. MARGIN bytes follow the last one."""

    buffer: npt.NDArray[np.uint8]
    spans: npt.NDArray[np.int64]

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> Slices:
        """The same strings, copied one behind the other."""
        try:
            joined = b"".join([*values, bytes(MARGIN)])  # type: ignore[list-item]  # None raises TypeError
            lengths = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
            sizes = lengths
        except TypeError:
            joined = b"".join([value or b"" for value in values] + [bytes(MARGIN)])
            lengths = np.array([-1 if value is None else len(value) for value in values], np.int64)
            sizes = np.maximum(lengths, 0)
        return cls(np.frombuffer(joined, np.uint8), np.stack((np.cumsum(sizes) - sizes, lengths), axis=1))

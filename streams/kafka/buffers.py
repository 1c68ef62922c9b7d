"""Memory for batches of records, which is used again once nobody refers to it.

New memory of this size costs a page fault for every 4 KiB.
"""

from __future__ import annotations

import sys
from typing import Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

# What refers to a kept buffer that is free: the list, the variable of the search, and the argument of the question.
_FREE: Final = 3


class Buffers:
    """Up to `most` buffers of `size` bytes. One thread takes them; any thread may let them go."""

    def __init__(self, size: int, most: int) -> None:
        self._size = size
        self._most = most
        self._kept: list[Bytes] = []

    def take(self, size: int) -> Bytes:
        """A buffer of at least so many bytes that nothing refers to."""
        if size > self._size:
            return np.empty(size, np.uint8)
        for kept in self._kept:
            if sys.getrefcount(kept) == _FREE:
                return kept
        made = np.empty(self._size, np.uint8)
        if len(self._kept) < self._most:
            self._kept.append(made)
        return made

"""Columns of records as kernels read them: byte strings as spans of one buffer, and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from streams.kernels.gather import gather

# Kernels may read so far beyond the last byte of a string.
MARGIN: Final = 64
# Strings that lie within so many times their length are copied together.
_SPREAD: Final = 4


class Slices(Sequence[bytes | None]):
    """Byte strings, or None, that are copied out of a buffer when they are asked for.

    `spans` are (start, length) in `buffer`, shape (n, 2), length -1 for None. MARGIN bytes follow the last one.
    """

    __slots__ = ("buffer", "spans")

    def __init__(self, buffer: npt.NDArray[np.uint8], spans: npt.NDArray[np.int64]) -> None:
        self.buffer = buffer
        self.spans = spans

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> Slices:
        """The same strings in one buffer: as they are if they are Slices, else copied one behind the other."""
        if isinstance(values, Slices):
            return values
        try:
            joined = b"".join([*values, bytes(MARGIN)])  # type: ignore[list-item]  # None raises TypeError
            lengths = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
            sizes = lengths
        except TypeError:
            joined = b"".join([value or b"" for value in values] + [bytes(MARGIN)])
            lengths = np.array([-1 if value is None else len(value) for value in values], np.int64)
            sizes = np.maximum(lengths, 0)
        return cls(np.frombuffer(joined, np.uint8), np.stack((np.cumsum(sizes) - sizes, lengths), axis=1))

    @property
    def arrays(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Buffer and spans, as kernels take them."""
        return self.buffer, self.spans

    @classmethod
    def copied(cls, buffer: npt.NDArray[np.uint8], spans: npt.NDArray[np.int64]) -> Slices:
        """The strings at these spans, none of them None, one behind the other in a buffer of their own."""
        ends = np.cumsum(spans[:, 1])
        copied = np.empty((int(ends[-1]) if len(ends) else 0) + MARGIN, np.uint8)
        gather(buffer, spans, copied)
        return cls(copied, np.stack((ends - spans[:, 1], spans[:, 1]), axis=1))

    def __len__(self) -> int:
        return len(self.spans)

    @overload
    def __getitem__(self, place: int) -> bytes | None: ...
    @overload
    def __getitem__(self, place: slice) -> Slices: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Slices(self.buffer, self.spans[place])
        start, length = self.spans[place].tolist()
        return None if length < 0 else self.buffer[start : start + length].tobytes()

    def __iter__(self) -> Iterator[bytes | None]:
        spans = self.spans
        starts, lengths = spans[:, 0], spans[:, 1]
        if not len(spans):
            return iter(())
        first, end = int(starts.min()), int((starts + lengths).max())
        if lengths.min() < 0 or end - first > _SPREAD * int(lengths.sum()):
            view = self.buffer.data
            return (None if length < 0 else bytes(view[start : start + length]) for start, length in spans.tolist())
        # Parts of bytes take less than half of the time that parts of a memoryview take, copied once more as they are.
        text = self.buffer[first:end].tobytes()
        begins = starts - first
        return iter(
            [text[start:stop] for start, stop in zip(begins.tolist(), (begins + lengths).tolist(), strict=True)]
        )

    def at(self, places: npt.NDArray[np.int64]) -> Slices:
        """The strings at these places, in this order."""
        return Slices(self.buffer, self.spans[places])


class Numbers(Sequence[int]):
    """Whole numbers of an int64 array. One that is asked for is an `int`, as JSON and messages want it."""

    __slots__ = ("array",)

    def __init__(self, array: npt.NDArray[np.int64]) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.array, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Numbers: ...
    def __getitem__(self, place: Any) -> Any:
        return Numbers(self.array[place]) if isinstance(place, slice) else int(self.array[place])

    def __iter__(self) -> Iterator[int]:
        return iter(self.array.tolist())

"""What is stored of each string of a buffer, and the strings one behind the other."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.compiled import BYTES, INT64, kernel, read, written
from streams.kernels.hashing import xxh3
from streams.kernels.machine import copy, put_half, put_int, put_word, start_of

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

# What is stored of each string: its event time, its hash, where it ends in its file, and the low half of its xxh3.
STORED: Final = np.dtype([("ts", "<i8"), ("hash", "<u8"), ("end", "<i8"), ("check", "<u4")])
_STORED_BYTES = STORED.itemsize


@kernel(BYTES, read("i8", 2), read("i8"), read("u8"), INT64, written(STORED))
def describe(
    buffer: Bytes,
    spans: Int64s,
    ts: Int64s,
    hashes: npt.NDArray[np.uint64],
    file_end: int,
    rows: npt.NDArray[np.void],
) -> None:
    """Writes the row of each string, when they follow each other in a file and the first begins there at `file_end`.

    Raises IndexError for a span that is not within the buffer, or when an array is too short.
    """
    if len(ts) < len(spans) or len(hashes) < len(spans) or len(rows) < len(spans):
        raise IndexError("an array is shorter than the strings are many")
    source, row, end = start_of(buffer), start_of(rows), np.int64(file_end)
    for number in range(len(spans)):
        start, length = spans[number, 0], spans[number, 1]
        if start < 0 or length < 0 or start + length > len(buffer):
            raise IndexError("a string is not within its buffer")
        end += length
        put_int(row, ts[number])
        put_word(row + 8, hashes[number])
        put_int(row + 16, end)
        put_half(row + 24, np.int64(xxh3(source + start, length)))
        row += _STORED_BYTES


@kernel(BYTES, read("i8", 2), written("u1"))
def gather(buffer: Bytes, spans: Int64s, copied: Bytes) -> None:
    """Copies strings one behind the other.

    Raises IndexError for a span that is not within the buffer, or when `copied` is too short.
    """
    source, target, end = start_of(buffer), start_of(copied), np.int64(0)
    for number in range(len(spans)):
        start, length = spans[number, 0], spans[number, 1]
        if start < 0 or length < 0 or start + length > len(buffer) or end + length > len(copied):
            raise IndexError("a string is not within its buffer")
        copy(target + end, source + start, length)
        end += length

"""Columns of totals in MessagePack, as `schemas.packed` has them: each name once, and the place of each row's name; and
numbers, as narrow as the largest allows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.compiled import BYTES, INT64, inlined, kernel, part, read, written
from streams.kernels.hashing import LOW
from streams.kernels.machine import Int, byte, copy, half, start_of
from streams.kernels.names import LENGTH, START

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

# MessagePack: strings of up to 31 bytes have their length in the first byte, longer ones in one or two bytes behind it.
# So have arrays of up to 15; longer ones have it in two or four.
_SHORT, _STRING_8, _STRING_16 = 0xA0, 0xD9, 0xDA
_FEW, _ARRAY_16, _ARRAY_32 = 0x90, 0xDC, 0xDD
# Bytes have their number in up to four bytes behind the first.
_BYTES_8, _BYTES_16, _BYTES_32 = 0xC4, 0xC5, 0xC6
NUMBERS_HEAD = 5
_MOST_COLUMNS = 15
# For each width the largest number that a narrower one has room for.
_LARGEST_BELOW = np.array([0, 0, 0xFF, 0, 0xFFFF, 0, 0, 0, 0xFFFFFFFF], np.int64)
# A `NameColumn` up to its names, and from there to its places.
_NAMES = np.frombuffer(b"\x82\xa5names", np.uint8)
_PLACES = np.frombuffer(b"\xa6places", np.uint8)
# Kafka's murmur2 multiplies 32-bit numbers.
_FACTOR, _SEED = np.uint64(0x5BD1E995), np.uint64(0x9747B28C)
_U13, _U15, _U24 = np.uint64(13), np.uint64(15), np.uint64(24)
_POSITIVE = np.uint64(0x7FFFFFFF)


@part
def _find_places(codes: Int32s, column: int, marks: Int32s, distinct: Int32s, places: Int32s) -> int:
    """Writes the different codes of a column in the order in which they come, and each row's place among them.

    Returns how many there are. `marks` has a 0 for each code, before and after.
    """
    if column < 0 or column >= codes.shape[1] or len(distinct) < len(codes) or len(places) < len(codes):
        raise IndexError("an array is shorter than the rows are many")
    for row in range(len(codes)):
        if codes[row, column] < 0 or codes[row, column] >= len(marks):
            raise IndexError("there is no such code")
    count = 0
    for row in range(len(codes)):
        code = codes[row, column]
        if marks[code] == 0:
            distinct[count] = code
            count += 1
            marks[code] = count
        places[row] = marks[code] - 1
    for number in range(count):
        marks[distinct[number]] = 0
    return count


@inlined
def _require_name(code: Int, numbers: Int, entries: Int, texts: Int) -> Int:
    """The entry of a code, whose text is within its buffer."""
    if code < 0 or code >= len(numbers):
        raise IndexError("there is no such code")
    number = numbers[code]
    if number < 0 or number >= len(entries):
        raise IndexError("there is no such name")
    start, length = entries[number, START], entries[number, LENGTH]
    if start < 0 or length < 0 or length > 0xFFFF or start + length > len(texts):
        raise IndexError("a name is not within its buffer")
    return number


@part
def _write_names(codes: Int32s, numbers: Int32s, entries: Int64s, texts: Bytes, target: Bytes) -> int:
    count = len(codes)
    size = 5
    for row in range(count):
        size += 3 + entries[_require_name(codes[row], numbers, entries, texts), LENGTH]
    if size > len(target):
        return size
    if count <= 15:
        target[0] = _FEW | count
        end = 1
    elif count <= 0xFFFF:
        target[0], target[1], target[2] = _ARRAY_16, count >> 8, count & 0xFF
        end = 3
    else:
        target[0] = _ARRAY_32
        for at in range(4):
            target[1 + at] = (count >> (24 - 8 * at)) & 0xFF
        end = 5
    base, to = start_of(texts), start_of(target)
    for row in range(count):
        number = numbers[codes[row]]
        length = entries[number, LENGTH]
        if length <= 31:
            target[end] = _SHORT | length
            end += 1
        elif length <= 0xFF:
            target[end], target[end + 1] = _STRING_8, length
            end += 2
        else:
            target[end], target[end + 1], target[end + 2] = _STRING_16, length >> 8, length & 0xFF
            end += 3
        copy(to + end, base + entries[number, START], length)
        end += length
    return end


@kernel(read("i4"), read("i4"), read("i8", 2), BYTES, written("u1"))
def write_names(codes: Int32s, numbers: Int32s, entries: Int64s, texts: Bytes, target: Bytes) -> int:
    """Writes the names of codes as an array of strings in MessagePack.

    `numbers` has the entry of each code, 0 for the empty name. Returns the bytes it takes. When they are more than
    `target` has, nothing is written.
    """
    return _write_names(codes, numbers, entries, texts, target)


@inlined
def _write_narrow(numbers: Int, count: Int, largest: Int, target: Int, at: Int) -> Int:
    """Writes the first numbers as bytes, as `schemas.packed.wide` reads them. There is room for them at `at`."""
    width = 8
    while width and largest <= _LARGEST_BELOW[width]:
        width >>= 1
    size = width * count
    if size <= 0xFF:
        target[at], target[at + 1] = _BYTES_8, size
        end = at + 2
    elif size <= 0xFFFF:
        target[at], target[at + 1], target[at + 2] = _BYTES_16, size >> 8, size & 0xFF
        end = at + 3
    else:
        target[at] = _BYTES_32
        for number in range(4):
            target[at + 1 + number] = (size >> (24 - 8 * number)) & 0xFF
        end = at + NUMBERS_HEAD
    for number in range(count if width else 0):
        value = np.int64(numbers[number])
        for _ in range(width):
            target[end] = value & 0xFF
            value >>= 8
            end += 1
    return end


@kernel(
    *(read("i4", 2), read("i4", 2), read("i8", 2), BYTES),
    *(written("i4"), written("i4"), written("i4"), written("u1")),
)
def write_dimensions(
    codes: Int32s,
    numbers: Int32s,
    entries: Int64s,
    texts: Bytes,
    marks: Int32s,
    distinct: Int32s,
    places: Int32s,
    target: Bytes,
) -> int:
    """Writes the names of rows of codes, a column for each row of `numbers`, as a list of `NameColumn` in MessagePack.

    `numbers` has the entries of the codes of each dimension, as `write_names` takes them, and `marks` a 0 for each
    code, before and after; `distinct` and `places` have room for a number of each row. Returns the bytes it takes, or a
    number above the length of `target` when that is too short; what is in it then means nothing.
    """
    columns, rows = len(numbers), len(codes)
    if columns > codes.shape[1] or columns > _MOST_COLUMNS:
        raise IndexError("there are fewer codes than dimensions, or too many dimensions")
    # What a column has beside its names.
    beside = len(_NAMES) + len(_PLACES) + NUMBERS_HEAD + 4 * rows
    if len(target) < 1:
        return 1
    target[0] = _FEW | columns
    at = 1
    for column in range(columns):
        count = _find_places(codes, column, marks, distinct, places)
        if at + beside > len(target):
            return at + beside
        target[at : at + len(_NAMES)] = _NAMES
        at += len(_NAMES)
        room = target[at : len(target) - (beside - len(_NAMES))]
        size = _write_names(distinct[:count], numbers[column], entries, texts, room)
        if size > len(room):
            return at + size + beside
        at += size
        target[at : at + len(_PLACES)] = _PLACES
        at = _write_narrow(places, rows, max(count - 1, 0), target, at + len(_PLACES))
    return at


@kernel(read("i8", 2), written("u1"))
def write_numbers(numbers: Int64s, target: Bytes) -> int:
    """Writes each row of numbers, none below 0, as `schemas.packed.wide` reads them: a list of bytes in MessagePack.

    Returns the bytes it takes. `target` must have room for numbers of eight bytes each.
    """
    rows, count = numbers.shape
    if rows > _MOST_COLUMNS or len(target) < NUMBERS_HEAD * (1 + rows) + 8 * rows * count:
        raise IndexError("there are too many rows, or the target is too short")
    target[0] = _FEW | rows
    at = 1
    for row in range(rows):
        largest = np.int64(0)
        for number in range(count):
            largest = max(largest, numbers[row, number])
        at = _write_narrow(numbers[row], count, largest, target, at)
    return at


@part
def _murmur2(at: Int, length: Int) -> Int:
    """Kafka's 32-bit murmur2 of the bytes at an address."""
    state = _SEED ^ np.uint64(length)
    while length >= 4:
        mixed = (half(at) * _FACTOR) & LOW
        mixed = ((mixed ^ (mixed >> _U24)) * _FACTOR) & LOW
        state = ((state * _FACTOR) & LOW) ^ mixed
        at += 4
        length -= 4
    if length > 0:
        rest = np.int64(0)
        for number in range(length):
            rest |= byte(at + number) << (8 * number)
        state = ((state ^ np.uint64(rest)) * _FACTOR) & LOW
    state = ((state ^ (state >> _U13)) * _FACTOR) & LOW
    return state ^ (state >> _U15)


@kernel(read("i4"), read("i4"), read("i8", 2), BYTES, INT64, written("i4"))
def find_partitions(
    codes: Int32s, numbers: Int32s, entries: Int64s, texts: Bytes, partitions: int, found: Int32s
) -> None:
    """Writes the partition of each code's name by Java's partitioner."""
    if partitions < 1 or len(found) < len(codes):
        raise IndexError("there is no partition, or the array is shorter than the codes are many")
    base = start_of(texts)
    for row in range(len(codes)):
        number = _require_name(codes[row], numbers, entries, texts)
        hashed = _murmur2(base + entries[number, START], entries[number, LENGTH])
        found[row] = np.int64(hashed & _POSITIVE) % partitions

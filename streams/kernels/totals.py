"""Combinations of codes to rows of a table of totals, and sums of what is added to them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.compiled import INT64, inlined, kernel, read, written
from schemas.instructions import word
from streams.kernels.machine import Int, copy, folded, start_of

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Uint64s = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

# Odd factors of XXH3 and splitmix64.
_FIRST, _SECOND = np.uint64(0x9E3779B185EBCA87), np.uint64(0xBF58476D1CE4E5B9)
_LARGEST = np.int64(np.iinfo(np.int32).max)


@inlined
def _hash(codes: Int, words: Int) -> Int:
    mixed = _SECOND
    for number in range(words):
        mixed = folded(mixed ^ word(codes + 8 * number), _FIRST)
    return np.int64(mixed >> np.uint64(1))


@inlined
def _same(left: Int, right: Int, words: Int) -> Int:
    same = True
    for number in range(words):
        same &= word(left + 8 * number) == word(right + 8 * number)
    return same


@kernel(read("u8", 2), written("i4"), written("u8", 2), INT64, written("i4"))
def find_rows(codes: Uint64s, slots: Int32s, table: Uint64s, count: int, rows: Int32s) -> int:
    """Writes the row of each combination in the table, which has `count` rows; new ones are added behind the last.

    Codes are looked at as words, whatever their width. Of `slots`, at least twice as many as rows, each is a row or -1.
    Returns how many rows the table has then.
    """
    known, mask, base, asked = count, len(slots) - 1, start_of(table), start_of(codes)
    most, words = known + len(codes), table.shape[1]
    if len(rows) < len(codes) or len(table) < most or len(slots) < 2 * most:
        raise IndexError("an array is shorter than the combinations are many")
    if codes.shape[1] != words:
        raise IndexError("a combination has another number of codes")
    for number in range(len(codes)):
        own = asked + 8 * words * number
        slot = _hash(own, words) & mask
        row = slots[slot]
        while row >= 0 and not _same(base + 8 * words * row, own, words):
            slot = (slot + 1) & mask
            row = slots[slot]
        if row < 0:
            slots[slot] = known
            copy(base + 8 * words * known, own, 8 * words)
            known += 1
        rows[number] = slots[slot]
    return known


@kernel(written("i4"), read("u8", 2), INT64)
def fill_row_slots(slots: Int32s, table: Uint64s, count: int) -> None:
    """Puts the first `count` rows of a table into slots that are all free, -1."""
    mask, base, words = len(slots) - 1, start_of(table), table.shape[1]
    if count > len(table) or len(slots) < 2 * count:
        raise IndexError("there are fewer slots or rows than combinations")
    for row in range(count):
        slot = _hash(base + 8 * words * row, words) & mask
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = row


@kernel(written("i4", 2), read("i4"), read("i8", 2), INT64)
def add_narrow(sums: Int32s, columns: Int32s, added: Int64s, start: int) -> int:
    """As `add_columns`, for sums of 32 bits, from column `start` of `added` on.

    Returns the number of the column that it could not add, of which nothing is added; -1 if all were added.
    """
    measures = len(added)
    if len(sums) < measures or added.shape[1] < len(columns) or start < 0:
        raise IndexError("there are fewer sums or numbers than columns")
    for number in range(start, len(columns)):
        column = columns[number]
        if column < 0 or column >= sums.shape[1]:
            raise IndexError("there is no such column")
        for measure in range(measures):
            if np.int64(sums[measure, column]) + added[measure, number] > _LARGEST:
                return number
        for measure in range(measures):
            sums[measure, column] += np.int32(added[measure, number])
    return -1


@kernel(written("i8", 2), read("i4"), read("i8", 2))
def add_columns(sums: Int64s, columns: Int32s, added: Int64s) -> None:
    """Adds column n of `added` to column `columns[n]` of `sums`; a column may come several times."""
    measures = len(added)
    if len(sums) < measures or added.shape[1] < len(columns):
        raise IndexError("there are fewer sums or numbers than columns")
    for number in range(len(columns)):
        column = columns[number]
        if column < 0 or column >= sums.shape[1]:
            raise IndexError("there is no such column")
        for measure in range(measures):
            sums[measure, column] += added[measure, number]


@kernel(written("?"), written("?"), read("i4"))
def mark(first: Bools, second: Bools, places: Int32s) -> None:
    """Sets both flags at these places."""
    for number in range(len(places)):
        place = places[number]
        if place < 0 or place >= len(first) or place >= len(second):
            raise IndexError("there is no such place")
        first[place] = True
        second[place] = True

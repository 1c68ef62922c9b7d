"""Totals of one minute as arrays: a row for each combination of dimension names, found by hashing their codes.

There may be as many totals as impressions. So a row is about 75 bytes of arrays, its hash slots included, and no Python
object: a tuple of eight strings in a dict took ten times as much memory, and its checkpoint a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.totals import DIMENSIONS, MEASURES
from streams.join.totals.measures import CLICKED, SHOWN, Int64s

Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

# Codes are hashed and compared two at a time, as 64-bit words; with an odd number of dimensions the last code is 0.
_WORDS = (len(DIMENSIONS) + 1) // 2
CODE_COLUMNS = 2 * _WORDS
# Rows a table has room for at first: a minute of a small campaign. Room is doubled whenever it is full.
_FIRST_ROWS = 64
# Odd 64-bit factors, one for each word: powers of the golden ratio's constant spread neighbouring codes over all bits.
_MIX = np.array([pow(0x9E3779B97F4A7C15, 2 * word + 1, 1 << 64) for word in range(_WORDS)], np.uint64)
# A factor of splitmix64, which mixes the sum once more.
_STIR = np.uint64(0xBF58476D1CE4E5B9)


class Names(dict[str | None, int]):
    """Codes of the names of one dimension, in the order in which the names first came. Absent and empty are code 0."""

    def __init__(self) -> None:
        super().__init__({None: 0, "": 0})
        self.texts: list[str] = [""]

    def __missing__(self, name: str) -> int:
        code = self[name] = len(self.texts)
        self.texts.append(name)
        return code


class Table:
    """The totals of one minute. Rows 0 to `count` - 1 are in use; rows are only added."""

    def __init__(self) -> None:
        self.count = 0
        self.codes: Int32s = np.zeros((_FIRST_ROWS, CODE_COLUMNS), np.int32)
        self.shown: Int64s = np.zeros((len(SHOWN), _FIRST_ROWS), np.int64)
        # For each row the column of `clicked` that has its clicks. Column 0 stays 0: it is shared by rows without any.
        self.clicked_column: Int32s = np.zeros(_FIRST_ROWS, np.int32)
        self.clicked: Int64s = np.zeros((len(CLICKED), 1), np.int64)
        self.clicked_count = 1
        self.dirty: Bools = np.zeros(_FIRST_ROWS, np.bool_)
        self.unsaved: Bools = np.zeros(_FIRST_ROWS, np.bool_)
        # Open addressing: a row, or -1. Made at the first look-up: after a restart few old minutes are ever looked up.
        self._slots: Int32s = np.empty(0, np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        row_bytes = 4 * CODE_COLUMNS + 8 * len(SHOWN) + 4 + 2
        return self.count * row_bytes + self.clicked.nbytes + self._slots.nbytes

    def rows_of(self, codes: Int32s) -> Int32s:
        """The row of each combination of codes, shape (n, CODE_COLUMNS). Adds new ones. 0.15 µs each in batches."""
        self._fit(len(codes))
        if len(self._slots) < 2 * (self.count + len(codes)):
            self._rehash(len(codes))
        rows = np.empty(len(codes), np.int32)
        # Indexes into `codes` whose row is not known yet, with their words, their hashes and their steps.
        left, words = np.arange(len(codes), dtype=np.int32), _words(codes)
        hashes, steps = _hashes(words)
        mask = np.uint64(len(self._slots) - 1)
        while len(left):
            slots = (hashes & mask).astype(np.int64)
            candidates = self._slots[slots]
            free = np.flatnonzero(candidates < 0)
            if len(free):
                # Several may write to one free slot. The last to write is added as a row; the others compare themselves
                # with that row below.
                self._slots[slots[free]] = free
                stayed = free[self._slots[slots[free]] == free]
                added = np.arange(self.count, self.count + len(stayed), dtype=np.int32)
                self.codes[added] = codes[left[stayed]]
                self._slots[slots[stayed]] = added
                self.count += len(stayed)
                candidates = self._slots[slots]
            # Compares the codes themselves: two totals with equal hashes must never be taken for one.
            same = _equal(_words(self.codes)[candidates], words)
            rows[left[same]] = candidates[same]
            other = ~same
            left, words, steps = left[other], words[other], steps[other]
            hashes = hashes[other] + steps
        return rows

    def add(self, codes: Int32s, added: Int64s, measures: Sequence[int]) -> None:
        """Adds to the totals of these combinations, shape (n, CODE_COLUMNS); a combination may come several times.

        `measures` is SHOWN or CLICKED, and `added` has a row of n numbers for each of them.
        """
        rows = self.rows_of(codes)
        if measures is SHOWN:
            _add(self.shown, rows, added)
        else:
            _add(self.clicked_for(rows), self.clicked_column[rows], added)
        self.dirty[rows] = True
        self.unsaved[rows] = True

    def clicked_for(self, rows: Int32s) -> Int64s:
        """`clicked`, after each of these rows was given a column of its own."""
        without = np.unique(rows[self.clicked_column[rows] == 0])
        stop = self.clicked_count + len(without)
        if stop > self.clicked.shape[1]:
            self.clicked = _widened(self.clicked, 2 * stop)
        self.clicked_column[without] = np.arange(self.clicked_count, stop)
        self.clicked_count = stop
        return self.clicked

    def measures(self, rows: npt.NDArray[np.integer]) -> Int64s:
        """All measures of some rows, shape (len(MEASURES), len(rows))."""
        measures = np.empty((len(MEASURES), len(rows)), np.int64)
        measures[SHOWN, :] = self.shown[:, rows]
        measures[CLICKED, :] = self.clicked[:, self.clicked_column[rows]]
        return measures

    def take_dirty(self, *, final: bool) -> Int64s:
        """The rows to report, ascending: those that changed, or all when they are `final`. Then none is dirty."""
        rows = np.arange(self.count) if final else np.flatnonzero(self.dirty[: self.count])
        self.dirty[: self.count] = False
        return rows

    def put(self, rows: Int32s, codes: Int32s, shown: Int64s) -> None:
        """Sets rows to what a journal has; `codes` belong to new rows, which follow the last one."""
        self._fit(len(codes))
        self.codes[self.count : self.count + len(codes)] = codes
        self.count += len(codes)
        if len(codes):
            self._slots = np.empty(0, np.int32)
        self.shown[:, rows] = shown

    def put_clicked(self, rows: Int32s, clicked: Int64s) -> None:
        """Sets what clicks have added to some rows."""
        self.clicked_for(rows)[:, self.clicked_column[rows]] = clicked

    def _fit(self, more: int) -> None:
        """Makes room for `more` rows after the last."""
        room = len(self.codes)
        if self.count + more <= room:
            return
        wanted = max(self.count + more, 2 * room)
        self.codes = _grown(self.codes, wanted)
        self.clicked_column = _grown(self.clicked_column, wanted)
        self.dirty = _grown(self.dirty, wanted)
        self.unsaved = _grown(self.unsaved, wanted)
        self.shown = _widened(self.shown, wanted)

    def _rehash(self, more: int) -> None:
        """Makes at least twice as many slots as rows, so that most look-ups find their row in the first or second."""
        self._slots = np.full(1 << max(8, (4 * (self.count + more) - 1).bit_length() - 1), -1, np.int32)
        mask = np.uint64(len(self._slots) - 1)
        rows = np.arange(self.count, dtype=np.int32)
        hashes, steps = _hashes(_words(self.codes[: self.count]))
        while len(rows):
            slots = (hashes & mask).astype(np.int64)
            free = np.flatnonzero(self._slots[slots] < 0)
            self._slots[slots[free]] = rows[free]
            left = self._slots[slots] != rows
            rows, hashes, steps = rows[left], hashes[left] + steps[left], steps[left]


def _add(target: Int64s, columns: Int32s, added: Int64s) -> None:
    for sums, values in zip(target, added, strict=True):
        np.add.at(sums, columns, values)


def _words(codes: Int32s) -> npt.NDArray[np.uint64]:
    return codes.view(np.uint64)


def _equal(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64]) -> Bools:
    same: Bools = left[:, 0] == right[:, 0]
    for word in range(1, _WORDS):
        same &= left[:, word] == right[:, word]
    return same


def _hashes(words: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The hash of each combination, and the step to its next slot. A step is odd, so that it reaches all slots."""
    mixed = (words * _MIX).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(32)
    mixed *= _STIR
    mixed ^= mixed >> np.uint64(29)
    return mixed, (mixed >> np.uint64(40)) | np.uint64(1)


def _grown(array: npt.NDArray[Any], room: int) -> npt.NDArray[Any]:
    # New zeros and not a longer copy: pages that are never written take no memory.
    grown = np.zeros((room, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _widened(array: Int64s, room: int) -> Int64s:
    widened = np.zeros((len(array), room), array.dtype)
    widened[:, : array.shape[1]] = array
    return widened

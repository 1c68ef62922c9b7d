"""Totals of one span of time as arrays: a row for each combination of names, found by hashing their codes.

There may be as many totals as impressions, so a row is 75 bytes of arrays and no Python object: a tuple of eight
strings in a dict took ten times that, and its checkpoint a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.totals import MEASURES

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

# Places in MEASURES: what every impression counts, and what only clicks do, which few rows ever see.
SHOWN = tuple(map(MEASURES.index, ("impressions", "expected_clicks_nano", "expected_spend_micros")))
CLICKED = tuple(at for at in range(len(MEASURES)) if at not in SHOWN)
WIDTH = 8
_ROOM = 64
# Odd 64-bit constants of splitmix and xxhash: any such spread neighbouring codes over all bits.
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
_STIR = np.uint64(0xBF58476D1CE4E5B9)


class Names(dict[str | None, int]):
    """Codes of the names of one dimension, in the order they were first met. Absent and empty are code 0."""

    def __init__(self) -> None:
        super().__init__({None: 0, "": 0})
        self.texts: list[str] = [""]

    def __missing__(self, name: str) -> int:
        code = self[name] = len(self.texts)
        self.texts.append(name)
        return code


class Table:
    """The totals of one minute. Rows are only added; row 0 to `count` - 1."""

    def __init__(self) -> None:
        self.count = 0
        self.codes: Int32s = np.zeros((_ROOM, WIDTH), np.int32)
        self.shown: Int64s = np.zeros((len(SHOWN), _ROOM), np.int64)
        # Row of `clicked` a total's clicks are in; row 0 is that of all totals without one, and stays 0.
        self.clicked_at: Int32s = np.zeros(_ROOM, np.int32)
        self.clicked: Int64s = np.zeros((len(CLICKED), 1), np.int64)
        self.clicked_count = 1
        self.dirty: Bools = np.zeros(_ROOM, np.bool_)
        self.unsaved: Bools = np.zeros(_ROOM, np.bool_)
        # Open addressing: a row, or -1. Made when first asked for, as few old minutes are ever again after a restart.
        self._slots: Int32s = np.empty(0, np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        row = 4 * WIDTH + 8 * len(SHOWN) + 4 + 2
        return self.count * row + self.clicked.nbytes + self._slots.nbytes

    def rows_of(self, codes: Int32s) -> Int32s:
        """The row of each combination of codes, shape (n, WIDTH); new ones are added. 0.15 µs each in batches."""
        self._fit(len(codes))
        if len(self._slots) < 2 * (self.count + len(codes)):
            self._rehash(len(codes))
        rows = np.empty(len(codes), np.int32)
        asked, words = np.arange(len(codes), dtype=np.int32), _words(codes)
        places, steps = _places(words)
        mask = np.uint64(len(self._slots) - 1)
        while len(asked):
            slots = (places & mask).astype(np.int64)
            found = self._slots[slots]
            free = np.flatnonzero(found < 0)
            if len(free):
                # All write, one stays: that one is added, the others meet it as if it had been there before.
                self._slots[slots[free]] = free
                stayed = free[self._slots[slots[free]] == free]
                fresh = np.arange(self.count, self.count + len(stayed), dtype=np.int32)
                self.codes[fresh] = codes[asked[stayed]]
                self._slots[slots[stayed]] = fresh
                self.count += len(stayed)
                found = self._slots[slots]
            # By the codes themselves, so that no two totals are ever taken for one.
            same = _equal(_words(self.codes)[found], words)
            rows[asked[same]] = found[same]
            other = ~same
            asked, words, steps = asked[other], words[other], steps[other]
            places = places[other] + steps
        return rows

    def add(self, codes: Int32s, added: Int64s, measures: Sequence[int]) -> None:
        """Adds to the totals of these combinations, shape (n, WIDTH): a row of n numbers for each of `measures`.

        `measures` are `SHOWN` or `CLICKED`; a combination may come several times.
        """
        rows = self.rows_of(codes)
        if measures is SHOWN:
            _add(self.shown, rows, added)
        else:
            _add(self.clicked_for(rows), self.clicked_at[rows], added)
        self.dirty[rows] = True
        self.unsaved[rows] = True

    def clicked_for(self, rows: Int32s) -> Int64s:
        """`clicked`, with a place for each of these rows."""
        without = np.unique(rows[self.clicked_at[rows] == 0])
        stop = self.clicked_count + len(without)
        if stop > self.clicked.shape[1]:
            self.clicked = _widened(self.clicked, 2 * stop)
        self.clicked_at[without] = np.arange(self.clicked_count, stop)
        self.clicked_count = stop
        return self.clicked

    def measures(self, rows: npt.NDArray[np.integer]) -> Int64s:
        """All measures of some rows, shape (len(MEASURES), len(rows))."""
        found = np.empty((len(MEASURES), len(rows)), np.int64)
        found[SHOWN, :] = self.shown[:, rows]
        found[CLICKED, :] = self.clicked[:, self.clicked_at[rows]]
        return found

    def take_dirty(self, *, final: bool) -> Int64s:
        """The rows to report, which are not dirty any more: those that changed, or all when they are `final`."""
        rows = np.arange(self.count) if final else np.flatnonzero(self.dirty[: self.count])
        self.dirty[: self.count] = False
        return rows

    def put(self, rows: Int32s, codes: Int32s, shown: Int64s) -> None:
        """Sets rows as a journal has them; `codes` are those of new rows, which follow the last one."""
        self._fit(len(codes))
        self.codes[self.count : self.count + len(codes)] = codes
        self.count += len(codes)
        if len(codes):
            self._slots = np.empty(0, np.int32)
        self.shown[:, rows] = shown

    def put_clicked(self, rows: Int32s, clicked: Int64s) -> None:
        """Sets what clicks added to some rows."""
        self.clicked_for(rows)[:, self.clicked_at[rows]] = clicked

    def _fit(self, more: int) -> None:
        """Makes room for `more` rows behind the last."""
        room = len(self.codes)
        if self.count + more <= room:
            return
        wanted = max(self.count + more, 2 * room)
        self.codes = _grown(self.codes, wanted)
        self.clicked_at = _grown(self.clicked_at, wanted)
        self.dirty = _grown(self.dirty, wanted)
        self.unsaved = _grown(self.unsaved, wanted)
        self.shown = _widened(self.shown, wanted)

    def _rehash(self, more: int) -> None:
        """At least twice as many slots as rows, so that most look-ups meet their row at the first or second."""
        self._slots = np.full(1 << max(8, (4 * (self.count + more) - 1).bit_length() - 1), -1, np.int32)
        mask = np.uint64(len(self._slots) - 1)
        rows = np.arange(self.count, dtype=np.int32)
        places, steps = _places(_words(self.codes[: self.count]))
        while len(rows):
            slots = (places & mask).astype(np.int64)
            free = np.flatnonzero(self._slots[slots] < 0)
            self._slots[slots[free]] = rows[free]
            left = self._slots[slots] != rows
            rows, places, steps = rows[left], places[left] + steps[left], steps[left]


def _add(target: Int64s, at: Int32s, added: Int64s) -> None:
    for own, values in zip(target, added, strict=True):
        np.add.at(own, at, values)


def _words(codes: Int32s) -> npt.NDArray[np.uint64]:
    return codes.view(np.uint64)


def _equal(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64]) -> Bools:
    same: Bools = left[:, 0] == right[:, 0]
    for word in range(1, WIDTH // 2):
        same &= left[:, word] == right[:, word]
    return same


def _places(words: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Where to look for each combination, and how far on while another one is there: odd, so that all slots are met."""
    mixed = (words * _MIX).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(32)
    mixed *= _STIR
    mixed ^= mixed >> np.uint64(29)
    return mixed, (mixed >> np.uint64(40)) | np.uint64(1)


def _grown(array: npt.NDArray[Any], room: int) -> npt.NDArray[Any]:
    # Zeros and not a copy with more behind it: pages nobody writes to take no memory.
    grown = np.zeros((room, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _widened(array: Int64s, room: int) -> Int64s:
    widened = np.zeros((len(array), room), array.dtype)
    widened[:, : array.shape[1]] = array
    return widened

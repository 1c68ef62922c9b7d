"""Totals of one minute as arrays: a row for each combination of dimension names, found by hashing their codes.

There may be as many totals as impressions. So a row is about 45 bytes of arrays, its hash slots included, and no Python
object: a tuple of eight strings in a dict took twenty times as much memory, and its checkpoint a hundred times as long.
Codes have 16 bits and sums of what impressions add 32, until one of a table needs more; then all of that table get
twice as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.totals import DIMENSIONS, MEASURES
from streams.join.totals.measures import CLICKED, SHOWN, Int64s
from streams.join.totals.names import code_columns
from streams.kernels.totals import add_columns, add_narrow, fill_row_slots, find_rows, mark

Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

# Rows a table has room for at first: a minute of a small campaign. Room is doubled whenever it is full.
_FIRST_ROWS = 64
_LARGEST_CODE = np.iinfo(np.uint16).max
_LARGEST_SUM = np.iinfo(np.int32).max


class Table:
    """The totals of one minute. Rows 0 to `count` - 1 are in use; rows are only added."""

    def __init__(self, columns_wide: int = code_columns(len(DIMENSIONS))) -> None:
        self.count = 0
        self.codes: npt.NDArray[Any] = np.zeros((_FIRST_ROWS, columns_wide), np.uint16)
        self.shown: npt.NDArray[Any] = np.zeros((len(SHOWN), _FIRST_ROWS), np.int32)
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
        codes_bytes: int = self.codes.itemsize * self.codes.shape[1]
        row_bytes = codes_bytes + self.shown.itemsize * len(SHOWN) + 4 + 2
        return self.count * row_bytes + self.clicked.nbytes + self._slots.nbytes

    def rows_of(self, codes: Int32s) -> Int32s:
        """The row of each combination of codes, shape (n, code columns). Adds new ones."""
        self._fit(len(codes))
        given = self._as_wide(codes)
        if len(self._slots) < 2 * (self.count + len(codes)):
            room = max(256, 2 * len(self._slots), 2 * (self.count + len(codes)))
            self._slots = np.full(1 << (room - 1).bit_length(), -1, np.int32)
            fill_row_slots(self._slots, self.codes.view(np.uint64), self.count)
        rows = np.empty(len(codes), np.int32)
        self.count = find_rows(given, self._slots, self.codes.view(np.uint64), self.count, rows)
        return rows

    def _as_wide(self, codes: Int32s) -> npt.NDArray[np.uint64]:
        """The codes as words, as wide as those of the table, which become wider if one of these needs it."""
        if self.codes.itemsize == 2 and len(codes) and codes.max() > _LARGEST_CODE:
            self.codes, self._slots = self.codes.astype(np.int32), np.empty(0, np.int32)
        return np.ascontiguousarray(codes, self.codes.dtype).view(np.uint64)

    def add(self, codes: Int32s, added: Int64s, measures: Sequence[int]) -> None:
        """Adds to the totals of these combinations, shape (n, code columns); a combination may come several times.

        `measures` is SHOWN or CLICKED, and `added` has a row of n numbers for each of them.
        """
        rows = self.rows_of(codes)
        if measures is SHOWN:
            self._add_shown(rows, added)
        else:
            add_columns(self.clicked_for(rows), self.clicked_column[rows], added)
        mark(self.dirty, self.unsaved, rows)

    def _add_shown(self, rows: Int32s, added: Int64s) -> None:
        done = 0
        if self.shown.itemsize == 4:
            done = add_narrow(self.shown, rows, added, 0)
            if done < 0:
                return
            self.shown = self.shown.astype(np.int64)
        add_columns(self.shown, rows[done:], np.ascontiguousarray(added[:, done:]))

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
        given = self._as_wide(codes)
        self.codes.view(np.uint64)[self.count : self.count + len(codes)] = given
        self.count += len(codes)
        if len(codes):
            self._slots = np.empty(0, np.int32)
        if self.shown.itemsize == 4 and shown.size and shown.max() > _LARGEST_SUM:
            self.shown = self.shown.astype(np.int64)
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


def _grown(array: npt.NDArray[Any], room: int) -> npt.NDArray[Any]:
    # New zeros and not a longer copy: pages that are never written take no memory.
    grown = np.zeros((room, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _widened(array: npt.NDArray[Any], room: int) -> npt.NDArray[Any]:
    widened = np.zeros((len(array), room), array.dtype)
    widened[:, : array.shape[1]] = array
    return widened

"""Rows of one model that were shown and have no label yet: what they were predicted from, and what was learned of them.

To add, take or close some costs the same however many there are. A row takes 250 bytes and 19 for each of its slots,
and up to six tenths more for rows that were closed and for room to grow.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from online_models.mixture.layout import GRADIENT_COLUMNS, SERVED_COLUMNS
from online_models.mixture.rows import OF_SLOTS, Rows, gathered
from online_models.mixture.snapshot import decode_snapshot, encode_snapshot

# Closed rows stay until they are a fifth of all, and at least so many.
_FEW: Final = 1_000


class KeptRows:
    """Rows by serial; serials ascend as rows are added."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._rows, self._slots, self._closed_rows = 0, 0, 0
        self._columns: dict[str, np.ndarray] = {
            "keys": np.zeros(0, np.uint64),
            "values": np.zeros(0),
            "numbers": np.zeros(0, np.uint8),
            # There are 64 fields, so a byte has their numbers.
            "fields": np.zeros(0, np.uint8),
            "seen": np.zeros(0, np.uint8),
            "serials": np.zeros(0, np.int64),
            "starts": np.zeros(0, np.int64),
            "lengths": np.zeros(0, np.int64),
            "served": np.zeros((0, SERVED_COLUMNS)),
            "predicted": np.zeros(0),
            "gradients": np.zeros((0, GRADIENT_COLUMNS)),
            "closed": np.zeros(0, np.bool_),
        }

    def __len__(self) -> int:
        return self._rows - self._closed_rows

    @property
    def nbytes(self) -> int:
        """Bytes of memory the columns take."""
        return sum(column.nbytes for column in self._columns.values())

    def add(self, serials: np.ndarray, rows: Rows, gradients: np.ndarray) -> None:
        """Adds rows that were shown, with serials above all there are."""
        for name in OF_SLOTS:
            self._append(name, self._slots, getattr(rows, name))
        lengths = np.diff(rows.start)
        for name, values in (
            ("serials", serials),
            ("starts", self._slots + rows.start[:-1]),
            ("lengths", lengths),
            ("served", rows.served),
            ("predicted", rows.predicted),
            ("gradients", gradients),
            ("closed", np.zeros(len(rows), np.bool_)),
        ):
            self._append(name, self._rows, values)
        self._rows += len(rows)
        self._slots += len(rows.keys)

    def _append(self, name: str, used: int, values: np.ndarray) -> None:
        column, end = self._columns[name], used + len(values)
        if end > len(column):
            wider = np.empty((max(end, len(column) + len(column) // 4), *column.shape[1:]), column.dtype)
            wider[:used] = column[:used]
            column = self._columns[name] = wider
        column[used:end] = values

    def find(self, serials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of these are here, and the places of those."""
        own = self._columns["serials"][: self._rows]
        places = np.searchsorted(own, serials)
        here = places < self._rows
        here[here] = own[places[here]] == serials[here]
        return here, places[here]

    def take(self, places: np.ndarray) -> tuple[Rows, np.ndarray]:
        """A copy of the rows at these places, and of their gradients."""
        kept = self._columns
        start, slots = gathered(kept["starts"][places], kept["lengths"][places])
        keys, values, numbers, field_of, seen = (kept[name][slots] for name in OF_SLOTS)
        none = np.zeros(len(places), np.int64)
        rows = Rows(
            *(start, keys, values, numbers, field_of.astype(np.int64), none.astype(np.int8), none.astype(np.float64)),
            *(none, seen, kept["served"][places], kept["predicted"][places]),
        )
        return rows, kept["gradients"][places]

    def learned(self, places: np.ndarray, served: np.ndarray, gradients: np.ndarray) -> None:
        """What was learned of the rows at these places, and what the experts said then."""
        self._columns["served"][places] = served
        self._columns["gradients"][places] = gradients

    def close(self, places: np.ndarray) -> None:
        """The rows at these places have their labels and are not asked for any more."""
        self._columns["closed"][places] = True
        self._closed_rows += len(places)
        if self._closed_rows > max(_FEW, self._rows // 5):
            self._replace(*self._open())

    def only(self, serials: np.ndarray) -> None:
        """Closes all rows but these."""
        closed = self._columns["closed"][: self._rows]
        self.close(np.flatnonzero(~closed & ~np.isin(self._columns["serials"][: self._rows], serials)))

    def _open(self) -> tuple[np.ndarray, Rows, np.ndarray]:
        places = np.flatnonzero(~self._columns["closed"][: self._rows])
        return self._columns["serials"][places], *self.take(places)

    def _replace(self, serials: np.ndarray, rows: Rows, gradients: np.ndarray) -> None:
        self._clear()
        self.add(serials, rows, gradients)

    def snapshot(self) -> bytes:
        """The open rows, canonical: equal ones give equal bytes."""
        serials, rows, gradients = self._open()
        return encode_snapshot({}, (serials, gradients, *rows.columns()))

    def restore(self, data: bytes) -> None:
        """Takes the rows of a snapshot in place of what there is. Raises DamagedState or StateMismatch."""
        serials, gradients, *columns = decode_snapshot(data, {})
        self._replace(serials, Rows(*columns), gradients)

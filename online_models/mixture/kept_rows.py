"""Rows of one model that were shown and have no label yet: what they were predicted from, and what was learned of them.

To add, take or close some costs the same however many there are. A row takes 250 bytes and 19 for each of its slots,
and up to six tenths more for rows that were closed and for room to grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from online_models.mixture.layout import GRADIENT_COLUMNS, SERVED_COLUMNS
from online_models.mixture.rows import OF_SLOTS, Rows, gathered
from online_models.turns import EVERYTHING, Turn, extended, latest

# Columns as they are saved: their names, types, and numbers in an entry. The first ones have an entry for each row.
_SAVED: Final = (
    ("serials", "<i8", 1),
    ("lengths", "<i8", 1),
    ("served", "<f8", SERVED_COLUMNS),
    ("predicted", "<f8", 1),
    ("gradients", "<f8", GRADIENT_COLUMNS),
    ("keys", "<u8", 1),
    ("values", "<f8", 1),
    ("numbers", "u1", 1),
    ("fields", "u1", 1),
    ("seen", "u1", 1),
)

# Closed rows stay until they are a fifth of all, and at least so many.
_FEW: Final = 1_000


class KeptRows:
    """Rows by serial; serials ascend as rows are added."""

    column_count: Final = len(_SAVED)

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
            "unsaved": np.zeros(0, np.bool_),
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
            ("unsaved", np.ones(len(rows), np.bool_)),
        ):
            self._append(name, self._rows, values)
        self._rows += len(rows)
        self._slots += len(rows.keys)

    def _append(self, name: str, used: int, values: np.ndarray) -> None:
        self._columns[name] = extended(self._columns[name], used, values)

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

    def learned(self, places: np.ndarray, gradients: np.ndarray) -> None:
        """What was learned of the rows at these places."""
        self._columns["gradients"][places] = gradients
        self._columns["unsaved"][places] = True

    def close(self, places: np.ndarray) -> None:
        """The rows at these places have their labels and are not asked for any more."""
        self._columns["closed"][places] = True
        self._closed_rows += len(places)
        if self._closed_rows > max(_FEW, self._rows // 5):
            self._drop_closed()

    def only(self, serials: np.ndarray) -> None:
        """Closes all rows but these."""
        closed = self._columns["closed"][: self._rows]
        self.close(np.flatnonzero(~closed & ~np.isin(self._columns["serials"][: self._rows], serials)))

    def _drop_closed(self) -> None:
        places = np.flatnonzero(~self._columns["closed"][: self._rows])
        serials, unsaved = self._columns["serials"][places], self._columns["unsaved"][places]
        rows, gradients = self.take(places)
        self._clear()
        self.add(serials, rows, gradients)
        self._columns["unsaved"][: self._rows] = unsaved

    def columns(self, turn: Turn = EVERYTHING) -> list[bytes]:
        """The open rows that the turn selects, as little-endian columns for `restore`."""
        kept = {name: column[: self._rows] for name, column in self._columns.items()}
        places = np.flatnonzero(~kept["closed"] & turn.has(kept["serials"], kept["unsaved"]))
        rows, gradients = self.take(places)
        found = {name: getattr(rows, name) for name in ("served", "predicted", *OF_SLOTS)}
        found |= {"serials": kept["serials"][places], "lengths": kept["lengths"][places], "gradients": gradients}
        return [np.ascontiguousarray(found[name], kind).tobytes() for name, kind, _ in _SAVED]

    def saved(self) -> None:
        """What `columns` would give now is saved."""
        self._columns["unsaved"][: self._rows] = False

    def restore(self, saved: Sequence[Sequence[bytes]], serials: NDArray[np.int64]) -> None:
        """Takes the rows with these serials, in place of what there is; `saved` are columns by turns in their order."""
        found: dict[str, np.ndarray] = {}
        for place, (name, kind, width) in enumerate(_SAVED):
            column: NDArray[Any] = np.concatenate([np.frombuffer(columns[place], kind) for columns in saved])
            found[name] = column.reshape(-1, width) if width > 1 else column
        chosen = latest([found["serials"]], serials)
        lengths = found["lengths"]
        start, slots = gathered(np.cumsum(lengths)[chosen] - lengths[chosen], lengths[chosen])
        none = np.zeros(len(chosen), np.int64)
        of_slots = {name: found[name][slots] for name in OF_SLOTS} | {"fields": found["fields"][slots].astype(np.int64)}
        self._clear()
        self.add(
            found["serials"][chosen],
            Rows(
                start=start,
                labels=none.astype(np.int8),
                weights=none.astype(np.float64),
                ts=none,
                served=found["served"][chosen],
                predicted=found["predicted"][chosen],
                **of_slots,
            ),
            found["gradients"][chosen],
        )
        self.saved()

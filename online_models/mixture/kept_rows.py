"""Rows of one model that were shown and have no label yet: what they were predicted from, and what was learned of them.

A row takes 250 bytes and 19 for each of its slots, and up to six tenths more for rows that were closed and for room to
grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from online_models.by_serial import BySerial, extended
from online_models.mixture.layout import GRADIENT_COLUMNS, SERVED_COLUMNS
from online_models.mixture.rows import OF_SLOTS, Rows, gathered
from online_models.turns import EVERYTHING, Turn, joined, latest

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


class KeptRows:
    """Rows by serial; serials ascend as rows are added."""

    column_count: Final = len(_SAVED)

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._rows = BySerial(
            {
                "starts": np.zeros(0, np.int64),
                "lengths": np.zeros(0, np.int64),
                "served": np.zeros((0, SERVED_COLUMNS)),
                "predicted": np.zeros(0),
                "gradients": np.zeros((0, GRADIENT_COLUMNS)),
            }
        )
        self._used_slots = 0
        # There are 64 fields, so a byte has their numbers.
        kinds = dict(zip(OF_SLOTS, (np.uint64, np.float64, np.uint8, np.uint8, np.uint8), strict=True))
        self._slots: dict[str, np.ndarray] = {name: np.zeros(0, kind) for name, kind in kinds.items()}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes of memory the columns take."""
        return self._rows.nbytes + sum(column.nbytes for column in self._slots.values())

    def add(self, serials: np.ndarray, rows: Rows, gradients: np.ndarray) -> None:
        """Adds rows that were shown, with serials above all there are."""
        self._rows.add(
            serials,
            starts=self._used_slots + rows.start[:-1],
            lengths=np.diff(rows.start),
            served=rows.served,
            predicted=rows.predicted,
            gradients=gradients,
        )
        self._add_slots({name: getattr(rows, name) for name in OF_SLOTS})

    def _add_slots(self, values: dict[str, np.ndarray]) -> None:
        for name in OF_SLOTS:
            self._slots[name] = extended(self._slots[name], self._used_slots, values[name])
        self._used_slots += len(values["keys"])

    def find(self, serials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of these are here, and the places of those."""
        return self._rows.find(serials)

    def take(self, places: np.ndarray) -> tuple[Rows, np.ndarray]:
        """A copy of the rows at these places, and of their gradients."""
        start, of_slots = self._gathered(places)
        served, predicted, gradients = (
            self._rows.column(name)[places] for name in ("served", "predicted", "gradients")
        )
        return _rows(start, of_slots, served, predicted), gradients

    def _gathered(self, places: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        start, slots = gathered(self._rows.column("starts")[places], self._rows.column("lengths")[places])
        return start, {name: self._slots[name][slots] for name in OF_SLOTS}

    def learned(self, places: np.ndarray, served: np.ndarray, gradients: np.ndarray) -> None:
        """What was learned of the rows at these places, and what the experts said then."""
        self._rows.change(places, served=served, gradients=gradients)

    def close(self, places: np.ndarray) -> None:
        """The rows at these places have their labels and are not asked for any more."""
        if self._rows.close(places):
            stay = self._rows.open()
            start, of_slots = self._gathered(stay)
            self._rows.keep(stay)
            self._rows.column("starts")[:] = start[:-1]
            self._used_slots = 0
            self._slots = {name: column[:0] for name, column in self._slots.items()}
            self._add_slots(of_slots)

    def only(self, serials: np.ndarray) -> None:
        """Closes all rows but these."""
        places = self._rows.open()
        self.close(places[~np.isin(self._rows.column("serials")[places], serials)])

    def columns(self, turn: Turn = EVERYTHING) -> list[bytes]:
        """The open rows that the turn selects, as little-endian columns for `restore`."""
        places = self._rows.open(turn)
        _, found = self._gathered(places)
        for name in ("serials", "lengths", "served", "predicted", "gradients"):
            found[name] = self._rows.column(name)[places]
        return [np.ascontiguousarray(found[name], kind).tobytes() for name, kind, _ in _SAVED]

    def saved(self) -> None:
        """What `columns` would give now is saved."""
        self._rows.saved()

    def restore(self, saved: Sequence[Sequence[bytes]], serials: NDArray[np.int64]) -> None:
        """Takes the rows with these serials, in place of what there is; `saved` are columns by turns in their order."""
        found: dict[str, np.ndarray] = {}
        for (name, _, width), column in zip(_SAVED, joined(saved, (kind for _, kind, _ in _SAVED)), strict=True):
            found[name] = column.reshape(-1, width) if width > 1 else column
        chosen = latest(found["serials"], serials)
        lengths = found["lengths"]
        start, slots = gathered(np.cumsum(lengths)[chosen] - lengths[chosen], lengths[chosen])
        rows = _rows(
            start, {name: found[name][slots] for name in OF_SLOTS}, found["served"][chosen], found["predicted"][chosen]
        )
        self._clear()
        self.add(found["serials"][chosen], rows, found["gradients"][chosen])
        self.saved()


def _rows(start: np.ndarray, of_slots: dict[str, np.ndarray], served: np.ndarray, predicted: np.ndarray) -> Rows:
    """Rows whose labels, weights and times are given by the events they are taken for."""
    none = np.zeros(len(predicted), np.int64)
    return Rows(
        start=start,
        labels=none.astype(np.int8),
        weights=none.astype(np.float64),
        ts=none,
        served=served,
        predicted=predicted,
        **of_slots | {"fields": of_slots["fields"].astype(np.int64)},
    )

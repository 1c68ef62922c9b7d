"""Entries that are numbered as they come, changed, and closed in any order, in columns that a checkpoint has by turns.

To add, change or close some costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from online_models.turns import EVERYTHING, Turn

# Closed entries stay until they are a fifth of all, and at least so many.
_FEW: Final = 1_000


class BySerial:
    """Open entries by serial, and some that were closed; serials ascend as entries are added.

    `columns` are empty, and have the types of the entries' values.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        flags = dict.fromkeys(("closed", "unsaved", "saved"), np.zeros(0, np.bool_))
        self._columns: dict[str, NDArray[Any]] = {"serials": np.zeros(0, np.int64), **columns, **flags}
        self._count = self._closed = 0
        # Serials that a checkpoint has, and that were closed since.
        self._gone: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return self._count - self._closed

    @property
    def nbytes(self) -> int:
        """Bytes of memory the columns take."""
        return sum(column.nbytes for column in self._columns.values())

    def add(self, serials: NDArray[np.int64], **values: NDArray[Any]) -> None:
        """Adds entries with serials above all there are."""
        if not len(serials):
            return
        for name, given in (("serials", serials), *values.items()):
            self._columns[name] = extended(self._columns[name], self._count, given)
        for name, flag in (("closed", False), ("unsaved", True), ("saved", False)):
            self._columns[name] = extended(self._columns[name], self._count, np.full(len(serials), flag))
        self._count += len(serials)

    def column(self, name: str) -> NDArray[Any]:
        """The values of all entries, the closed ones among them."""
        return self._columns[name][: self._count]

    def find(self, serials: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which of these are here, and the places of those."""
        own = self.column("serials")
        places = np.searchsorted(own, serials)
        here = places < self._count
        here[here] = own[places[here]] == serials[here]
        return here, places[here]

    def open(self, turn: Turn = EVERYTHING) -> NDArray[np.int64]:
        """Places of the open entries that the turn selects."""
        return np.flatnonzero(~self.column("closed") & turn.has(self.column("serials"), self.column("unsaved")))

    def change(self, places: NDArray[np.int64], **values: Any) -> None:
        """Changes the entries at these places."""
        if not len(places):
            return
        for name, given in values.items():
            self._columns[name][places] = given
        self._columns["unsaved"][places] = True

    def close(self, places: NDArray[np.int64]) -> bool:
        """Closes the entries at these places. Returns whether it is time to `keep` those that are open."""
        if not len(places):
            return False
        self._columns["closed"][places] = True
        self._closed += len(places)
        gone = self._columns["serials"][places[self._columns["saved"][places]]]
        if len(gone):
            self._gone.append(gone)
        return self._closed > max(_FEW, self._count // 5)

    def keep(self, places: NDArray[np.int64]) -> None:
        """Only these entries stay, all of them open."""
        self._columns = {name: column[places] for name, column in self._columns.items()}
        self._count, self._closed = len(places), 0

    def gone(self, turn: Turn) -> NDArray[np.int64]:
        """Serials that were saved before and are not open any more; none of everything."""
        return np.concatenate((np.zeros(0, np.int64), *(self._gone if turn.part is not None else ())))

    def saved(self) -> None:
        """What is open now is saved."""
        self.column("unsaved")[:] = False
        self.column("saved")[:] = True
        self._gone.clear()


def extended(column: NDArray[Any], used: int, values: NDArray[Any]) -> NDArray[Any]:
    """The column with `values` behind its first `used` entries; if it was full, another one with a quarter more."""
    end = used + len(values)
    if end > len(column):
        wider = np.empty((max(end, len(column) + len(column) // 4), *column.shape[1:]), column.dtype)
        wider[:used] = column[:used]
        column = wider
    column[used:end] = values
    return column

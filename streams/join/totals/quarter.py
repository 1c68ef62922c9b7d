"""A quarter-hour of totals: its minutes, its campaigns, and the names both are told apart by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.totals import DIMENSIONS, MEASURES
from streams.join.totals.tables import WIDTH, Int32s, Int64s, Names, Table

Columns = Sequence[tuple[int, Callable[[Any], str | None]]]
CAMPAIGN = DIMENSIONS.index("campaign_id")


class Campaigns:
    """Totals of a quarter by campaign code: int64 of shape (len(MEASURES), codes)."""

    def __init__(self) -> None:
        self.measures: Int64s = np.zeros((len(MEASURES), 0), np.int64)
        self.dirty = np.zeros(0, np.bool_)
        self.unsaved = np.zeros(0, np.bool_)

    def add(self, codes: Int32s, measures: Sequence[int], added: Int64s) -> None:
        """Adds the rows of `added` to the given places in MEASURES; a code may come several times."""
        self.fit(int(codes.max()) + 1)
        for measure, values in zip(measures, added, strict=True):
            np.add.at(self.measures[measure], codes, values)
        self.dirty[codes] = True
        self.unsaved[codes] = True

    def fit(self, count: int) -> None:
        """Makes room for so many codes."""
        more = 2 * count - len(self.dirty)
        if count > len(self.dirty):
            self.measures = np.concatenate((self.measures, np.zeros((len(MEASURES), more), np.int64)), axis=1)
            self.dirty = np.concatenate((self.dirty, np.zeros(more, np.bool_)))
            self.unsaved = np.concatenate((self.unsaved, np.zeros(more, np.bool_)))

    def counted(self) -> npt.NDArray[np.bool_]:
        """Which codes anything was ever counted for."""
        return np.asarray(self.measures.any(axis=0), np.bool_)

    def take_dirty(self, *, final: bool) -> npt.NDArray[np.int64]:
        """The codes to report, which are not dirty any more: those that changed, or all ever counted when `final`."""
        codes = np.flatnonzero(self.counted() if final else self.dirty)
        self.dirty[:] = False
        return codes


class Quarter:
    """Totals of a quarter-hour. Names are its own: they go with it, so that no dictionary grows for ever."""

    def __init__(self) -> None:
        self.names = [Names() for _ in range(WIDTH)]
        self.minutes: dict[int, Table] = {}
        self.campaigns = Campaigns()

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use, names left out."""
        return sum(table.nbytes for table in self.minutes.values()) + self.campaigns.measures.nbytes

    def coded(self, columns: Columns, events: Sequence[Any]) -> Int32s:
        """The codes of events, shape (n, WIDTH): `columns` are (dimension, how to ask for its name).

        Dimensions left out count as not given.
        """
        codes = np.zeros((len(events), WIDTH), np.int32)
        for place, name_of in columns:
            codes[:, place] = np.fromiter(
                map(self.names[place].__getitem__, map(name_of, events)), np.int32, len(events)
            )
        return codes

    def campaign_codes(self, events: Sequence[Any]) -> Int32s:
        """The campaigns of events, whose totals need them even where minutes do not tell them apart."""
        codes = map(self.names[CAMPAIGN].__getitem__, map(attrgetter("campaign_id"), events))
        return np.fromiter(codes, np.int32, len(events))

    def all_dirty(self) -> None:
        """All of it is to be reported."""
        self.campaigns.dirty[:] = self.campaigns.counted()
        for table in self.minutes.values():
            table.dirty[: table.count] = True

    def all_unsaved(self) -> None:
        """Nothing of it is on disk."""
        self.campaigns.unsaved[:] = self.campaigns.counted()
        for table in self.minutes.values():
            table.unsaved[: table.count] = True

    def all_saved(self) -> None:
        """All of it is on disk."""
        self.campaigns.unsaved[:] = False
        for table in self.minutes.values():
            table.unsaved[: table.count] = False

    def table(self, minute: int) -> Table:
        """The totals of a minute, made if there are none."""
        table = self.minutes.get(minute)
        if table is None:
            table = self.minutes[minute] = Table()
        return table

    def named(self, codes: Int32s) -> list[list[str]]:
        """The names behind codes of shape (n, WIDTH), a list for each dimension."""
        return [list(map(names.texts.__getitem__, codes[:, place].tolist())) for place, names in enumerate(self.names)]

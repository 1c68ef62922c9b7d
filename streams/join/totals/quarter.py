"""A quarter-hour of totals: its minutes, its campaigns, and the dimension names of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.totals import DIMENSIONS, MEASURES
from streams.join.totals.measures import Int64s
from streams.join.totals.tables import CODE_COLUMNS, Int32s, Names, Table

# Position in DIMENSIONS, and how to get the name of an event.
Columns = Sequence[tuple[int, Callable[[Any], str | None]]]
CAMPAIGN = DIMENSIONS.index("campaign_id")


class Campaigns:
    """Totals of a quarter by campaign code: int64 of shape (len(MEASURES), codes)."""

    def __init__(self) -> None:
        self.measures: Int64s = np.zeros((len(MEASURES), 0), np.int64)
        self.dirty = np.zeros(0, np.bool_)
        self.unsaved = np.zeros(0, np.bool_)

    def add(self, codes: Int32s, measures: Sequence[int], added: Int64s) -> None:
        """Adds the rows of `added` to the measures at these positions; a code may come several times."""
        self.fit(int(codes.max()) + 1)
        for measure, values in zip(measures, added, strict=True):
            np.add.at(self.measures[measure], codes, values)
        self.dirty[codes] = True
        self.unsaved[codes] = True

    def fit(self, count: int) -> None:
        """Makes room for codes 0 to `count` - 1."""
        more = 2 * count - len(self.dirty)
        if count > len(self.dirty):
            self.measures = np.concatenate((self.measures, np.zeros((len(MEASURES), more), np.int64)), axis=1)
            self.dirty = np.concatenate((self.dirty, np.zeros(more, np.bool_)))
            self.unsaved = np.concatenate((self.unsaved, np.zeros(more, np.bool_)))

    def counted(self) -> npt.NDArray[np.bool_]:
        """For each code whether anything was ever counted for it."""
        return np.asarray(self.measures.any(axis=0), np.bool_)

    def take_dirty(self, *, final: bool) -> npt.NDArray[np.int64]:
        """The codes to report: those that changed, or all that were ever counted when `final`. Then none is dirty."""
        codes = np.flatnonzero(self.counted() if final else self.dirty)
        self.dirty[:] = False
        return codes


class Quarter:
    """Totals of a quarter-hour. It has its own names: they are freed with it, so that no dictionary grows for ever."""

    def __init__(self) -> None:
        self.names = [Names() for _ in DIMENSIONS]
        # By start of the minute, ms UTC.
        self.minutes: dict[int, Table] = {}
        self.campaigns = Campaigns()

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use, names left out."""
        return sum(table.nbytes for table in self.minutes.values()) + self.campaigns.measures.nbytes

    def coded(self, columns: Columns, events: Sequence[Any]) -> Int32s:
        """The codes of events, shape (n, CODE_COLUMNS). Dimensions that are not in `columns` count as not given."""
        codes = np.zeros((len(events), CODE_COLUMNS), np.int32)
        for dimension, name_of in columns:
            code_of = self.names[dimension].__getitem__
            codes[:, dimension] = np.fromiter(map(code_of, map(name_of, events)), np.int32, len(events))
        return codes

    def campaign_codes(self, events: Sequence[Any]) -> Int32s:
        """The codes of the events' campaigns, also where minute totals do not keep campaigns apart."""
        codes = map(self.names[CAMPAIGN].__getitem__, map(attrgetter("campaign_id"), events))
        return np.fromiter(codes, np.int32, len(events))

    def all_dirty(self) -> None:
        """Marks all totals to be reported again."""
        self.campaigns.dirty[:] = self.campaigns.counted()
        for table in self.minutes.values():
            table.dirty[: table.count] = True

    def all_unsaved(self) -> None:
        """Marks all totals as missing on disk."""
        self.campaigns.unsaved[:] = self.campaigns.counted()
        for table in self.minutes.values():
            table.unsaved[: table.count] = True

    def all_saved(self) -> None:
        """Marks all totals as being on disk."""
        self.campaigns.unsaved[:] = False
        for table in self.minutes.values():
            table.unsaved[: table.count] = False

    def table(self, minute_ms: int) -> Table:
        """The totals of a minute; empty ones if there were none."""
        table = self.minutes.get(minute_ms)
        if table is None:
            table = self.minutes[minute_ms] = Table()
        return table

    def named(self, codes: Int32s) -> list[list[str]]:
        """The names of codes, shape (n, CODE_COLUMNS): for each dimension a list of n."""
        return [
            list(map(names.texts.__getitem__, codes[:, dimension].tolist()))
            for dimension, names in enumerate(self.names)
        ]

"""A quarter-hour of totals: its minutes, its campaigns, and the dimension names of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from schemas.events import Impression
from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS
from streams.join.totals.measures import Int64s
from streams.join.totals.names import Names
from streams.join.totals.tables import Int32s, Table
from streams.kernels.groups import group_times
from streams.kernels.totals import add_columns, mark

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
        whole = np.zeros((len(MEASURES), len(codes)), np.int64)
        whole[measures, :] = added
        add_columns(self.measures, codes, whole)
        mark(self.dirty, self.unsaved, codes)

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
    """Totals of a quarter-hour. It has its own names: they are freed with it, so that no dictionary grows for ever.

    `extra` is how many extra dimensions there are.
    """

    def __init__(self, extra: int = 0) -> None:
        self.names = Names(extra)
        # By start of the minute, ms UTC.
        self.minutes: dict[int, Table] = {}
        self.campaigns = Campaigns()

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use, names left out."""
        return sum(table.nbytes for table in self.minutes.values()) + self.campaigns.measures.nbytes

    def coded(self, impressions: Sequence[Impression], dimensions: Sequence[int]) -> Int32s:
        """The codes of impressions, shape (n, code columns); 0 for all but these dimensions."""
        codes = np.zeros((len(impressions), self.names.columns_wide), np.int32)
        texts = [getattr(each, DIMENSIONS[dimension]) for dimension in dimensions for each in impressions]
        of = np.repeat(dimensions, len(impressions))
        codes[:, dimensions] = self.names.codes_of(of, texts).reshape(len(dimensions), len(impressions)).T
        return codes

    def add(self, codes: Int32s, campaigns: Int32s, ts_ms: Int64s, added: Int64s, measures: Sequence[int]) -> None:
        """Adds to the totals of the minutes at these times, by codes, and to those of the campaigns."""
        for minute_ms, members in groups(ts_ms, MINUTE_MS):
            self.table(minute_ms).add(codes[members], np.ascontiguousarray(added[:, members]), measures)
        self.campaigns.add(np.ascontiguousarray(campaigns), measures, added)

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
            table = self.minutes[minute_ms] = Table(self.names.columns_wide)
        return table


def groups(ts_ms: Int64s, span_ms: int) -> Iterator[tuple[int, Int64s]]:
    """The start of each minute or quarter-hour that has some of these times, ascending, with the places of those."""
    starts, ends, places = (np.empty(len(ts_ms), np.int64) for _ in range(3))
    count = group_times(ts_ms, span_ms, starts, ends, places)
    first = 0
    for start_ms, end in zip(starts[:count].tolist(), ends[:count].tolist(), strict=True):
        yield start_ms, places[first:end]
        first = end

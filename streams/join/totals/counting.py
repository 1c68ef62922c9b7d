"""Totals so far, by minute and dimensions and by quarter-hour and campaign: what impressions and clicks add to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from schemas.codec import encode
from schemas.events import Impression
from schemas.records import Out
from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS, QUARTER_MS
from streams.engine.ports import Disk
from streams.join.totals.journal import Journal, QuarterState
from streams.join.totals.quarter import CAMPAIGN, Quarter
from streams.join.totals.tables import CLICKED, SHOWN

Int64s = npt.NDArray[np.int64]

# What one click adds, in the order of CLICKED: attributed clicks and spend, clicks, repeats, spend.
_REPEAT = (0, 0, 0, 1, 0)
# Rows of one record: about 100 KB; the byte bound is half of what a broker takes by default.
_PACKED = 1_000
_LARGEST_BYTES = 512 << 10
_price = attrgetter("price_micros")
_pctr = attrgetter("pctr")


class Counting:
    """All totals of a partition that are not final yet; a dimension not in `dimensions` counts as not given."""

    def __init__(self, disk: Disk, dimensions: Sequence[str] = DIMENSIONS) -> None:
        self._columns = [(place, attrgetter(name)) for place, name in enumerate(DIMENSIONS) if name in dimensions]
        self._by_campaign = "campaign_id" in dimensions
        self._journal = Journal(disk)
        self.quarters: dict[int, Quarter] = {}
        # Clicks since the last flush: impression, the time they count at, what they add to CLICKED.
        self._clicks: list[tuple[Impression, int, tuple[int, ...]]] = []

    def __len__(self) -> int:
        return sum(table.count for quarter in self.quarters.values() for table in quarter.minutes.values())

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use, names left out."""
        return sum(quarter.nbytes for quarter in self.quarters.values())

    def add_impressions(self, impressions: Sequence[Impression], ts: Int64s) -> None:
        """Counts accepted impressions in their own minutes; `ts` are their event times."""
        count = len(impressions)
        prices = np.fromiter(map(_price, impressions), np.float64, count)
        # An absent pCTR is read as nan by numpy and counts as 0.
        shares = np.nan_to_num(np.array(list(map(_pctr, impressions)), np.float64))
        added = np.ones((len(SHOWN), count), np.int64)
        # Rounded per impression and half to even, as Python's round does: sums do not depend on batching.
        added[1] = np.rint(shares * 1e9)
        added[2] = np.rint(shares * prices)
        self._add(impressions, ts, added, SHOWN)

    def add_click(self, impression: Impression, click_ts: int, *, repeat: bool) -> None:
        """Counts a matched click in the click's minute, and a billable one also in the impression's; see `flush`."""
        if repeat:
            self._clicks.append((impression, click_ts, _REPEAT))
            return
        price = impression.price_micros
        self._clicks.append((impression, click_ts, (0, 0, 1, 0, price)))
        self._clicks.append((impression, impression.ts, (1, price, 0, 0, 0)))

    def flush(self) -> None:
        """Counts the clicks added since the last time: all together, as each alone would cost what a hundred do."""
        if not self._clicks:
            return
        impressions, times, added = zip(*self._clicks, strict=True)
        self._clicks = []
        self._add(impressions, np.array(times, np.int64), np.array(added, np.int64).T, CLICKED)

    def report(
        self, partition: int, version: int, *, final_ms: int, limit: int, final_only: bool = False
    ) -> tuple[list[Out], int, bool]:
        """Changed totals, and all of spans that end at or before `final_ms`, oldest first, about `limit` of them.

        `final_only`: those of minutes that end by then and no others, for who reads nothing else.

        Returns the records; the bound up to which every final total is among them or was sent before, `final_ms` or
        less; and whether the limit left some out.
        """
        outs: list[Out] = []
        left = limit
        minutes = (
            (minute, quarter) for _, quarter in sorted(self.quarters.items()) for minute in sorted(quarter.minutes)
        )
        for minute, quarter in minutes:
            if left <= 0:
                reached_ms = min(final_ms, minute)
                campaigns = [] if final_only else self._campaigns(partition, version, final_ms=reached_ms)
                return outs + campaigns, reached_ms, True
            table = quarter.minutes[minute]
            final = minute + MINUTE_MS <= final_ms
            if final_only and not final:
                return outs, final_ms, False
            head = {"minute": minute, "join_partition": partition, "version": version, "final": final}
            rows = table.take_dirty(final=final)
            left -= len(rows)
            for start in range(0, len(rows), _PACKED):
                chosen = rows[start : start + _PACKED]
                outs += _packed(head, quarter.named(table.codes[chosen]), table.measures(chosen))
        return outs + ([] if final_only else self._campaigns(partition, version, final_ms=final_ms)), final_ms, False

    def drop_final(self, final_ms: int) -> None:
        """Forgets spans that end at or before `final_ms`: their final totals are committed."""
        for start, quarter in list(self.quarters.items()):
            for minute in [minute for minute in quarter.minutes if minute + MINUTE_MS <= final_ms]:
                del quarter.minutes[minute]
            if start + QUARTER_MS <= final_ms:
                del self.quarters[start]

    def all_dirty(self) -> None:
        """Every total is to be sent again: what a former owner sent of them is not known."""
        for quarter in self.quarters.values():
            quarter.all_dirty()

    def snapshot(self) -> list[QuarterState]:
        """Makes what changed since the last snapshot durable, and says what to read back."""
        return self._journal.save(self.quarters)

    def files(self) -> dict[str, int]:
        """The journals the last snapshot names, and how much of each counts."""
        return self._journal.files()

    def snapshot_kept(self) -> None:
        """The last snapshot is durable: files only earlier ones name may go."""
        self._journal.saved()

    def restore(self, states: Sequence[QuarterState]) -> None:
        """Takes the totals of a snapshot. Raises DamagedState."""
        self.quarters = self._journal.restore(states)

    def clear(self) -> None:
        """Forgets everything, files included."""
        self.quarters.clear()
        self._clicks.clear()
        self._journal.clear()

    def _add(self, impressions: Sequence[Impression], ts: Int64s, added: Int64s, measures: Sequence[int]) -> None:
        minutes = ts - ts % MINUTE_MS
        for start, rows in _groups(minutes - minutes % QUARTER_MS):
            quarter = self.quarters.setdefault(start, Quarter())
            whole = len(rows) == len(impressions)
            events = impressions if whole else [impressions[row] for row in rows.tolist()]
            values = added if whole else added[:, rows]
            codes = quarter.coded(self._columns, events)
            for minute, at in _groups(minutes[rows]):
                quarter.table(minute).add(codes[at], values[:, at], measures)
            campaigns = codes[:, CAMPAIGN] if self._by_campaign else quarter.campaign_codes(events)
            quarter.campaigns.add(campaigns, measures, values)

    def _campaigns(self, partition: int, version: int, *, final_ms: int) -> list[Out]:
        outs: list[Out] = []
        for start, quarter in sorted(self.quarters.items()):
            final = start + QUARTER_MS <= final_ms
            codes = quarter.campaigns.take_dirty(final=final)
            texts = quarter.names[CAMPAIGN].texts
            for code, numbers in zip(codes.tolist(), quarter.campaigns.measures[:, codes].T.tolist(), strict=True):
                value = encode(
                    {
                        "campaign_id": texts[code],
                        "quarter": start,
                        "join_partition": partition,
                        "version": version,
                        "final": final,
                        **dict(zip(MEASURES, numbers, strict=True)),
                    }
                )
                outs.append(Out("campaign_totals", texts[code].encode(), value))
        return outs


def _groups(starts: Int64s) -> Iterator[tuple[int, Int64s]]:
    """Each distinct value, ascending, and where it stands."""
    low, high = int(starts.min()), int(starts.max())
    if low == high:
        yield low, np.arange(len(starts))
        return
    for start in np.unique(starts).tolist():
        yield start, np.flatnonzero(starts == start)


def _packed(head: dict[str, Any], columns: list[list[str]], measures: Int64s) -> list[Out]:
    """Totals of a minute in one record, or in halves where long names would make it too large for the broker."""
    value = orjson.dumps(
        {**head, "dimensions": columns, "measures": np.ascontiguousarray(measures)}, option=orjson.OPT_SERIALIZE_NUMPY
    )
    count = measures.shape[1]
    if len(value) > _LARGEST_BYTES and count > 1:
        half = count // 2
        return _packed(head, [column[:half] for column in columns], measures[:, :half]) + _packed(
            head, [column[half:] for column in columns], measures[:, half:]
        )
    return [Out("totals", str(head["minute"]).encode(), value, head["join_partition"])]

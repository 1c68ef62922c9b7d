"""Totals so far of one join partition: by minute and dimensions, and by quarter-hour and campaign."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from schemas.dimensions import ExtraDimension
from schemas.events import Impression
from schemas.packed import PackedCampaignTotals, PackedMinuteTotals
from schemas.records import Out
from schemas.totals import DIMENSIONS, MINUTE_MS, QUARTER_MS
from streams.engine.ports import Disk
from streams.join.scanned import ScannedImpressions
from streams.join.totals.extra import ExtraNames
from streams.join.totals.journal import Journal, QuarterState
from streams.join.totals.measures import (
    ATTRIBUTED,
    BILLED,
    CLICKED,
    REPEAT,
    SHOWN,
    Int64s,
    added_by_clicks,
    added_by_impressions,
)
from streams.join.totals.names import Int32s, Names
from streams.join.totals.quarter import CAMPAIGN, Quarter, groups
from streams.join.totals.tables import Table
from streams.kernels.columns import NUMBERS_HEAD, write_numbers

Numbers = TypeVar("Numbers", Int32s, Int64s)

# Clicks that wait to be counted, two for a billable one, each with its impression: about 2 MB.
_MOST_WAITING = 2_000
# Totals in one record: about 30 KB. With long names it may be larger. Above 512 KiB, half of what a broker takes by
# default, the record is split in two.
_RECORD_ROWS = 1_000
_LARGEST_BYTES = 512 << 10


class Counting:
    """All totals of a partition that are not final yet. A dimension that is not in `dimensions` counts as not given.

    Extra dimensions are counted whatever `dimensions` has.

    `campaign_partitions`: how many partitions `ads.campaign_totals` has.
    """

    def __init__(
        self,
        disk: Disk,
        dimensions: Sequence[str] = DIMENSIONS,
        *,
        extra: Sequence[ExtraDimension] = (),
        campaign_partitions: int = 1,
    ) -> None:
        self._dimensions = [number for number, name in enumerate(DIMENSIONS) if name in dimensions]
        self._by_campaign = "campaign_id" in dimensions
        self._campaign_partitions = campaign_partitions
        self._extra = ExtraNames(extra)
        self._journal = Journal(disk, len(extra))
        # By start of the quarter-hour, ms UTC.
        self.quarters: dict[int, Quarter] = {}
        # Clicks that are not counted yet: the impression, the time they count at, and REPEAT, BILLED or ATTRIBUTED.
        # All of them are counted at once, when totals are read: one click alone costs as much as a hundred.
        self._clicks: list[tuple[Impression, int, int]] = []

    def __len__(self) -> int:
        self._count_clicks()
        return sum(table.count for quarter in self.quarters.values() for table in quarter.minutes.values())

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use, without the names."""
        return sum(quarter.nbytes for quarter in self.quarters.values())

    def add_impressions(self, impressions: ScannedImpressions, accepted: Int64s, ts_ms: Int64s) -> None:
        """Counts the impressions at the `accepted` places in their own minutes; `ts_ms` are their event times."""
        added = added_by_impressions(*impressions.prices_and_pctrs(accepted))
        for start_ms, rows in groups(ts_ms, QUARTER_MS):
            quarter, places = self._quarter(start_ms), accepted[rows]
            codes = quarter.names.coded(impressions, places, self._dimensions)
            if self._extra:
                quarter.names.code_extra(codes, self._extra.of_scanned(impressions, places, ts_ms[rows]))
            campaigns = codes if self._by_campaign else quarter.names.coded(impressions, places, [CAMPAIGN])
            quarter.add(codes, campaigns[:, CAMPAIGN], ts_ms[rows], added[:, rows], SHOWN)

    def add_click(self, impression: Impression, click_ms: int, *, repeat: bool) -> None:
        """Counts a matched click in the click's minute, and a billable one also in the impression's."""
        if repeat:
            self._clicks.append((impression, click_ms, REPEAT))
        else:
            self._clicks.append((impression, click_ms, BILLED))
            self._clicks.append((impression, impression.ts, ATTRIBUTED))
        if len(self._clicks) >= _MOST_WAITING:
            self._count_clicks()

    def _count_clicks(self) -> None:
        if not self._clicks:
            return
        impressions, times, kinds = zip(*self._clicks, strict=True)
        self._clicks = []
        times_ms, added = np.array(times, np.int64), added_by_clicks(impressions, kinds)
        for start_ms, rows in groups(times_ms, QUARTER_MS):
            quarter, events = self._quarter(start_ms), [impressions[row] for row in rows.tolist()]
            codes = quarter.coded(events, self._dimensions)
            if self._extra:
                quarter.names.code_extra(codes, self._extra.of_events(events))
            campaigns = codes if self._by_campaign else quarter.coded(events, [CAMPAIGN])
            quarter.add(codes, campaigns[:, CAMPAIGN], times_ms[rows], added[:, rows], CLICKED)

    def report(
        self, partition: int, version: int, *, final_ms: int, limit: int, final_only: bool = False
    ) -> tuple[list[Out], int, bool]:
        """Totals that changed, and all of minutes and quarters that end at or before `final_ms`, oldest first.

        About `limit` totals at a time. With `final_only`, only those of minutes that end by then: a backfill needs no
        others.

        Returns the records; the time up to which every final total is among them or was sent before, at most
        `final_ms`; and whether the limit left some out.
        """
        self._count_clicks()
        outs: list[Out] = []
        remaining = limit
        minutes = (
            (minute_ms, quarter)
            for _, quarter in sorted(self.quarters.items())
            for minute_ms in sorted(quarter.minutes)
        )
        for minute_ms, quarter in minutes:
            if remaining <= 0:
                reached_ms = min(final_ms, minute_ms)
                campaigns = [] if final_only else self._campaigns(partition, version, final_ms=reached_ms)
                return outs + campaigns, reached_ms, True
            table = quarter.minutes[minute_ms]
            final = minute_ms + MINUTE_MS <= final_ms
            if final_only and not final:
                return outs, final_ms, False
            head = Head(minute_ms, partition, version, final)
            rows = table.take_dirty(final=final)
            remaining -= len(rows)
            outs += _records(rows, partial(_minute_record, head, self._extra.names, quarter.names, table))
        return outs + ([] if final_only else self._campaigns(partition, version, final_ms=final_ms)), final_ms, False

    def drop_final(self, final_ms: int) -> None:
        """Forgets minutes and quarters that end at or before `final_ms`: their final totals are committed."""
        self._count_clicks()
        for start_ms, quarter in list(self.quarters.items()):
            for minute_ms in [minute_ms for minute_ms in quarter.minutes if minute_ms + MINUTE_MS <= final_ms]:
                del quarter.minutes[minute_ms]
            if start_ms + QUARTER_MS <= final_ms:
                del self.quarters[start_ms]

    def all_dirty(self) -> None:
        """Marks every total to be sent again, because it is not known what the former owner has sent."""
        self._count_clicks()
        for quarter in self.quarters.values():
            quarter.all_dirty()

    def snapshot(self) -> list[QuarterState]:
        """Makes durable what changed since the last snapshot. Returns what `restore` needs."""
        self._count_clicks()
        return self._journal.save(self.quarters)

    def files(self) -> dict[str, int]:
        """The journals that the last snapshot names, with the length that belongs to the snapshot."""
        return self._journal.files()

    def snapshot_kept(self) -> None:
        """The last snapshot is durable: deletes files that only earlier ones name."""
        self._journal.saved()

    def restore(self, states: Sequence[QuarterState]) -> None:
        """Takes the totals of a snapshot. Raises DamagedState."""
        self.quarters = self._journal.restore(states)

    def clear(self) -> None:
        """Forgets everything and deletes all files."""
        self.quarters.clear()
        self._clicks.clear()
        self._journal.clear()

    def _quarter(self, start_ms: int) -> Quarter:
        return self.quarters.get(start_ms) or self.quarters.setdefault(start_ms, Quarter(len(self._extra)))

    def _campaigns(self, partition: int, version: int, *, final_ms: int) -> list[Out]:
        outs: list[Out] = []
        for start_ms, quarter in sorted(self.quarters.items()):
            head = Head(start_ms, partition, version, start_ms + QUARTER_MS <= final_ms)
            codes = quarter.campaigns.take_dirty(final=head.final).astype(np.int32)
            homes = quarter.names.partitions(CAMPAIGN, codes, self._campaign_partitions)
            for home in np.unique(homes).tolist():
                outs += _records(codes[homes == home], partial(_campaign_record, head, home, quarter))
        return outs


class Head(NamedTuple):
    """What the totals of a record have in common; `start_ms` is that of their minute or quarter-hour."""

    start_ms: int
    join_partition: int
    version: int
    final: bool


def _minute_record(head: Head, extra: list[str], names: Names, table: Table, rows: Int64s) -> Out:
    """Totals of a minute, these rows of its table, as one record."""
    totals = PackedMinuteTotals(
        minute=head.start_ms,
        join_partition=head.join_partition,
        version=head.version,
        final=head.final,
        rows=len(rows),
        dimensions=names.columns(table.codes[rows].astype(np.int32)),  # type: ignore[arg-type]  # as it is encoded
        measures=_encoded(table.measures(rows)),  # type: ignore[arg-type]  # as it is encoded
        extra_dimensions=extra,
    )
    return Out("totals", str(head.start_ms).encode(), msgspec.msgpack.encode(totals), head.join_partition)


def _campaign_record(head: Head, home: int, quarter: Quarter, codes: Int32s) -> Out:
    """Totals of campaigns of one partition as one record."""
    totals = PackedCampaignTotals(
        quarter=head.start_ms,
        join_partition=head.join_partition,
        version=head.version,
        final=head.final,
        campaigns=quarter.names.written(CAMPAIGN, codes),  # type: ignore[arg-type]  # as it is encoded
        measures=_encoded(quarter.campaigns.measures[:, codes]),  # type: ignore[arg-type]  # as it is encoded
    )
    return Out("campaign_totals", str(head.start_ms).encode(), msgspec.msgpack.encode(totals), home)


def _encoded(measures: Int64s) -> msgspec.Raw:
    """A list of each measure's numbers as bytes."""
    target = np.empty(NUMBERS_HEAD * (1 + len(measures)) + measures.size * 8, np.uint8)
    return msgspec.Raw(target[: write_numbers(np.ascontiguousarray(measures), target)].tobytes())


def _records(numbers: Numbers, record: Callable[[Numbers], Out]) -> Iterator[Out]:
    """The totals with these numbers as records: halved where long names make one too large for the broker."""
    pieces = [numbers[start : start + _RECORD_ROWS] for start in range(0, len(numbers), _RECORD_ROWS)]
    while pieces:
        piece = pieces.pop(0)
        out = record(piece)
        if len(out.value or b"") > _LARGEST_BYTES and len(piece) > 1:
            half = len(piece) // 2
            pieces[:0] = [piece[:half], piece[half:]]
        else:
            yield out

"""Totals so far, by minute and dimensions and by quarter-hour and campaign: integers in arrays, one row a key."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from schemas.codec import encode
from schemas.events import Impression
from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS, QUARTER_MS
from streams.fold import Out

Int64s = npt.NDArray[np.int64]
Dimensions = tuple[str | None, ...]

_IMPRESSIONS, _ATTRIBUTED_CLICKS, _ATTRIBUTED_SPEND, _EXPECTED_CLICKS, _EXPECTED_SPEND = range(5)
_CLICKS, _REPEATS, _SPEND = range(5, 8)
# Rows of one record: about 100 KB; the byte bound is half of what a broker takes by default.
_PACKED = 1_000
_LARGEST_BYTES = 512 << 10
_price = attrgetter("price_micros")
_pctr = attrgetter("pctr")


class _Rows(dict[Hashable, int]):
    """Key -> row, a new row for a new key. Dimensions absent and empty are one key: both mean 'not given'."""

    def __init__(self) -> None:
        self.names: list[Hashable] = []

    def __missing__(self, key: Hashable) -> int:
        if type(key) is tuple and "" in key:
            # Only here, once a key, and not at each look-up: what is absent goes by the name None.
            row = self[key] = self[tuple([part or None for part in key])]
            return row
        row = self[key] = len(self.names)
        self.names.append(key)
        return row


class TableState(msgspec.Struct, frozen=True):
    """One table in a snapshot: the names of its rows and its measures as little-endian int64, row by row."""

    start: int
    names: list[Any]
    measures: bytes


class Table:
    """The totals of one span of time: an int64 array of shape (rows, len(MEASURES))."""

    def __init__(self) -> None:
        self.rows = _Rows()
        self.measures = np.zeros((64, len(MEASURES)), np.int64)
        self.dirty = np.zeros(64, np.bool_)
        # For a minute's rows: the row of the same campaign in the quarter's table.
        self.parent_rows = np.zeros(0, np.int64)

    def fit(self) -> None:
        """Makes room for the rows that look-ups have added."""
        if len(self.rows.names) > len(self.measures):
            more = max(len(self.rows.names), 2 * len(self.measures)) - len(self.measures)
            self.measures = np.concatenate((self.measures, np.zeros((more, len(MEASURES)), np.int64)))
            self.dirty = np.concatenate((self.dirty, np.zeros(more, np.bool_)))

    def state(self, start: int) -> TableState:
        """The table for a snapshot."""
        names = self.rows.names
        return TableState(start, names, self.measures[: len(names)].astype("<i8").tobytes())

    def restore(self, state: TableState) -> None:
        """Takes the rows of a snapshot."""
        for name in state.names:
            _ = self.rows[tuple(name) if isinstance(name, list) else name]
        self.fit()
        read = np.frombuffer(state.measures, "<i8").reshape(-1, len(MEASURES))
        self.measures[: len(read)] = read


class Counting:
    """All totals of a partition that are not final yet; a dimension not in `dimensions` counts as not given."""

    def __init__(self, dimensions: Sequence[str] = DIMENSIONS) -> None:
        kept = [name if name in dimensions else "_absent" for name in DIMENSIONS]
        self._dimensions_of = attrgetter(*kept) if "_absent" not in kept else _masked(dimensions)
        self._campaign_at = DIMENSIONS.index("campaign_id")
        self.minutes: dict[int, Table] = {}
        self.quarters: dict[int, Table] = {}

    def __len__(self) -> int:
        return sum(len(table.rows.names) for table in self.minutes.values())

    def add_impressions(self, impressions: Sequence[Impression], ts: Int64s) -> None:
        """Counts accepted impressions in their own minutes; `ts` are their event times."""
        minutes = ts - ts % MINUTE_MS
        low, high = int(minutes.min()), int(minutes.max())
        if low == high:
            self._add_minute(low, impressions)
            return
        for minute in np.unique(minutes).tolist():
            chosen = np.flatnonzero(minutes == minute).tolist()
            self._add_minute(minute, [impressions[row] for row in chosen])

    def add_click(self, impression: Impression, click_ts: int, *, repeat: bool) -> None:
        """Counts a matched click in the click's minute, and a billable one also in the impression's."""
        if repeat:
            self._add_one(impression, click_ts, [(_REPEATS, 1)])
            return
        price = impression.price_micros
        self._add_one(impression, click_ts, [(_CLICKS, 1), (_SPEND, price)])
        self._add_one(impression, impression.ts, [(_ATTRIBUTED_CLICKS, 1), (_ATTRIBUTED_SPEND, price)])

    def report(self, partition: int, version: int, *, final_ms: int, limit: int) -> tuple[list[Out], int, bool]:
        """Changed totals, and all of spans that end at or before `final_ms`, oldest first, about `limit` of them.

        Returns the records; the bound up to which every final total is among them or was sent before, `final_ms` or
        less; and whether the limit left some out.
        """
        outs: list[Out] = []
        reached_ms, cut = final_ms, False
        left = limit
        for minute, table in sorted(self.minutes.items()):
            if left <= 0:
                reached_ms, cut = min(final_ms, minute), True
                break
            final = minute + MINUTE_MS <= final_ms
            names, measures = _changed(table, final=final)
            left -= len(names)
            for start in range(0, len(names), _PACKED):
                packed = slice(start, start + _PACKED)
                head = {"minute": minute, "join_partition": partition, "version": version, "final": final}
                outs += _packed(head, names[packed], measures[packed])
        for quarter, table in sorted(self.quarters.items()):
            final = quarter + QUARTER_MS <= reached_ms
            names, measures = _changed(table, final=final)
            for campaign, numbers in zip(names, measures.tolist(), strict=True):
                value = encode(
                    {
                        "campaign_id": campaign,
                        "quarter": quarter,
                        "join_partition": partition,
                        "version": version,
                        "final": final,
                        **dict(zip(MEASURES, numbers, strict=True)),
                    }
                )
                outs.append(Out("campaign_totals", campaign.encode(), value))
        return outs, reached_ms, cut

    def drop_final(self, final_ms: int) -> None:
        """Forgets spans that end at or before `final_ms`: their final totals are committed."""
        for minute in [minute for minute in self.minutes if minute + MINUTE_MS <= final_ms]:
            del self.minutes[minute]
        for quarter in [quarter for quarter in self.quarters if quarter + QUARTER_MS <= final_ms]:
            del self.quarters[quarter]

    def all_dirty(self) -> None:
        """Every total is to be sent again: what a former owner sent of them is not known."""
        for table in (*self.minutes.values(), *self.quarters.values()):
            table.dirty[: len(table.rows.names)] = True

    def snapshot(self) -> tuple[list[TableState], list[TableState]]:
        """The tables by minute and by quarter."""
        return (
            [table.state(start) for start, table in self.minutes.items()],
            [table.state(start) for start, table in self.quarters.items()],
        )

    def restore(self, minutes: Sequence[TableState], quarters: Sequence[TableState]) -> None:
        """Takes the tables of a snapshot."""
        for state in quarters:
            self.quarters.setdefault(state.start, Table()).restore(state)
        for state in minutes:
            table = self.minutes.setdefault(state.start, Table())
            table.restore(state)
            self._adopt(state.start, table)

    def _add_minute(self, minute: int, impressions: Sequence[Impression]) -> None:
        table = self.minutes.get(minute)
        if table is None:
            table = self.minutes[minute] = Table()
        count = len(impressions)
        rows = np.fromiter(map(table.rows.__getitem__, map(self._dimensions_of, impressions)), np.int64, count)
        quarter = self._adopt(minute, table)
        prices = np.fromiter(map(_price, impressions), np.float64, count)
        # An absent pCTR is read as nan by numpy and counts as 0.
        shares = np.nan_to_num(np.array(list(map(_pctr, impressions)), np.float64))
        added = np.ones((count, 3), np.int64)
        # Rounded per impression and half to even, as Python's round does: sums do not depend on batching.
        added[:, 1] = np.rint(shares * 1e9)
        added[:, 2] = np.rint(shares * prices)
        parent_rows = table.parent_rows[rows]
        for place, measure in enumerate((_IMPRESSIONS, _EXPECTED_CLICKS, _EXPECTED_SPEND)):
            np.add.at(table.measures[:, measure], rows, added[:, place])
            np.add.at(quarter.measures[:, measure], parent_rows, added[:, place])
        table.dirty[rows] = True
        quarter.dirty[parent_rows] = True

    def _add_one(self, impression: Impression, ts_ms: int, changes: Sequence[tuple[int, int]]) -> None:
        minute = ts_ms - ts_ms % MINUTE_MS
        table = self.minutes.get(minute)
        if table is None:
            table = self.minutes[minute] = Table()
        row = table.rows[self._dimensions_of(impression)]
        quarter = self._adopt(minute, table)
        parent_row = int(table.parent_rows[row])
        for measure, change in changes:
            table.measures[row, measure] += change
            quarter.measures[parent_row, measure] += change
        table.dirty[row] = True
        quarter.dirty[parent_row] = True

    def _adopt(self, minute: int, table: Table) -> Table:
        """Gives the minute's new rows their places in the quarter's table, and returns that."""
        start = minute - minute % QUARTER_MS
        quarter = self.quarters.get(start)
        if quarter is None:
            quarter = self.quarters[start] = Table()
        fresh = table.rows.names[len(table.parent_rows) :]
        if fresh:
            places = [quarter.rows[name[self._campaign_at]] for name in fresh]  # type: ignore[index]  # minutes: tuples
            table.parent_rows = np.concatenate((table.parent_rows, np.array(places, np.int64)))
            table.fit()
            quarter.fit()
        return quarter


def _masked(dimensions: Sequence[str]) -> Any:
    def dimensions_of(impression: Impression) -> Dimensions:
        return tuple(getattr(impression, name) if name in dimensions else None for name in DIMENSIONS)

    return dimensions_of


def _changed(table: Table, *, final: bool) -> tuple[list[Any], Int64s]:
    """Names and measures of the rows to report, which are no longer dirty then."""
    count = len(table.rows.names)
    if final:
        table.dirty[:count] = False
        return table.rows.names, table.measures[:count]
    rows = np.flatnonzero(table.dirty[:count])
    table.dirty[rows] = False
    names = table.rows.names
    return [names[row] for row in rows.tolist()], table.measures[rows]


def _packed(head: dict[str, int], names: Sequence[Dimensions], measures: Int64s) -> list[Out]:
    """Totals of a minute in one record, or in halves where long names would make it too large for the broker."""
    columns = [[name or "" for name in column] for column in zip(*names, strict=True)]
    value = orjson.dumps(
        {**head, "dimensions": columns, "measures": np.ascontiguousarray(measures.T)},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    if len(value) > _LARGEST_BYTES and len(names) > 1:
        half = len(names) // 2
        return _packed(head, names[:half], measures[:half]) + _packed(head, names[half:], measures[half:])
    return [Out("totals", str(head["minute"]).encode(), value, head["join_partition"])]

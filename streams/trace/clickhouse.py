"""The rows of ClickHouse about one id, through the views that readers use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.quoting import identifier
from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS, QUARTER_MS
from streams.trace.answer import Counted

# What the view `outcomes` has of one decision; times in ms.
_COLUMNS: Final = {
    "kind": "kind",
    "event_time_ms": "toUnixTimestamp64Milli(event_time)",
    "campaign_id": "campaign_id",
    "click_id": "click_id",
    "click_time_ms": "toUnixTimestamp64Milli(click_time)",
    "price_micros": "price_micros",
    "weight": "weight",
    "join_partition": "join_partition",
}
# An id has a handful of rows. More are a fault of the ids, of which these show enough.
_MOST_ROWS: Final = 1_000


def event_times(client: Client, impression_id: str) -> list[int]:
    """Event times, ms, of what ClickHouse has of an id, in any run. It looks at the ids of all rows."""
    sql = (
        "SELECT DISTINCT toUnixTimestamp64Milli(event_time) FROM outcome_rows "
        "WHERE impression_id = {id:String} ORDER BY 1 LIMIT {most:UInt32}"
    )
    rows = client.query(sql, {"id": impression_id, "most": _MOST_ROWS}).result_rows
    return [int(row[0]) for row in rows]


def outcome_rows(client: Client, impression_id: str, times_ms: Collection[int]) -> list[dict[str, Any]]:
    """The rows of the view `outcomes` of an id at these event times, which find them fast."""
    if not times_ms:
        return []
    sql = (
        f"SELECT {', '.join(_COLUMNS.values())} FROM outcomes WHERE impression_id = {{id:String}} AND "
        "event_time IN (SELECT fromUnixTimestamp64Milli(arrayJoin({times:Array(Int64)}), 'UTC')) "
        "ORDER BY event_time, click_time, kind LIMIT {most:UInt32}"
    )
    given = {"id": impression_id, "times": sorted(times_ms), "most": _MOST_ROWS}
    rows = client.query(sql, given).result_rows
    # A row without a click has neither its id nor its time.
    return [{name: value for name, value in zip(_COLUMNS, row, strict=True) if value not in ("", 0)} for row in rows]


def promoted(client: Client, minutes_ms: Collection[int]) -> dict[int, str]:
    """Of these minutes, those that views show from a backfill, with its name."""
    if not minutes_ms:
        return {}
    sql = (
        "SELECT minute * 1000, run FROM (SELECT arrayJoin({minutes:Array(UInt32)}) AS minute) AS asked, promoted_spans "
        "WHERE minute >= toUnixTimestamp(from_minute) AND minute < toUnixTimestamp(to_minute)"
    )
    rows = client.query(sql, {"minutes": [minute // 1_000 for minute in sorted(minutes_ms)]}).result_rows
    return {int(minute): str(run) for minute, run in rows}


def with_row(client: Client, counted: Counted, extra: Sequence[str] = ()) -> Counted:
    """The total with what ClickHouse has of it, over all join partitions; `extra` are the extra dimensions."""
    span_ms = MINUTE_MS if counted.of == "minute" else QUARTER_MS
    names = (*DIMENSIONS, *extra) if counted.of == "minute" else ("campaign_id",)
    sums = ", ".join(f"sum({name})" for name in MEASURES)
    where = " AND ".join(f"{identifier(name)} = {{{name}:String}}" for name in names)
    sql = (
        f"SELECT count(), {sums} FROM minutes WHERE minute >= toDateTime({{start:Int64}}, 'UTC') "
        f"AND minute < toDateTime({{end:Int64}}, 'UTC') AND {where}"
    )
    given = {name: counted.names.get(name, "") for name in names}
    times = {"start": counted.start_ms // 1_000, "end": (counted.start_ms + span_ms) // 1_000}
    rows, *measures = client.query(sql, {**given, **times}).result_rows[0]
    row = {name: int(value) for name, value in zip(MEASURES, measures, strict=True)} if rows else None
    return msgspec.structs.replace(counted, row=row)


def moments(minutes: Sequence[Counted]) -> set[int]:
    """The minutes that an id is counted in."""
    return {each.start_ms for each in minutes if each.of == "minute"}

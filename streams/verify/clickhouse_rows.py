"""What the sink has written to ClickHouse, read through the views that readers use."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from schemas.clickhouse.quoting import identifier
from schemas.totals import DIMENSIONS, MEASURES
from streams.verify.oracle import Key
from streams.warehouse.forgotten import STILL_STORED, TOMBSTONED, forgotten_hashes


@dataclass(frozen=True, slots=True)
class ClickHouseRows:
    """The rows of live work in one database. Promoted times are left out: there the views show a backfill."""

    client: Client
    # (start, end) in ms UTC, end exclusive, in order, without overlap.
    promoted_spans: Sequence[tuple[int, int]]
    # The run's extra dimensions.
    extra: Sequence[str] = ()
    # The hashes of users who were forgotten, and how many rows still store one of them, below the views.
    forgotten: Collection[int] = ()
    still_stored: int = 0

    @classmethod
    def open(cls, client: Client, extra: Sequence[str] = ()) -> ClickHouseRows:
        """Asks which minutes are promoted now, and who was forgotten."""
        columns = "toUnixTimestamp(from_minute) * 1000, toUnixTimestamp(to_minute) * 1000"
        rows = client.query(f"SELECT {columns} FROM promoted_spans ORDER BY from_minute").result_rows
        stored = client.query(f"SELECT count() FROM outcome_rows WHERE {STILL_STORED}").result_rows
        spans = [(row[0], row[1]) for row in rows]
        return cls(client, spans, extra, forgotten_hashes(client), int(stored[0][0]))

    def tombstoned(self) -> int:
        """Dead letters of live work whose detail was taken out because it names, or may name, a forgotten user."""
        ((found,),) = self.client.query(f"SELECT count() FROM rejects WHERE {TOMBSTONED}").result_rows
        return int(found)

    def promoted(self, ts_ms: int) -> bool:
        """Whether the views show a backfill at this time."""
        # Above every end a span can have, so that a span that starts at `ts_ms` counts.
        spans_begun = bisect_right(self.promoted_spans, (ts_ms, 2**63))
        return spans_begun > 0 and ts_ms < self.promoted_spans[spans_begun - 1][1]

    def totals(self, partition: int) -> dict[Key, tuple[int, ...]]:
        """(minute, *dimensions) -> measures, of one join partition."""
        columns = ", ".join((*DIMENSIONS, *map(identifier, self.extra), *MEASURES))
        # A row begins with its minute and dimensions; measures follow.
        keys = 1 + len(DIMENSIONS) + len(self.extra)
        sql = f"SELECT toUnixTimestamp(minute) * 1000, {columns} FROM minutes WHERE join_partition = {partition}"
        rows = self.client.query(sql).result_rows
        return {tuple(row[:keys]): tuple(row[keys:]) for row in rows if not self.promoted(row[0])}

    def campaign_history(self, terms: Iterable[str]) -> dict[Key, Key]:
        """(campaign, number) -> what the change says, as `campaigns` compares it; the terms come last."""
        sql = (
            "SELECT campaign_id, number, toUnixTimestamp64Milli(in_force_from), source_partition, source_offset, "
            "withdrawn, version, daily_budget_micros, status, timezone, toUnixTimestamp64Milli(start_time), "
            f"toUnixTimestamp64Milli(end_time), {', '.join(terms)} FROM campaign_history"
        )
        return {
            (campaign_id, number): tuple(tuple(value) if isinstance(value, list) else value for value in values)
            for campaign_id, number, *values in self.client.query(sql).result_rows
        }

    def outcomes(self, partition: int) -> Iterator[tuple[int, Key]]:
        """(event time, (kind, impression, click, click time)) of one join partition."""
        sql = (
            "SELECT toUnixTimestamp64Milli(event_time), kind, impression_id, click_id, "
            f"toUnixTimestamp64Milli(click_time) FROM outcomes WHERE join_partition = {partition}"
        )
        with self.client.query_rows_stream(sql) as stream:
            for event_ms, *row in stream:
                if not self.promoted(event_ms):
                    yield event_ms, tuple(row)

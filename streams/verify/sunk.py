"""What the sink has written to ClickHouse, read through the views readers use."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from schemas.totals import DIMENSIONS, MEASURES
from streams.verify.oracle import Key

_WIDTH = 1 + len(DIMENSIONS)


@dataclass(frozen=True, slots=True)
class Sunk:
    """One database, and the stretches of it that are read from a backfill instead of from live work."""

    client: Client
    # (start, end) in ms UTC, ascending, apart.
    spans: Sequence[tuple[int, int]]

    @classmethod
    def open(cls, client: Client) -> Sunk:
        """Asks which minutes are promoted."""
        columns = "toUnixTimestamp(from_minute) * 1000, toUnixTimestamp(to_minute) * 1000"
        rows = client.query(f"SELECT {columns} FROM promoted_spans ORDER BY from_minute").result_rows
        return cls(client, [(row[0], row[1]) for row in rows])

    def promoted(self, ts_ms: int) -> bool:
        """Whether readers get this time from a backfill."""
        at = bisect_right(self.spans, (ts_ms, 2**63))
        return at > 0 and ts_ms < self.spans[at - 1][1]

    def totals(self, partition: int) -> dict[Key, tuple[int, ...]]:
        """(minute, *dimensions) -> measures, of one join partition, without promoted minutes."""
        columns = ", ".join((*DIMENSIONS, *MEASURES))
        sql = f"SELECT toUnixTimestamp(minute) * 1000, {columns} FROM minutes WHERE join_partition = {partition}"
        rows = self.client.query(sql).result_rows
        return {tuple(row[:_WIDTH]): tuple(row[_WIDTH:]) for row in rows if not self.promoted(row[0])}

    def outcomes(self, partition: int) -> Iterator[tuple[int, Key]]:
        """(event time, (kind, impression, click, click time)) of one join partition, without promoted minutes."""
        sql = (
            "SELECT toUnixTimestamp64Milli(event_time), kind, impression_id, click_id, "
            f"toUnixTimestamp64Milli(click_time) FROM outcomes WHERE join_partition = {partition}"
        )
        with self.client.query_rows_stream(sql) as stream:
            for event_ms, *row in stream:
                if not self.promoted(event_ms):
                    yield event_ms, tuple(row)

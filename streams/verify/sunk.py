"""What the sink has written to ClickHouse, read through the views readers use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS
from streams.oracle import Key

_WIDTH = 1 + len(DIMENSIONS)


@dataclass(frozen=True, slots=True)
class Sunk:
    """One database, and the minutes in it that are read from a backfill instead of from live work."""

    client: Client
    promoted: frozenset[int]

    @classmethod
    def open(cls, client: Client) -> Sunk:
        """Asks which minutes are promoted."""
        rows = client.query("SELECT toUnixTimestamp(minute) * 1000 FROM promoted_minutes").result_rows
        return cls(client, frozenset(row[0] for row in rows))

    def totals(self, partition: int) -> dict[Key, tuple[int, ...]]:
        """(minute, *dimensions) -> measures, of one join partition, without promoted minutes."""
        columns = ", ".join((*DIMENSIONS, *MEASURES))
        sql = f"SELECT toUnixTimestamp(minute) * 1000, {columns} FROM minutes WHERE join_partition = {partition}"
        rows = self.client.query(sql).result_rows
        return {tuple(row[:_WIDTH]): tuple(row[_WIDTH:]) for row in rows if row[0] not in self.promoted}

    def outcomes(self, partition: int) -> Iterator[tuple[int, Key]]:
        """(event time, (kind, impression, click, click time)) of one join partition, without promoted minutes."""
        sql = (
            "SELECT toUnixTimestamp64Milli(event_time), kind, impression_id, click_id, "
            f"toUnixTimestamp64Milli(click_time) FROM outcomes WHERE join_partition = {partition}"
        )
        with self.client.query_rows_stream(sql) as stream:
            for event_ms, *row in stream:
                if event_ms - event_ms % MINUTE_MS not in self.promoted:
                    yield event_ms, tuple(row)

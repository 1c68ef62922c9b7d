"""Rows of ClickHouse hour by hour, in order, as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.errors import SettingsError, Transient
from schemas.totals import HOUR_MS
from streams.export.tables import MINUTES, Exported
from streams.runs.minutes import READ_SETTINGS, Span, owned_span, spans_text
from streams.runs.record import ACTIVE, known_run

if TYPE_CHECKING:
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

# Above this many bytes ClickHouse sorts with files. It reads an hour nearly in order, as its key begins with the hour.
_SETTINGS: Final = {
    **READ_SETTINGS,
    "max_bytes_before_external_sort": 1 << 30,
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_compression_method": "none",
}


class Hour(NamedTuple):
    """An hour that has rows."""

    start_ms: int
    rows: int


class ClickHouseReader:
    """The rows of a table: what the views show, or those of one run. `run` is its name, or ACTIVE."""

    def __init__(self, client: Client, table: Exported, run: str) -> None:
        self._client = client
        self._table = table
        self.run = run

    def owned(self) -> Span:
        """The minutes of a run that are its own and final.

        Raises SettingsError for a run that may still change.
        """
        record = known_run(self._client, self.run)
        if record.kind != "join":
            raise SettingsError(f"run {self.run} is of models: it has no outcomes and no minutes")
        if record.state != "complete":
            raise SettingsError(
                f"run {self.run} is not complete: its rows may still change; wait for its end, or repeat the backfill"
            )
        return owned_span(record)

    def hours(self, from_ms: int, to_ms: int) -> list[Hour]:
        """The hours from `from_ms` to `to_ms` that have rows. Raises Transient for minutes that are not final."""
        open_rows = "countIf(NOT final)" if self._table is MINUTES else "0"
        sql = f"""
        SELECT toUnixTimestamp(toStartOfHour({self._table.time})) AS hour, count(), {open_rows}
        FROM {self._from()} AND {self._between(from_ms, to_ms)}
        GROUP BY hour ORDER BY hour
        """
        found = self._client.query(sql, parameters=self._parameters(), settings=_SETTINGS).result_rows
        open_hours = [Span(start_s * 1000, start_s * 1000 + HOUR_MS) for start_s, _, is_open in found if is_open]
        if open_hours:
            raise Transient(
                f"{sum(is_open for *_, is_open in found):,} minute totals of {spans_text(open_hours)} are not final in "
                "ClickHouse, although the join has said so; is another sink group writing it?"
            )
        return [Hour(start_s * 1000, rows) for start_s, rows, _ in found]

    def rows(self, hour: Hour) -> Iterator[pa.Table]:
        """The rows of one hour. Raises Transient when they are not as many as were counted."""
        import pyarrow as pa

        columns = ", ".join(f"{each.sql} AS {each.name}" for each in self._table.columns)
        # Of the table and not of the answer: a null would be sorted otherwise.
        order = ", ".join(f"t.{name}" for name in self._table.order)
        sql = f"""
        SELECT {columns}
        FROM (SELECT * FROM {self._from()} AND {self._between(hour.start_ms, hour.start_ms + HOUR_MS)}) AS t
        ORDER BY {order}
        """
        schema, read = self._table.schema, 0
        # An answer that is cut between two batches looks like a whole one: rows are counted below.
        stream: Any = self._client.raw_stream(sql, parameters=self._parameters(), settings=_SETTINGS, fmt="ArrowStream")
        try:
            for batch in pa.ipc.open_stream(stream):
                read += batch.num_rows
                yield pa.Table.from_batches([batch]).cast(schema)
        except pa.ArrowException as error:
            raise Transient(f"the answer of ClickHouse broke off after {read:,} of {hour.rows:,} rows") from error
        finally:
            stream.close()
        if read != hour.rows:
            raise Transient(
                f"ClickHouse gave {read:,} rows of an hour that had {hour.rows:,} a moment before: was a run promoted "
                "or a user forgotten meanwhile? Export again"
            )

    def _from(self) -> str:
        if self.run == ACTIVE:
            return f"{self._table.view} WHERE true"
        return f"{self._table.rows} FINAL WHERE run = {{run:String}}"

    def _parameters(self) -> dict[str, str]:
        return {} if self.run == ACTIVE else {"run": self.run}

    def _between(self, from_ms: int, to_ms: int) -> str:
        first, last = (f"toDateTime({ms // 1000}, 'UTC')" for ms in (from_ms, to_ms))
        return f"{self._table.time} >= {first} AND {self._table.time} < {last}"

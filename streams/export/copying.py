"""Which hours are exported, and how their rows get from a source into a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import SettingsError
from schemas.totals import HOUR_MS
from streams.export.final import FinalTime
from streams.export.folder import ExportFolder
from streams.export.from_clickhouse import ClickHouseReader
from streams.export.from_log import read_rows, require_whole
from streams.export.hours import Hours
from streams.export.manifest import Manifest
from streams.export.moments import utc_text
from streams.export.tables import Exported
from streams.export.writing import ExportWriter, Request
from streams.kafka.cluster import Cluster
from streams.runs.minutes import Span

if TYPE_CHECKING:
    import pyarrow as pa

# How much more is done, of how much in all.
OnRead = Callable[[int, int], object]


def span_of_run(reader: ClickHouseReader, from_ms: int, to_ms: int | None) -> Span:
    """The hours of a run. Raises SettingsError for one that it does not own wholly."""
    owned = reader.owned()
    first_ms, last_ms = -(-owned.from_ms // HOUR_MS) * HOUR_MS, owned.to_ms // HOUR_MS * HOUR_MS
    span = Span(from_ms, last_ms if to_ms is None else to_ms)
    if not first_ms <= span.from_ms < span.to_ms <= last_ms:
        hours = (
            f"the whole hours of that are --from {utc_text(first_ms)} --to {utc_text(last_ms)}"
            if first_ms < last_ms
            else "no whole hour is among them; backfill a longer range"
        )
        raise SettingsError(
            f"run {reader.run} owns the minutes from {utc_text(owned.from_ms)} to {utc_text(owned.to_ms)}; {hours}"
        )
    return span


def span_of_live_work(table: Exported, final: FinalTime, from_ms: int, to_ms: int | None, *, now_ms: int) -> Span:
    """The hours of live work, up to `to_ms` or as far as all is final. Raises SettingsError for one that is not."""
    # A run that was ended is final for ever. Records are not ahead of the clock by more than an hour.
    last_ms = min(final.until_ms // HOUR_MS, now_ms // HOUR_MS + 2) * HOUR_MS
    until = f"{table.name} are final until {utc_text(final.until_ms)}" if final.until_ms > 0 else "nothing is final yet"
    behind = f"(join partition {final.partition} is furthest behind)"
    if to_ms is not None and to_ms > last_ms:
        raise SettingsError(
            f"--to {utc_text(to_ms)} may still change: {until} {behind}; give an hour up to then, or leave --to out"
        )
    if from_ms >= (to_ms or last_ms):
        raise SettingsError(f"--from {utc_text(from_ms)} begins an hour that may still change: {until} {behind}")
    return Span(from_ms, to_ms or last_ms)


def copy_hours(reader: ClickHouseReader, folder: ExportFolder, request: Request, on_read: OnRead) -> Manifest:
    """Exports the hours of ClickHouse, one after the other."""
    writer = ExportWriter(folder, request)
    hours = reader.hours(request.from_ms, request.to_ms)
    total = sum(hour.rows for hour in hours)

    def shown(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            yield table
            on_read(table.num_rows, total)

    for hour in hours:
        writer.write(hour.start_ms, shown(reader.rows(hour)))
    return writer.commit()


def copy_log(
    cluster: Cluster, folder: ExportFolder, request: Request, ends: Mapping[int, int], on_read: OnRead
) -> Manifest:
    """Exports the hours of the topic: reads all of it, keeps the rows by hour, and writes them."""
    table, total = request.table, sum(ends.values())
    require_whole(cluster, table, ends, request.from_ms)
    writer = ExportWriter(folder, request)
    with tempfile.TemporaryDirectory(prefix="clickfold-export-") as kept:
        hours = Hours(table, Path(kept))
        for rows in read_rows(cluster, table, ends, lambda records: on_read(records, total)):
            hours.add(rows, request.from_ms, request.to_ms)
        for hour_ms in hours.starts_ms():
            writer.write(hour_ms, hours.rows(hour_ms), apart=True)
    return writer.commit()

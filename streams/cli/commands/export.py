"""`clickfold export`: outcomes, minutes or examples for training as partitioned Parquet files."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import SettingsError
from streams.cli.commands import options
from streams.cli.connections import clickhouse_client, kafka_cluster
from streams.cli.render.figures import count
from streams.cli.render.records_bar import records_bar
from streams.export.copying import OnRead, copy_hours, copy_log, span_of_live_work, span_of_run
from streams.export.final import final_now, wait_for_sink
from streams.export.folder import ExportFolder
from streams.export.from_clickhouse import ClickHouseReader
from streams.export.manifest import Manifest
from streams.export.moments import hour_ms, utc_text
from streams.export.tables import EXPORTED, Exported
from streams.export.writing import Request
from streams.runs.record import ACTIVE

if TYPE_CHECKING:
    from rich.progress import Progress


class Source(StrEnum):
    """Where the rows are read."""

    CLICKHOUSE = "clickhouse"
    LOG = "log"


class What(StrEnum):
    """What can be exported."""

    OUTCOMES = "outcomes"
    MINUTES = "minutes"
    TRAINING = "training"


def export(
    what: Annotated[
        What, typer.Argument(help="outcomes, minutes, or training: labelled impressions with their features.")
    ],
    since: Annotated[str, typer.Option("--from", help="First hour, ISO 8601; UTC by default.")],
    to_dir: Annotated[
        str,
        typer.Option(
            "--to-dir", metavar="DIR|URL", help="Folder or address, such as s3://bucket/prefix; it gets a folder WHAT."
        ),
    ],
    until: Annotated[
        str,
        typer.Option("--to", help="End of the hours, which is not included. [default: as far as all is final]"),
    ] = "",
    source: Annotated[
        Source | None,
        typer.Option(
            help="Where rows are read: clickhouse, or log, the topics of Kafka. [default: clickhouse; training: log]",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str, typer.Option(help="Rows of this backfill, in the minutes it owns, or active: what the views show.")
    ] = ACTIVE,
    wait: Annotated[
        str, typer.Option(help="How long to wait for the sink to write what the join has decided.")
    ] = "30s",
    group: Annotated[str, typer.Option(help="The join's consumer group. [default: topic prefix + join]")] = "",
    sink_group: Annotated[str, typer.Option(help="The sink's consumer group. [default: topic prefix + sink]")] = "",
) -> None:
    """Write outcomes, minutes or examples for training as Parquet files, one folder an hour, only what is final.

    Exporting hours again replaces their files, and leaves other hours as they are. An export that is interrupted
    changes nothing.
    """
    _require_pyarrow()
    table = EXPORTED[what]
    from_clickhouse = _reads_clickhouse(table, source, run)
    from_ms = hour_ms("--from", since)
    to_ms = hour_ms("--to", until) if until else None
    if to_ms is not None and to_ms <= from_ms:
        raise SettingsError(f"--from {since} is not before --to {until}")
    folder = ExportFolder(to_dir, table.name)
    with contextlib.ExitStack() as cleanup:
        reader = ClickHouseReader(cleanup.enter_context(clickhouse_client()), table, run) if from_clickhouse else None
        if reader is not None and run != ACTIVE:
            span = span_of_run(reader, from_ms, to_ms)
            request = Request(table, span.from_ms, span.to_ms, Source.CLICKHOUSE, run, span.to_ms)
        else:
            cluster = kafka_cluster()
            final = final_now(cluster, options.plain_name("--group", group or cluster.group("join")), table)
            span = span_of_live_work(table, final, from_ms, to_ms, now_ms=time.time_ns() // 1_000_000)
            request = Request(table, span.from_ms, span.to_ms, Source.LOG, run, final.until_ms)
            if reader is not None:
                request = request._replace(source=Source.CLICKHOUSE)
                wait_s = options.duration_ms("--wait", wait) / 1_000
                sink = options.plain_name("--sink-group", sink_group or cluster.group("sink"))
                wait_for_sink(cluster, sink, table, final.ends, wait_s=wait_s)
        bar = cleanup.enter_context(records_bar())
        if reader is not None:
            manifest = copy_hours(reader, folder, request, bar_of(bar, "rows"))
        else:
            manifest = copy_log(cluster, folder, request, final.ends, bar_of(bar, "records"))
    typer.echo(_sentence(folder, manifest, request))


def bar_of(progress: Progress, name: str) -> OnRead:
    """Shows what is done of the total."""
    task = progress.add_task(name, total=None)
    return lambda done, total: progress.update(task, advance=done, total=total)


def _require_pyarrow() -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise SettingsError("Parquet files need pyarrow: `pip install 'clickfold[files]'`")


def _reads_clickhouse(table: Exported, source: Source | None, run: str) -> bool:
    if source is Source.CLICKHOUSE and not table.view:
        raise SettingsError(
            "ClickHouse has no features of impressions; leave --source out: training is read from Kafka"
        )
    if source is Source.LOG and run != ACTIVE:
        raise SettingsError(f"Kafka has no rows of run {run}; leave --source log out, or --run")
    if run != ACTIVE and not table.view:
        raise SettingsError(f"run {run} has no features of impressions; leave --run out")
    return source is Source.CLICKHOUSE or (source is None and bool(table.view))


def _sentence(folder: ExportFolder, manifest: Manifest, request: Request) -> str:
    own = [hour for hour in manifest.hours.values() if hour.export == manifest.exports[-1].id]
    files = [file for hour in own for file in hour.files]
    return (
        f"exported: {count(sum(file.rows for file in files))} rows of {request.table.name} in {count(len(own))} hours "
        f"from {utc_text(request.from_ms)} to {utc_text(request.to_ms)}, {count(len(files))} files of "
        f"{sum(file.bytes for file in files) / 1e6:,.1f} MB in {folder.name}"
    )

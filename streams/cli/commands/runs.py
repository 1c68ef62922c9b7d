"""`clickfold runs`: lists backfills, and deletes those that are no longer needed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from schemas.clickhouse.queries import Table
from schemas.errors import SettingsError
from streams.cli.commands import options
from streams.cli.connections import clickhouse_client
from streams.cli.lazy import command_group
from streams.cli.render.answers import Format, write
from streams.cli.render.figures import count
from streams.runs.drop import Holding, drop_run, holdings, prunable
from streams.runs.minutes import minutes_in

_COLUMNS = {
    "run": "String",
    "kind": "String",
    "state": "String",
    "owns from": "String",
    "owns to": "String",
    "minutes": "UInt64",
    "promoted minutes": "UInt64",
    "rows": "UInt64",
    "about MB": "Float64",
    "read": "String",
    "settings": "String",
}


app = command_group("List backfills and what they hold; drop them.", invoke_without_command=True)


@app.callback()
def runs(
    context: typer.Context,
    format_: Annotated[Format, typer.Option("--format", help="How the answer is written.")] = Format.TABLE,
) -> None:
    """List backfills, newest first: minutes they own, promoted minutes, size, offsets they read, settings."""
    if context.invoked_subcommand is None:
        with clickhouse_client() as client:
            rows = [_row(holding) for holding in holdings(client)]
        write(Table(tuple(_COLUMNS), tuple(_COLUMNS.values()), rows), format_)


@app.command()
def drop(
    name: Annotated[str, typer.Argument(help="Run to drop.", show_default=False)],
    unfinished: Annotated[
        bool,
        typer.Option(
            "--unfinished", help="Also drop a run that is not complete; make sure that no backfill is working on it."
        ),
    ] = False,
) -> None:
    """Delete a run's rows and its record; refused while views show it. Disk space is freed when ClickHouse merges."""
    with clickhouse_client() as client:
        rows = drop_run(client, name, unfinished=unfinished)
    typer.echo(f"dropped: run {name}, {count(rows)} rows")


@app.command()
def prune(
    keep: Annotated[int | None, typer.Option(min=0, help="Keep this many of the newest runs, drop the others.")] = None,
    older: Annotated[str, typer.Option(help="Drop runs that finished longer ago than this, such as 30d.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be dropped.")] = False,
) -> None:
    """Drop complete runs of which no minute is promoted. With both options, only those that both select."""
    if keep is None and not older:
        raise SettingsError("neither --keep nor --older is given; give one, such as --keep 3 or --older 30d")
    before_ms = time.time_ns() // 1_000_000 - options.duration_ms("--older", older) if older else None
    with clickhouse_client() as client:
        names = prunable(client, keep=keep, finished_before_ms=before_ms)
        for name in names:
            rows = None if dry_run else drop_run(client, name)
            result = "would be dropped" if rows is None else f"dropped, {count(rows)} rows"
            typer.echo(f"{name}: {result}")
    if not names:
        typer.echo("nothing to drop")


def _row(holding: Holding) -> list[object]:
    record = holding.record
    owns = record.from_minute_ms < record.to_minute_ms
    read = "; ".join(
        f"{log} " + ", ".join(f"{partition}: {first}-{last}" for partition, (first, last) in sorted(spans.items()))
        for log, spans in sorted(record.offsets.items())
    )
    return [
        record.run, record.kind, record.state,
        _text(record.from_minute_ms) if owns else None, _text(record.to_minute_ms) if owns else None,
        (record.to_minute_ms - record.from_minute_ms) // 60_000, minutes_in(holding.promoted), holding.rows,
        round(holding.bytes / 1e6, 1), read,
        " ".join(f"{name}={value}" for name, value in sorted(record.settings.items())),
    ]  # fmt: skip


def _text(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M}"

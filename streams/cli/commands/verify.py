"""`clickfold verify`: compares what a run has written with a batch computation over the same logs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console

from schemas.errors import SettingsError
from streams.cli.beside_up import (
    bounds_beside_up,
    extra_beside_up,
    input_maps_beside_up,
    options_beside_up,
    sources_beside_up,
)
from streams.cli.commands import options
from streams.cli.connections import (
    clickhouse_errors_as_sentences,
    kafka_cluster,
    warehouse_if_any,
)
from streams.cli.mapping import sources_of, value_schemas
from streams.cli.render.escape import escaped, escaped_json
from streams.cli.render.records_bar import records_bar
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.pacing.settings import changelog_topic
from streams.verify.check import Check
from streams.verify.ingested import IngestVerification
from streams.verify.pacing_counters import PacingChangelog, PacingCounters, PacingView
from streams.verify.run import Verification, VerifyRequest

_NO_SUCH: Final = "none is configured and none runs here"


class Format(StrEnum):
    """How the result is written."""

    TABLE = "table"
    JSON = "json"


def verify(
    context: typer.Context,
    from_: options.From = "earliest",
    to: Annotated[str, typer.Option("--to", help="Where to end, exclusive; written as --from, or latest.")] = "latest",
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    future: options.Future = "60s",
    dedupe: options.Dedupe = "",
    jump: options.Jump = options.AUTO,
    negative_rate: options.NegativeRate = 0.05,
    dimensions: options.Dimensions = options.DEFAULT_DIMENSIONS,
    extra_dimensions: options.ExtraDimensionsFile = None,
    input_map: options.InputMap = "",
    partitions: Annotated[
        str, typer.Option(help="Join partitions, separated by commas, such as 0,3. [default: all]")
    ] = "",
    group: Annotated[str, typer.Option(help="The join's consumer group. [default: topic prefix + join]")] = "",
    sink_group: Annotated[str, typer.Option(help="The sink's consumer group. [default: topic prefix + sink]")] = "",
    pacing_url: Annotated[
        str, typer.Option(help="JSON view of the pacing worker, http://host:port/pacing. [default: its changelog]")
    ] = "",
    ended: Annotated[
        bool, typer.Option("--ended", help="The run was ended by SIGUSR1, so nothing is open any more.")
    ] = False,
    wait: Annotated[
        str, typer.Option(help="How long to wait for the sink and pacing to catch up before comparing.")
    ] = "0s",
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOPIC=MAPPING", help="Also compare what ingest has made of this source; see `worker ingest`."
        ),
    ] = None,
    ingest_group: Annotated[str, typer.Option(help="Consumer group of ingest. [default: topic prefix + ingest]")] = "",
    rows: Annotated[int, typer.Option(min=1, help="How many differences of each check are shown.")] = 5,
    format_: Annotated[Format, typer.Option("--format", help="table or json.")] = Format.TABLE,
) -> None:
    """Recompute from Kafka alone what a run must have written, and compare. Exit code 1 when anything differs.

    Workers may keep running: only what they have committed is compared, without what may still change. Beside
    `clickfold up`, the bounds and sources that are not given are those that it was given.
    """
    cluster = kafka_cluster()
    request = VerifyRequest(
        bounds=bounds_beside_up(
            *(context, cluster),
            window=window,
            skew=skew,
            lateness=lateness,
            future=future,
            dedupe=dedupe,
            negative_rate=negative_rate,
            jump=jump,
        ),
        group=options.plain_name("--group", group or cluster.group("join")),
        dimensions=options.names(dimensions),
        extra=extra_beside_up(context, extra_dimensions),
        maps=input_maps_beside_up(context, input_map),
        partitions=_numbers(partitions) if partitions else None,
        from_text=from_,
        to_text=to,
        ended=ended,
        wait_s=options.duration_ms("--wait", wait) / 1_000,
        max_shown=rows,
    )
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(clickhouse_errors_as_sentences())
        warehouse = warehouse_if_any()
        client = cleanup.enter_context(contextlib.closing(warehouse.connect())) if warehouse is not None else None
        pacing = _pacing_counters(cluster, pacing_url)
        # A source that cannot be is said before the logs are read.
        ingested = None
        sources, left_out = sources_beside_up(context, source)
        if sources:
            schemas = cleanup.enter_context(value_schemas())
            reading = options.plain_name("--ingest-group", ingest_group or cluster.group("ingest"))
            ingested = IngestVerification(cluster, reading, sources_of(sources, schemas), schemas)
        bar = cleanup.enter_context(records_bar())
        verification = Verification(
            cluster,
            request,
            clickhouse=client,
            sink_group=sink_group,
            pacing=pacing,
            on_read=lambda records: bar.advance(task, records),
        )
        task = bar.add_task("records", total=verification.records)
        checks = verification.checks()
        if ingested is not None:
            checks = [*checks, ingested.check(max_shown=rows)]
    absent = {name: _NO_SUCH for name, part in (("ClickHouse", client), ("pacing", pacing)) if part is None}
    if left_out:
        absent["ingest"] = left_out
    if format_ is Format.JSON:
        sys.stdout.write(_json(verification, checks, list(absent)))
        agree = not any(check.differing for check in checks)
    else:
        console = Console()
        stored = list(options_beside_up(context).items())
        if not source:
            stored += [("--source", text) for text in sources]
        if stored:
            console.print(f"With {' '.join(map(' '.join, stored))}, as `clickfold up` was given.", style="dim")
        agree = show_checks(checks, console)
        judged = ", ".join(f"{count:,} {log}" for log, count in verification.events.items())
        console.print(f"{judged} in {len(verification.partitions)} partitions were recomputed.")
        for name, why in absent.items():
            console.print(f"{name}: not compared, because {why}.", style="dim")
    if not agree:
        raise typer.Exit(1)


def show_checks(checks: Sequence[Check], console: Console) -> bool:
    """Prints a line for each check, with its first differences below; returns whether all agree."""
    console.print("[bold]Against the batch truth[/bold]:")
    for check in checks:
        if check.differing:
            console.print(f"  [red]✗ {check.name}: {check.differing:,} differ, {check.compared:,} compared[/red]")
            for line in check.first:
                console.print(f"      {escaped(line)}", markup=False)
        elif check.compared:
            console.print(f"  [green]✓[/green] {check.name}: {check.compared:,} agree")
        else:
            console.print(f"  - {check.name}: nothing was compared", style="yellow")
        for note in check.notes:
            console.print(f"      {escaped(note)}", markup=False, style="dim")
    return not any(check.differing for check in checks)


def _json(verification: Verification, checks: Sequence[Check], absent: Sequence[str]) -> str:
    answer = {
        "agree": not any(check.differing for check in checks),
        "events": verification.events,
        "partitions": verification.partitions,
        "absent": absent,
        "checks": [
            {
                "name": check.name,
                "compared": check.compared,
                "differing": check.differing,
                "first": check.first,
                "notes": check.notes,
            }
            for check in checks
        ],
    }
    return escaped_json(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise SettingsError(f"--partitions is {text!r}; give numbers separated by commas, such as 0,3") from error


def _pacing_counters(cluster: Cluster, url: str) -> PacingCounters | None:
    """The JSON view of the pacing worker, or without a URL its changelog; None if no such worker ever ran."""
    if url:
        return PacingView(url)
    topic = changelog_topic(cluster.group("pace"))
    partitions = Admin(cluster).partition_counts().get(topic)
    return PacingChangelog(cluster, topic, partitions) if partitions is not None else None

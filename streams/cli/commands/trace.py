"""`clickfold trace`: what happened to one impression id."""

from __future__ import annotations

import contextlib
import shutil
import sys
from typing import Annotated

import msgspec
import orjson
import typer

from schemas.errors import SettingsError
from schemas.totals import known_dimensions
from streams.cli.beside_up import bounds_beside_up, extra_beside_up, input_maps_beside_up
from streams.cli.commands import options
from streams.cli.connections import clickhouse_errors_as_sentences, kafka_cluster, warehouse_if_any
from streams.cli.render.escape import escaped, escaped_json
from streams.cli.render.records_bar import records_bar
from streams.cli.render.trace import lines, sections
from streams.trace.run import TraceRequest
from streams.trace.run import trace as traced

_MAX_ID_CHARS = 256


def trace(
    context: typer.Context,
    impression_id: Annotated[str, typer.Argument(metavar="IMPRESSION_ID", help="The id of the impression.")],
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            help="Where to begin in both inputs: earliest, time:2026-11-01T00:00Z, or impressions:0=5;clicks:0=1.",
            show_default="an hour before the times that ClickHouse has of the id, else earliest",
        ),
    ] = "",
    to: Annotated[
        str, typer.Option("--to", help="Where to end in both inputs, exclusive; written as --from, or latest.")
    ] = "latest",
    all_partitions: Annotated[
        bool,
        typer.Option(
            "--all-partitions", help="Look through all partitions of the inputs, for records under another key too."
        ),
    ] = False,
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
    group: Annotated[str, typer.Option(help="The join's consumer group. [default: topic prefix + join]")] = "",
    sink_group: Annotated[str, typer.Option(help="The sink's consumer group. [default: topic prefix + sink]")] = "",
    learn_group: Annotated[
        str, typer.Option(help="The learner's consumer group. [default: topic prefix + learn]")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Write the answer as one JSON object.")] = False,
) -> None:
    """Say what happened to one impression id: where its records are, what was decided, where it is counted.

    Give the join's own settings. Beside `clickfold up`, those that are not given are the ones that it was given. Ends
    with code 3 when nothing of the id was found.
    """
    if not impression_id or len(impression_id) > _MAX_ID_CHARS:
        raise SettingsError(f"IMPRESSION_ID has {len(impression_id)} characters; ids have 1 to {_MAX_ID_CHARS}")
    cluster = kafka_cluster()
    request = TraceRequest(
        impression_id=impression_id,
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
        sink_group=options.plain_name("--sink-group", sink_group or cluster.group("sink")),
        learn_group=options.plain_name("--learn-group", learn_group or cluster.group("learn")),
        dimensions=known_dimensions(options.names(dimensions)),
        extra=extra_beside_up(context, extra_dimensions),
        maps=input_maps_beside_up(context, input_map),
        from_text=from_,
        to_text=to,
        all_partitions=all_partitions,
    )
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(clickhouse_errors_as_sentences())
        warehouse = warehouse_if_any()
        client = cleanup.enter_context(contextlib.closing(warehouse.open())) if warehouse is not None else None
        bar = cleanup.enter_context(records_bar())
        task, total = bar.add_task("offsets", total=0), 0

        def more(offsets: int) -> None:
            nonlocal total
            total += offsets
            bar.update(task, total=total)

        answer = traced(
            cluster, request, clickhouse=client, on_more=more, on_read=lambda offsets: bar.advance(task, offsets)
        )
    if json:
        text = orjson.dumps(msgspec.to_builtins(answer, str_keys=True), option=orjson.OPT_INDENT_2)
        sys.stdout.write(escaped_json(text.decode()) + "\n")
    else:
        sys.stdout.write(f"{escaped(impression_id)}, joined in partition {answer.partition}\n\n")
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        for line in lines([(name, [escaped(each) for each in own]) for name, own in sections(answer)], columns):
            sys.stdout.write(f"{line}\n")
    if not answer.records and not answer.outcomes:
        raise typer.Exit(3)

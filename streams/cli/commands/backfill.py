"""`clickfold backfill`: replays a bounded range of the logs into a run of its own, while live work goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from schemas.errors import ClickfoldError, SettingsError
from schemas.totals import known_dimensions
from streams.cli.commands import options
from streams.cli.commands.compare import write_models
from streams.cli.commands.options import DEFAULT_STATE_DIR
from streams.cli.connections import clickhouse_errors_as_sentences, kafka_cluster, warehouse
from streams.cli.extra_dimensions import read_extra_dimensions
from streams.cli.mapping import read_input_maps, read_mapping_file
from streams.cli.render.answers import Format
from streams.cli.render.figures import count

if TYPE_CHECKING:
    from streams.backfill.plan import BackfillPlan
    from streams.backfill.replay import ReplayProgress

_LINE_EVERY_S = 5.0


def backfill(
    run: Annotated[str, typer.Option("--run", help="Name of the run; the same command continues it.")],
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
    mapping: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="FILE",
            help="Mend records that live work refused as undecodable, too_large or too_deep: a TOML file, or the name "
            "of a ready mapping.",
        ),
    ] = "",
    extra_dimensions: options.ExtraDimensionsFile = None,
    input_map: options.InputMap = "",
    live_lateness: Annotated[
        str,
        typer.Option(help="Lateness of the live join, whose ledger says where to begin. [default: that of --lateness]"),
    ] = "",
    complete: Annotated[
        bool, typer.Option("--complete", help="The inputs end at --to, so all that is open is decided there.")
    ] = False,
    models: Annotated[
        bool,
        typer.Option(
            "--models", help="Learn models from outcomes instead of joining; offsets are written as outcomes:0=5."
        ),
    ] = False,
    model: options.LearnedModel = None,
    config: options.ModelConfigFile = None,
    processes: Annotated[
        int, typer.Option(min=0, help="Processes that share the partitions. [default: one for each core]")
    ] = 0,
    state_dir: options.StateDir = DEFAULT_STATE_DIR,
) -> None:
    """Replay a range of the logs with other settings, or again, into a run beside live work."""
    from streams.backfill.plan import (
        JoinOptions,
        MappingText,
        ModelsOptions,
        join_plan,
        load_or_make_plan,
        models_plan,
        option_texts,
    )
    from streams.backfill.processes import replay_all
    from streams.backfill.replay import owned_by_all  # imports numpy and librdkafka
    from streams.runs.compare_models import compare_models, learned_span
    from streams.runs.record import find_run, record_run

    mapped = read_mapping_file(mapping)
    if mapping and models:
        raise SettingsError("--map mends records of the inputs, and --models reads outcomes; give one of them")
    cluster, clickhouse = kafka_cluster(), warehouse()
    folder = state_dir / "backfill" / options.plain_name("--run", run)
    if models:
        settings = options.learner_settings(model=model, config=config, grace="15m")
        learning = ModelsOptions(run=run, from_=from_, to=to, model=settings)
        texts, make = option_texts(learning, cluster), partial(models_plan, learning, cluster)
    else:
        bounds = options.join_bounds(
            window=window,
            skew=skew,
            lateness=lateness,
            future=future,
            dedupe=dedupe,
            negative_rate=negative_rate,
            jump_ms=options.jump_ms(jump),
        )
        joining = JoinOptions(
            run=run,
            from_=from_,
            to=to,
            bounds=options.judged_as_in(cluster, bounds, jump=jump),
            dimensions=known_dimensions(options.names(dimensions)),
            extra=read_extra_dimensions(extra_dimensions),
            live_lateness_ms=options.duration_ms("--live-lateness", live_lateness or lateness),
            complete=complete,
            mapping=mapped.file.digest if mapped.file is not None else "",
            input_map=read_input_maps(input_map).digest,
        )
        texts = option_texts(joining, cluster)
        make = partial(
            join_plan,
            *(joining, cluster, _print_progress),
            mapping=MappingText(mapping, mapped.text),
            input_map=MappingText(input_map, read_mapping_file(input_map).text),
        )
    with clickhouse_errors_as_sentences(), clickhouse.open() as client:
        plan = load_or_make_plan(folder, texts, client, make)
        recorded = find_run(client, run)
        if recorded is not None and recorded.state == "complete":
            _print_progress(f"run {run} is complete already; `clickfold compare` compares it with live work")
            return
        record_run(client, plan.record("running", 0, 0))
        with stopping() as stopped, progress(plan) as show:
            owned = replay_all(
                plan,
                cluster,
                clickhouse,
                folder,
                processes=processes or os.cpu_count() or 1,
                stopped=stopped.is_set,
                show=show,
                warn=_print_progress,
            )
        if owned is None:
            raise ClickfoldError(f"stopped; give the same command again to continue run {run}")
        if models:
            record_run(client, plan.record("complete", *learned_span(client, run)))
            write_models(compare_models(client, run), Format.TABLE)
            return
        span = owned_by_all(owning for partition, owning in owned.items() if any(plan.ends[partition].values()))
        record_run(client, plan.record("complete", *span))
    minutes = (span[1] - span[0]) // 60_000
    _print_progress(
        f"run {run} is complete and owns {count(minutes)} minutes" if minutes else f"run {run} owns no minute"
    )


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set during the block; the processes then commit, checkpoint and leave."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(plan: BackfillPlan) -> Iterator[Callable[[ReplayProgress], None]]:
    """Shows progress on stderr: a bar with rate and time left on a terminal, plain lines elsewhere."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    started_s = time.monotonic()
    if not sys.stderr.isatty():
        last_s, last_records = started_s, 0

        def print_line(now: ReplayProgress) -> None:
            nonlocal last_s, last_records
            due = time.monotonic() - last_s >= _LINE_EVERY_S or not now.left
            if due and now.records > last_records:
                last_s, last_records = time.monotonic(), now.records
                rate = now.records / max(0.1, last_s - started_s)
                _print_progress(f"{count(now.records)} records, {count(round(rate))}/s, {count(now.left)} left")

        yield print_line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} % {task.fields[rate]}/s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[left]} left"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(plan.run, total=None, rate="0", left="?")

        def update(now: ReplayProgress) -> None:
            rate = now.records / max(0.1, time.monotonic() - started_s)
            bar.update(
                task,
                completed=now.records,
                total=now.records + now.left,
                rate=count(round(rate)),
                left=count(now.left),
            )

        yield update


def _print_progress(text: str) -> None:
    typer.echo(text, err=True)

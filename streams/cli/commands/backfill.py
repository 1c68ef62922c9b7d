"""`clickfold backfill`: a bounded range of the logs replayed into a run of its own, beside live work."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from schemas.errors import ClickfoldError
from schemas.totals import known_dimensions
from streams.cli.commands import options
from streams.cli.commands.compare import write_models
from streams.cli.commands.options import DEFAULT_STATE_DIR
from streams.cli.commands.query import told
from streams.cli.commands.up import some_cluster, the_data_dir
from streams.cli.render.answers import Format
from streams.cli.render.figures import count
from streams.worker.environment import Environment

if TYPE_CHECKING:
    from streams.backfill.plan import BackfillPlan
    from streams.backfill.replay import ReplayProgress
    from streams.warehouse.client import Warehouse

_LINE_S = 5.0


def backfill(
    run: Annotated[str, typer.Option("--run", help="Name of the run; the same command again goes on with it.")],
    from_: options.From = "earliest",
    to: Annotated[str, typer.Option("--to", help="First records no longer in it; likewise, or latest.")] = "latest",
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    future: options.Future = "60s",
    dedupe: options.Dedupe = "",
    negative_rate: options.NegativeRate = 0.05,
    dimensions: options.Dimensions = options.DEFAULT_DIMENSIONS,
    live_lateness: Annotated[
        str, typer.Option(help="Lateness of the live join, whose ledger says where to begin. [default: --lateness]")
    ] = "",
    complete: Annotated[
        bool, typer.Option("--complete", help="The inputs end at --to: what is open closes there.")
    ] = False,
    models: Annotated[
        bool, typer.Option("--models", help="Learn anew from outcomes, outcomes:0=5 for offsets, in place of a join.")
    ] = False,
    processes: Annotated[int, typer.Option(min=0, help="Processes that share the partitions. [default: cores]")] = 0,
    state_dir: options.StateDir = DEFAULT_STATE_DIR,
) -> None:
    """Replay a range of the logs with other settings, or again, into a run beside live work."""
    from streams.backfill.plan import JoinAsked, ModelsAsked, asked_texts, join_plan, models_plan, settled_plan
    from streams.backfill.processes import replay_all
    from streams.backfill.replay import owned_span  # numpy and Kafka; only for who replays
    from streams.runs.compare_models import compare_models, learned_span
    from streams.runs.record import find_run, record_run

    cluster, warehouse = some_cluster(), some_warehouse()
    folder = state_dir / "backfill" / options.plain_name("--run", run)
    if models:
        from online_models.settings import LearnerSettings

        learning = ModelsAsked(run=run, from_=from_, to=to, model=LearnerSettings())
        texts, make = asked_texts(learning, cluster), lambda: models_plan(learning, cluster)
    else:
        bounds = options.join_bounds(
            window=window, skew=skew, lateness=lateness, future=future, dedupe=dedupe, negative_rate=negative_rate
        )
        joining = JoinAsked(
            run=run,
            from_=from_,
            to=to,
            bounds=bounds,
            dimensions=known_dimensions(options.names(dimensions)),
            live_lateness_ms=options.duration_ms("--live-lateness", live_lateness or lateness),
            complete=complete,
        )
        texts, make = asked_texts(joining, cluster), lambda: join_plan(joining, cluster, _say)
    with told(), warehouse.open() as client:
        plan = settled_plan(folder, texts, client, make)
        recorded = find_run(client, run)
        if recorded is not None and recorded.state == "complete":
            _say(f"run {run} is complete already; `clickfold compare` holds it beside live work")
            return
        record_run(client, plan.record("running", 0, 0))
        with stopping() as stopped, progress(plan) as show:
            owned = replay_all(
                plan,
                cluster,
                warehouse,
                folder,
                processes=processes or os.cpu_count() or 1,
                stopped=stopped.is_set,
                show=show,
                warn=_say,
            )
        if owned is None:
            raise ClickfoldError(f"stopped; the same command goes on with run {run}")
        if models:
            record_run(client, plan.record("complete", *learned_span(client, run)))
            write_models(compare_models(client, run), Format.TABLE)
            return
        span = owned_span(one for at, one in owned.items() if any(plan.ends[at].values()))
        record_run(client, plan.record("complete", *span))
    minutes = (span[1] - span[0]) // 60_000
    _say(f"run {run} is complete and owns {count(minutes)} minutes" if minutes else f"run {run} owns no minute")


def some_warehouse() -> Warehouse:
    """The ClickHouse of the environment or of the running embedded system. Raises SettingsError without either."""
    from streams.embedded.clickhouse import ClickHouse
    from streams.warehouse.client import Warehouse

    environment = Environment()
    if not environment.clickhouse_url:
        running = ClickHouse.attach(the_data_dir().absolute() / "clickhouse")
        if running is not None:
            return Warehouse(running.url)
    return Warehouse(
        environment.clickhouse(),
        environment.clickhouse_database,
        environment.clickhouse_user,
        environment.clickhouse_password.get_secret_value(),
        cluster=environment.clickhouse_cluster,
    )


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Set by Ctrl-C and SIGTERM within the block: processes commit, checkpoint and leave."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress(plan: BackfillPlan) -> Iterator[Callable[[ReplayProgress], None]]:
    """One bar with rate, time left and lag on a terminal; plain lines elsewhere."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    started_s = time.monotonic()
    if not sys.stderr.isatty():
        last_s, said = started_s, 0

        def line(passed: ReplayProgress) -> None:
            nonlocal last_s, said
            due = time.monotonic() - last_s >= _LINE_S or not passed.left
            if due and passed.records > said:
                last_s, said = time.monotonic(), passed.records
                rate = passed.records / max(0.1, last_s - started_s)
                _say(f"{count(passed.records)} records, {count(round(rate))}/s, {count(passed.left)} left")

        yield line
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

        def shown(passed: ReplayProgress) -> None:
            rate = passed.records / max(0.1, time.monotonic() - started_s)
            bar.update(
                task,
                completed=passed.records,
                total=passed.records + passed.left,
                rate=count(round(rate)),
                left=count(passed.left),
            )

        yield shown


def _say(text: str) -> None:
    typer.echo(text, err=True)

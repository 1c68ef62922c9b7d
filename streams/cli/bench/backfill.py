"""`clickfold bench backfill`: events a second of a backfill, and those of live workers over the same topics.

Both write all totals and outcomes to ClickHouse: live work by a join worker and a sink, a backfill by itself.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from schemas.bounds import JoinBounds
from schemas.clickhouse.migrations import migrate
from schemas.totals import DIMENSIONS
from streams.backfill.plan import JoinOptions, join_plan
from streams.backfill.processes import replay_all
from streams.backfill.replay import ReplayProgress
from streams.cli.bench.measuring import in_own_process, join_speed
from streams.cli.bench.reporting import only_warnings, print_nothing, print_progress
from streams.cli.connections import cluster_to_measure, warehouse_to_measure
from streams.inputs.traffic import Traffic, fill
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.sink.settings import Progress, SinkSettings
from streams.sink.worker import run
from streams.warehouse.client import Warehouse

# A sink that takes ten minutes for what a join has written is stuck.
_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Round:
    """Events a second: of a join worker alone, of join and sink until all rows are in ClickHouse, of a backfill."""

    join_per_s: float
    live_per_s: float
    backfill_per_s: float


def backfill(
    impressions: Annotated[int, typer.Option(min=1_000, help="Impressions to generate; 1 % are clicked.")] = 2_000_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the inputs.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured; they take turns.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Compare the speed of a backfill with that of live workers over the same topics, both into ClickHouse."""
    say = print_nothing if json else print_progress
    with (
        only_warnings(),
        tempfile.TemporaryDirectory(prefix="clickfold-bench-") as text,
        cluster_to_measure(Path(text)) as bootstrap,
        warehouse_to_measure(Path(text)) as (server, _),
    ):
        measured = []
        for number in range(rounds):
            cluster = replace(bootstrap, prefix=f"{bootstrap.prefix}{number}.")
            warehouse = replace(server, database=f"bench_{number}", cluster="")
            with closing(server.connect_to_server()) as client:
                migrate(client, database=warehouse.database)
            Admin(cluster).create(partitions=partitions)
            filled = fill(cluster, Traffic(impressions=impressions, seed=7, end_ms=int(time.time() * 1_000)))
            events, folder = filled.impressions + filled.clicks, Path(text) / str(number)
            join_s, live_s = _live_s(cluster, warehouse, folder, events)
            replayed = _backfill_per_s(cluster, warehouse, folder, say)
            measured.append(Round(events / join_s, events / live_s, replayed))
            say(f"round {number + 1}: {_sentence(measured[-1])}")
    columns = zip(*(asdict(each).values() for each in measured), strict=True)
    median = Round(*(round(statistics.median(column)) for column in columns))
    if json:
        typer.echo(orjson.dumps({**asdict(median), "events": events, "rounds": rounds}))
    else:
        say(f"median of {rounds}: {_sentence(median)}")


def _sentence(figures: Round) -> str:
    return (
        f"join alone {figures.join_per_s:,.0f}, join and sink {figures.live_per_s:,.0f}, "
        f"backfill {figures.backfill_per_s:,.0f} events/s"
    )


def _live_s(cluster: Cluster, warehouse: Warehouse, folder: Path, events: int) -> tuple[float, float]:
    """Seconds until the join has committed everything, and until the sink has written everything."""
    settings = SinkSettings(
        cluster=cluster, warehouse=warehouse, group=cluster.group("sink"), roles=("totals", "outcomes")
    )
    stop, progress = threading.Event(), Progress()
    sink = threading.Thread(target=run, args=(settings, stop, progress))
    sink.start()
    with ThreadPoolExecutor(1) as waiting:
        joined = waiting.submit(in_own_process, join_speed, cluster, folder / "live", events)
        took_s = joined.result().took_s
    ended_s = last_s = time.monotonic()
    rows = -1
    # The last batch waits a second for more rows, so a sink that wrote nothing for longer has written everything.
    while not progress.caught_up or time.monotonic() - last_s < 3.0:
        if sum(progress.rows_written.values()) != rows:
            rows, last_s = sum(progress.rows_written.values()), time.monotonic()
        if not sink.is_alive() or time.monotonic() - ended_s > _TIMEOUT_S:
            raise RuntimeError(f"the sink ended, or did not write all rows within {_TIMEOUT_S:.0f} s")
        time.sleep(0.01)
    stop.set()
    sink.join()
    return took_s, took_s + last_s - ended_s


def _backfill_per_s(cluster: Cluster, warehouse: Warehouse, folder: Path, say: Callable[[str], None]) -> float:
    """From the first records to the end; the start of its processes is left out, as it is of live workers."""
    options = JoinOptions(
        run="bench",
        from_="earliest",
        to="latest",
        bounds=JoinBounds(),
        dimensions=DIMENSIONS,
        live_lateness_ms=JoinBounds().lateness_ms,
        complete=True,
    )
    first: list[tuple[float, int]] = []
    total = 0

    def show(progress: ReplayProgress) -> None:
        nonlocal total
        total = progress.records
        if not first and total:
            first.append((time.monotonic(), total))

    plan = join_plan(options, cluster, say)
    processes = os.cpu_count() or 1
    replay_all(plan, cluster, warehouse, folder, processes=processes, stopped=lambda: False, show=show, warn=say)
    started_s, before = first[0]
    return (total - before) / (time.monotonic() - started_s)

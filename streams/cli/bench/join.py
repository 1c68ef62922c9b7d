"""`clickfold bench join`: the speed of the join, and that of a consumer that only reads the same topics."""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
import typer
from confluent_kafka import Consumer, TopicPartition

from streams.cli.bench.reporting import print_nothing, print_progress
from streams.cli.connections import cluster_to_measure
from streams.inputs.traffic import fill
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import bounds_consumer, log_bounds
from streams.kafka.settings import bulk_reader_settings
from streams.worker.runners import JoinSettings, join_runner

_INPUTS = ("impressions", "clicks")


@dataclass(frozen=True, slots=True)
class Round:
    """Events a second over the same topics: of a consumer that only reads, and of a join worker."""

    bare_per_s: float
    join_per_s: float


def join(
    impressions: Annotated[int, typer.Option(min=1_000, help="Impressions to generate; 1 % are clicked.")] = 1_000_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the inputs.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured; they take turns.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Compare the speed of a full join worker with that of a consumer that only reads the same topics."""
    say = print_nothing if json else print_progress
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder, cluster_to_measure(Path(folder)) as cluster:
        Admin(cluster).create(partitions=partitions)
        say(f"filling {impressions:,} impressions …")
        filled = fill(cluster, impressions=impressions, seed=7, end_ms=int(time.time() * 1_000))
        events = filled.impressions + filled.clicks
        measured: list[Round] = []
        for number in range(rounds):
            figures = Round(
                bare_per_s=events / _bare_s(cluster, partitions, events),
                join_per_s=events / _join_s(cluster, Path(folder) / f"state-{number}", events),
            )
            measured.append(figures)
            say(
                f"round {number + 1}: bare {figures.bare_per_s:,.0f}, join {figures.join_per_s:,.0f} events/s, "
                f"ratio {figures.join_per_s / figures.bare_per_s:.2f}"
            )
    result = {
        "bare_events_per_s": round(statistics.median(each.bare_per_s for each in measured)),
        "join_events_per_s": round(statistics.median(each.join_per_s for each in measured)),
        "ratio": round(statistics.median(each.join_per_s / each.bare_per_s for each in measured), 3),
    }
    if json:
        typer.echo(orjson.dumps({**result, "events": events, "rounds": rounds}))
    else:
        say(
            f"median of {rounds}: bare {result['bare_events_per_s']:,}, join {result['join_events_per_s']:,} events/s, "
            f"ratio {result['ratio']}"
        )


def _bare_s(cluster: Cluster, partitions: int, events: int) -> float:
    """Seconds from the first batch to the last record, for a consumer that only counts records.

    It fetches with the settings of a worker, so no consumer in Python is much faster on this machine.
    """
    consumer = Consumer(bulk_reader_settings(cluster, ends=False))
    with closing(bounds_consumer(cluster)) as consumer_of_bounds:
        consumer.assign(
            [
                TopicPartition(topic, partition, log_bounds(consumer_of_bounds, topic, partition)[0])
                for topic in map(cluster.topic, _INPUTS)
                for partition in range(partitions)
            ]
        )
    records, started_s = 0, 0.0
    while records < events:
        records += len(consumer.consume(10_000, 1.0))
        started_s = started_s or time.perf_counter()
    took_s = time.perf_counter() - started_s
    consumer.close()
    return took_s


def _join_s(cluster: Cluster, state_dir: Path, events: int) -> float:
    """Seconds from the first batch to the checkpoint that follows the commit of the last record."""
    settings = JoinSettings(cluster=cluster, state_dir=state_dir, group=f"bench-{uuid.uuid4().hex[:8]}")
    started_s = 0.0

    with join_runner(settings, print_progress) as runner:

        def stopped() -> bool:
            nonlocal started_s
            if runner.progress.records and not started_s:
                started_s = time.monotonic()
            return runner.progress.records >= events

        runner.run(stopped)
        return runner.progress.last_checkpoint_s - started_s

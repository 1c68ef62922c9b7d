"""`clickfold bench join`: how fast the join is, beside a consumer that does nothing with what it reads."""

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

from streams.cli.bench.reporting import aloud, quiet
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
    """Events a second of a bare and a join pass over the same topics."""

    bare: float
    join: float


def join(
    impressions: Annotated[int, typer.Option(min=1_000, help="Impressions to generate; 1 % are clicked.")] = 1_000_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the inputs.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, in turn.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """The join worker, everything on, against bare batch consumption of the same topics."""
    say = quiet if json else aloud
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder, cluster_to_measure(Path(folder)) as cluster:
        Admin(cluster).create(partitions=partitions)
        say(f"filling {impressions:,} impressions …")
        filled = fill(cluster, impressions=impressions, seed=7, end_ms=int(time.time() * 1_000))
        events = filled.impressions + filled.clicks
        measured: list[Round] = []
        for number in range(rounds):
            figures = Round(
                bare=events / _bare(cluster, partitions, events),
                join=events / _join(cluster, Path(folder) / f"state-{number}", events),
            )
            measured.append(figures)
            say(
                f"round {number + 1}: bare {figures.bare:,.0f}, join {figures.join:,.0f} events/s, "
                f"ratio {figures.join / figures.bare:.2f}"
            )
    result = {
        "bare_events_per_s": round(statistics.median(each.bare for each in measured)),
        "join_events_per_s": round(statistics.median(each.join for each in measured)),
        "ratio": round(statistics.median(each.join / each.bare for each in measured), 3),
    }
    if json:
        typer.echo(orjson.dumps({**result, "events": events, "rounds": rounds}))
    else:
        say(
            f"median of {rounds}: bare {result['bare_events_per_s']:,}, join {result['join_events_per_s']:,} events/s, "
            f"ratio {result['ratio']}"
        )


def _bare(cluster: Cluster, partitions: int, events: int) -> float:
    """Seconds from the first batch to the last record, doing nothing with them: the ceiling of a Python consumer.

    It fetches with the worker's settings.
    """
    consumer = Consumer(bulk_reader_settings(cluster, ends=False))
    with closing(bounds_consumer(cluster)) as asking:
        consumer.assign(
            [
                TopicPartition(topic, partition, log_bounds(asking, topic, partition)[0])
                for topic in map(cluster.topic, _INPUTS)
                for partition in range(partitions)
            ]
        )
    seen, started = 0, 0.0
    while seen < events:
        seen += len(consumer.consume(10_000, 1.0))
        started = started or time.perf_counter()
    took = time.perf_counter() - started
    consumer.close()
    return took


def _join(cluster: Cluster, state_dir: Path, events: int) -> float:
    """Seconds from the first batch to the checkpoint behind the commit of the last record."""
    settings = JoinSettings(cluster=cluster, state_dir=state_dir, group=f"bench-{uuid.uuid4().hex[:8]}")
    started = 0.0

    with join_runner(settings, aloud) as runner:

        def stopped() -> bool:
            nonlocal started
            if runner.progress.records and not started:
                started = time.monotonic()
            return runner.progress.records >= events

        runner.run(stopped)
        return runner.progress.last_checkpoint_s - started

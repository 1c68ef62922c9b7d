"""`clickfold bench join`: the speed of the join, and that of a consumer that only reads the same topics.

Each of the two runs in a process of its own, with the fetch and memory settings of a worker from its start on.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
import typer
from confluent_kafka import Consumer, TopicPartition

from streams.cli.bench.measuring import in_own_process, join_speed
from streams.cli.bench.reporting import print_nothing, print_progress
from streams.cli.connections import cluster_to_measure
from streams.inputs.traffic import Traffic, fill
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import bounds_consumer, log_bounds
from streams.kafka.settings import bulk_reader_settings
from streams.worker.memory import collect_rarely, return_freed

_INPUTS = ("impressions", "clicks")


@dataclass(frozen=True, slots=True)
class Round:
    """Events a second over the same topics: of a consumer that only reads, and of a join worker.

    `join_cpu_us` is the CPU time of the whole worker for one event.
    """

    bare_per_s: float
    join_per_s: float
    join_cpu_us: float


def join(
    impressions: Annotated[int, typer.Option(min=1_000, help="Impressions to generate; 1 % are clicked.")] = 3_000_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the inputs.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured; they take turns.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Compare the speed of a full join worker with that of a consumer that only reads the same topics."""
    say = print_nothing if json else print_progress
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder, cluster_to_measure(Path(folder)) as cluster:
        Admin(cluster).create(partitions=partitions)
        say(f"filling {impressions:,} impressions …")
        filled = fill(cluster, Traffic(impressions=impressions, seed=7, end_ms=int(time.time() * 1_000)))
        events = filled.impressions + filled.clicks
        measured: list[Round] = []
        for number in range(rounds):
            bare = in_own_process(bare_per_s, cluster, [cluster.topic(role) for role in _INPUTS], partitions, events)
            joined = in_own_process(join_speed, cluster, Path(folder) / f"state-{number}", events)
            figures = Round(bare, events / joined.took_s, joined.cpu_s / events * 1e6)
            measured.append(figures)
            say(
                f"round {number + 1}: bare {figures.bare_per_s:,.0f}, join {figures.join_per_s:,.0f} events/s, "
                f"ratio {figures.join_per_s / figures.bare_per_s:.2f}, {figures.join_cpu_us:.2f} µs of CPU an event"
            )
    result = {
        "bare_events_per_s": round(statistics.median(each.bare_per_s for each in measured)),
        "join_events_per_s": round(statistics.median(each.join_per_s for each in measured)),
        "ratio": round(statistics.median(each.join_per_s / each.bare_per_s for each in measured), 3),
        "join_cpu_us_per_event": round(statistics.median(each.join_cpu_us for each in measured), 2),
    }
    if json:
        typer.echo(orjson.dumps({**result, "events": events, "rounds": rounds}))
    else:
        say(
            f"median of {rounds}: bare {result['bare_events_per_s']:,}, join {result['join_events_per_s']:,} events/s, "
            f"ratio {result['ratio']}, {result['join_cpu_us_per_event']} µs of CPU an event"
        )


def bare_per_s(cluster: Cluster, topics: Sequence[str], partitions: int, events: int) -> float:
    """As `bare_speed`, without the CPU time."""
    return bare_speed(cluster, topics, partitions, events)[0]


def bare_speed(cluster: Cluster, topics: Sequence[str], partitions: int, events: int) -> tuple[float, float]:
    """Events a second, and µs of CPU an event, of a consumer that only counts records, from its first batch, which does
    not count, to its last.

    It fetches with the settings of a worker, so no consumer in Python is much faster on this machine.
    """
    return_freed()
    collect_rarely()
    consumer = Consumer(bulk_reader_settings(cluster, ends=False))
    with closing(bounds_consumer(cluster)) as consumer_of_bounds:
        consumer.assign(
            [
                TopicPartition(topic, partition, log_bounds(consumer_of_bounds, topic, partition)[0])
                for topic in topics
                for partition in range(partitions)
            ]
        )
    first = 0
    while not first:
        first = len(consumer.consume(min(10_000, events), 1.0))
    started_s, started_cpu_s, records = time.perf_counter(), time.process_time(), first
    while records < events:
        # Asking for more than there is would wait out the second.
        records += len(consumer.consume(min(10_000, events - records), 1.0))
    took_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    consumer.close()
    counted = events - first
    return (counted / took_s, cpu_s / counted * 1e6) if counted else (0.0, 0.0)

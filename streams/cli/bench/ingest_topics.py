"""How fast the worker `ingest` maps what is in a topic, and how fast a consumer only reads it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer

from schemas.compiled import load_kernels
from streams.cli.bench.join import bare_speed
from streams.cli.bench.measuring import in_own_process
from streams.cli.bench.reporting import print_progress
from streams.cli.mapping import sources_of
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import bulk_producer_settings
from streams.worker.ingest import IngestSettings, ingest_runner


def topic_of(cluster: Cluster) -> str:
    """The source, which goes with the topics of this measurement."""
    return f"{cluster.prefix}source"


class Round(NamedTuple):
    """Records a second and CPU time a record: of a consumer that only reads, and of a whole ingest worker."""

    bare_per_s: float
    bare_cpu_us: float
    ingest_per_s: float
    ingest_cpu_us: float


def filled(cluster: Cluster, values: Sequence[bytes], partitions: int) -> None:
    """Makes all topics, and a source with these values."""
    admin, topic = Admin(cluster), topic_of(cluster)
    admin.create(partitions=partitions)
    admin.create_topic(topic, partitions=partitions, config={})
    producer = Producer(bulk_producer_settings(cluster, queued_messages=100_000))
    for number, value in enumerate(values):
        while True:
            try:
                producer.produce(topic, value, partition=number % partitions)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()


def one_round(cluster: Cluster, mapping: str, state_dir: Path, records: int, partitions: int) -> Round:
    """Measures both, one after the other."""
    bare_per_s, bare_cpu_us = in_own_process(bare_speed, cluster, [topic_of(cluster)], partitions, records)
    took_s, cpu_s = in_own_process(_ingest, cluster, mapping, state_dir, records)
    return Round(bare_per_s, bare_cpu_us, records / took_s, cpu_s / records * 1e6)


def _ingest(cluster: Cluster, mapping: str, state_dir: Path, records: int) -> tuple[float, float]:
    """Seconds from when all partitions are live until the commit of the last record, and the CPU time meanwhile."""
    load_kernels()
    settings = IngestSettings(
        cluster=cluster,
        sources=sources_of([f"{topic_of(cluster)}={mapping}"], None),
        state_dir=state_dir,
        group=f"bench-{uuid.uuid4().hex[:8]}",
    )
    started_s = started_cpu_s = 0.0
    ready = False
    with ingest_runner(settings, print_progress) as runner:

        def stopped() -> bool:
            nonlocal started_s, started_cpu_s, ready
            if not ready and not runner.progress.records:
                started_s, started_cpu_s = time.monotonic(), time.process_time()
                ready = runner.ready()
            return sum(sum(fold.positions().values()) for fold in runner.folds().values()) >= records

        runner.run(stopped)
        return runner.progress.last_commit_s - started_s, time.process_time() - started_cpu_s

"""`clickfold bench pace`: a pacing worker with many campaigns: time to a decision, CPU, memory, and a restart."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import orjson
import typer
from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from schemas.codec import decode, encode
from schemas.events import Campaign
from schemas.pacing import PacingDecision
from schemas.packed import PackedCampaignTotals
from schemas.totals import MEASURES, QUARTER_MS
from streams.cli.bench.measuring import cpu_s, memory_mb
from streams.cli.connections import cluster_to_measure
from streams.cli.render.sources import Samples, fetch
from streams.embedded.ports import free_port
from streams.embedded.process import Process
from streams.embedded.stack import answers
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import java_partition
from streams.kafka.reads import stream_log
from streams.kafka.settings import bulk_producer_settings

_TIMEOUT_S: Final = 900.0
_LOOK_S: Final = 0.5
_BUDGET: Final = 50_000_000
_PRICE: Final = 100_000
# One total in so many is a click that spends the whole budget: the decision on it cannot wait.
_LAST_CLICKS: Final = 50
# Each record of totals holds so many campaigns; the join's hold those of a partition that changed in a second.
_TOGETHER: Final = 500


@dataclass(frozen=True, slots=True)
class Paced:
    """Figures for a number of campaigns and of those that change in a second.

    `p50_ms` and `p99_ms` are from Kafka's timestamp of a click's total, one that spends the budget, to that of the
    decision that stops the campaign. `cpu_us` is CPU of the whole worker for each decision, `cpu_change_us` for each
    total. `ready_s` is from the start of the process until it has decided on all campaigns; `again_s` is that after
    it was killed, with the changelog and the history of campaigns read back and the totals of the last minutes counted
    again; `again_cpu_s` is the CPU of the worker by then.
    """

    campaigns: int
    changes: int
    p50_ms: int
    p99_ms: int
    decisions: int
    cpu_us: int
    cpu_change_us: int
    ready_s: float
    again_s: float
    again_cpu_s: float
    rss_mb: int


def pace(
    campaigns: Annotated[int, typer.Option(min=100, help="Campaigns that are paced.")] = 100_000,
    changes: Annotated[int, typer.Option(min=100, help="Campaigns whose totals change in a second.")] = 5_000,
    seconds: Annotated[int, typer.Option(min=5, help="How long.")] = 60,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions; one worker has all.")] = 4,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Pace many campaigns with one worker: time to a decision, CPU of each, memory, and a restart after a kill."""
    console = Console(stderr=True, quiet=json)
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder,
        cluster_to_measure(Path(folder)) as cluster,
    ):
        figures = _measure(cluster, Path(folder), campaigns, changes, seconds, partitions, console)
    if json:
        typer.echo(orjson.dumps(asdict(figures)))
        return
    table = Table(caption="one worker; CPU in microseconds; times of starts in s")
    for head in ("campaigns", "changes/s", "p50 ms", "p99 ms", "decisions", "CPU each", "CPU a total", "ready",
                 "ready again", "CPU s", "RSS MB"):  # fmt: skip
        table.add_column(head, justify="right")
    table.add_row(*(f"{value:,}" for value in astuple(figures)))
    Console(width=120).print(table)


def _measure(
    cluster: Cluster, folder: Path, campaigns: int, changes: int, seconds: int, partitions: int, console: Console
) -> Paced:
    Admin(cluster).create(partitions=partitions)
    ids = [f"campaign-{number:07d}" for number in range(campaigns)]
    producer = Producer(bulk_producer_settings(cluster, queued_messages=200_000))
    for campaign_id in ids:
        announced = Campaign(campaign_id, _BUDGET, "UTC", "active", "even", 1)
        producer.produce(cluster.topic("campaigns"), encode(announced), campaign_id)
        producer.poll(0)
    producer.flush(_TIMEOUT_S)
    worker = _Worker(cluster, folder)
    console.print(f"announced {campaigns:,} campaigns; starting the worker …")
    ready_s = worker.start(campaigns)
    homes = [java_partition(campaign_id.encode(), partitions) for campaign_id in ids]
    traffic = _Traffic(cluster, producer, ids, homes)
    console.print(f"ready after {ready_s:.1f} s; sending {changes:,} totals a second for {seconds} s …")
    before_cpu_s, started_s = worker.cpu_s(), time.monotonic()
    begun_ms = round(time.time() * 1_000)
    for second in range(seconds):
        traffic.send(changes)
        time.sleep(max(0.0, started_s + second + 1 - time.monotonic()))
    time.sleep(5.0)
    cpu_s = worker.cpu_s() - before_cpu_s
    rss_mb, _ = memory_mb(worker.process.pid)
    worker.process.kill()
    console.print("killed; starting again …")
    ended_ms = round(time.time() * 1_000)
    again_s = worker.start(campaigns)
    again_cpu_s = worker.cpu_s()
    worker.process.kill()
    decisions, delays = 0, []
    for partition in range(partitions):
        for record in stream_log(cluster, cluster.topic("pacing"), partition):
            if record.value is None or not begun_ms <= record.record_ts_ms <= ended_ms:
                continue
            decisions += 1
            decision = decode(record.value, PacingDecision)
            sent_ms = traffic.last_clicks.get(decision.campaign_id)
            if decision.state == "exhausted" and sent_ms is not None:
                delays.append(record.record_ts_ms - sent_ms)
                del traffic.last_clicks[decision.campaign_id]
    # One that never came would be the slowest.
    delays += [ended_ms - sent_ms for sent_ms in traffic.last_clicks.values()]
    p50_ms, p99_ms = np.percentile(delays, (50, 99))
    return Paced(
        campaigns,
        changes,
        round(p50_ms),
        round(p99_ms),
        decisions,
        round(cpu_s / max(decisions, 1) * 1e6),
        round(cpu_s / (changes * seconds) * 1e6),
        round(ready_s, 1),
        round(again_s, 1),
        round(again_cpu_s, 1),
        round(rss_mb),
    )


class _Traffic:
    """Totals as the join sends them: each second those of some campaigns, all of them in turn."""

    def __init__(self, cluster: Cluster, producer: Producer, ids: list[str], homes: list[int]) -> None:
        self.last_clicks: dict[str, int] = {}
        self._topic, self._producer, self._ids, self._homes = cluster.topic("campaign_totals"), producer, ids, homes
        self._turns: Iterator[int] = itertools.cycle(range(len(ids)))
        self._counted: dict[tuple[int, int], int] = {}
        self._version = 0

    def send(self, changes: int) -> None:
        """Sends one second's."""
        self._version += 1
        now_ms = round(time.time() * 1_000)
        quarter_ms = now_ms // QUARTER_MS * QUARTER_MS
        rows: dict[int, list[int]] = {}
        for number in itertools.islice(self._turns, changes):
            self._counted[number, quarter_ms] = self._counted.get((number, quarter_ms), 0) + 1
            rows.setdefault(self._homes[number], []).append(number)
        for partition, numbers in rows.items():
            for first in range(0, len(numbers), _TOGETHER):
                self._produce(partition, numbers[first : first + _TOGETHER], quarter_ms, now_ms)
        self._producer.flush(_TIMEOUT_S)

    def _produce(self, partition: int, numbers: list[int], quarter_ms: int, now_ms: int) -> None:
        counted = np.array([self._counted[number, quarter_ms] for number in numbers], np.int64)
        clicks = counted.copy()
        for at, number in enumerate(numbers):
            if number % _LAST_CLICKS == 0:
                clicks[at] += _BUDGET // _PRICE
                self.last_clicks.setdefault(self._ids[number], now_ms)
        columns = {
            "impressions": 100 * counted,
            "attributed_clicks": clicks,
            "attributed_spend_micros": clicks * _PRICE,
            "expected_clicks_nano": counted * 1_000_000_000,
            "expected_spend_micros": counted * _PRICE,
            "clicks": clicks,
            "spend_micros": clicks * _PRICE,
        }
        measures = [columns.get(name, np.zeros(len(numbers), np.int64)).astype("<i8").tobytes() for name in MEASURES]
        packed = PackedCampaignTotals(
            quarter=quarter_ms,
            join_partition=0,
            version=self._version,
            final=False,
            campaigns=[self._ids[number] for number in numbers],
            measures=measures,
        )
        self._producer.produce(self._topic, msgspec.msgpack.encode(packed), partition=partition)


class _Worker:
    """A pacing worker in a process of its own, started by the same command that users give."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.process = Process(folder, "pace")
        self._port = free_port()
        self._environment = {
            "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
            "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
            "CLICKFOLD_STATE_DIR": str(folder / "state"),
        }

    def start(self, campaigns: int) -> float:
        """Starts the process. Gives the seconds until it has decided on all campaigns."""
        started_s = time.monotonic()
        command = [sys.executable, "-m", "streams.cli", "worker", "pace", "--web-port", str(self._port)]
        self.process.start(command, environment=self._environment)
        self.process.wait_ready(lambda: answers(self._port, "/readyz"), bound_s=_TIMEOUT_S)
        self.process.wait_ready(lambda: self._has_decided(campaigns), bound_s=_TIMEOUT_S)
        return time.monotonic() - started_s

    def cpu_s(self) -> float:
        """CPU time of the process so far."""
        return cpu_s(self.process.pid)

    def _has_decided(self, campaigns: int) -> bool:
        # Each look has the worker sum up all campaigns, which takes it some 0.05 s.
        time.sleep(_LOOK_S)
        return self._decided() >= campaigns

    def _decided(self) -> float:
        return Samples(fetch(f"http://127.0.0.1:{self._port}/metrics")).total("clickfold_pacing_campaigns") or 0

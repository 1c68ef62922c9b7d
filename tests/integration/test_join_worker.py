"""The join worker as a real process on the real broker: killed under load, what it committed is the truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from operator import lt
from pathlib import Path
from random import Random

import orjson
import pytest
from confluent_kafka import Producer

from schemas.bounds import JoinBounds
from schemas.codec import decoder
from schemas.records import Out
from schemas.seals import SealRecord
from streams.embedded.broker import Broker
from streams.engine.checkpoint import MANIFEST
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all, read_log
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.verify.oracle import Truth, truth
from tests.judging import assert_agrees, partition_of
from tests.waiting import PATIENCE_S, eventually

PARTITIONS = 2
BOUNDS = JoinBounds(window_ms=30_000, skew_ms=1_000, lateness_ms=5_000, negative_rate=0.3)
OPTIONS = ["--window", "30s", "--skew", "1s", "--lateness", "5s", "--negative-rate", "0.3", "--checkpoint", "500ms"]
OUTPUTS = ("outcomes", "totals", "campaign_totals", "rejects", "ledger")


def start_worker(cluster: Cluster, state_dir: Path, *more: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "CLICKFOLD_STATE_DIR": str(state_dir),
    }
    command = [sys.executable, "-m", "streams.cli", "worker", "join", *OPTIONS, *more]
    with (state_dir.parent / "worker.log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stderr=log, stdout=log)


def produce(cluster: Cluster, random: Random, seconds: range) -> None:
    """100 impressions and some clicks for each second of event time, some late, doubled or broken."""
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner="murmur2_random", linger_ms=20))
    for second in seconds:
        for number in range(100):
            ts = 1_700_000_000_000 + second * 1_000 + number * 10 - random.choice([0, 0, 0, 0, 0, 3_000, 6_000])
            impression_id = f"{second:05d}-{number:03d}"
            event = {
                "impression_id": impression_id,
                "ts": ts,
                "campaign_id": f"c{number % 7}",
                "creative_id": f"x{number % 3}",
                "price_micros": 1_000 * (number % 11),
                "pctr": 0.01 * (number % 5),
            }
            value = orjson.dumps(event) if random.random() > 0.002 else b"{"
            for _ in range(random.choice([1] * 50 + [2])):
                producer.produce(cluster.topic("impressions"), value, impression_id, timestamp=ts)
            if random.random() < 0.05:
                click = {"click_id": f"k{impression_id}", "impression_id": impression_id}
                click_ts = ts + random.choice([-1_001, -1_000, 500, 20_000, 30_000, 30_001])
                for _ in range(random.choice([1, 1, 1, 2])):
                    body = orjson.dumps({**click, "ts": click_ts})
                    producer.produce(cluster.topic("clicks"), body, impression_id, timestamp=click_ts)
        producer.poll(0)
    assert producer.flush(PATIENCE_S) == 0


def committed_truths(cluster: Cluster, *, ended: bool = False) -> dict[int, Truth]:
    return {
        partition: truth(
            read_log(cluster, "impressions", partition),
            read_log(cluster, "clicks", partition),
            BOUNDS,
            seals=[decoder(SealRecord).decode(value) for value in read_all(cluster, "seals", partition)],
            partition=partition,
            ended=ended,
        )
        for partition in range(PARTITIONS)
    }


def committed_outs(cluster: Cluster) -> list[Out]:
    counts = Admin(cluster).partition_counts()
    return [
        Out(role, None, value, partition)
        for role in OUTPUTS
        for partition in range(counts[cluster.topic(role)])
        for value in read_all(cluster, role, partition)
    ]


def folded(cluster: Cluster) -> dict[int, int]:
    """Records of both inputs consumed by partition, as the last ledgers say."""
    found: dict[int, int] = {}
    for partition in range(PARTITIONS):
        for value in read_all(cluster, "ledger", partition):
            ledger = orjson.loads(value)
            found[partition] = ledger["impressions"]["consumed"] + ledger["clicks"]["consumed"]
    return found


def produced(cluster: Cluster) -> dict[int, int]:
    """Records of both inputs by partition."""
    return {
        partition: sum(len(read_log(cluster, log, partition)) for log in ("impressions", "clicks"))
        for partition in range(PARTITIONS)
    }


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    made = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(made).create(partitions=PARTITIONS)
    return made


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir()
    return path


@pytest.mark.broker
def test_outcomes_and_totals_equal_the_truth_after_kill_9_twice_under_load(cluster: Cluster, state_dir: Path) -> None:
    random = Random(11)
    produce(cluster, random, range(120))
    for round_ in (1, 2):
        worker = start_worker(cluster, state_dir)
        before = sum(folded(cluster).values())
        produce(cluster, random, range(120 * round_, 120 * (round_ + 1)))
        eventually(lambda: sum(folded(cluster).values()), partial(lt, before), what="progress")
        # Each has one to go on from, however early the progress of the first came.
        eventually(lambda: len(list(state_dir.rglob(MANIFEST))), equals=PARTITIONS, what="checkpoints")
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    # So that there is something left for the third to do, however fast the second was.
    produce(cluster, random, range(360, 420))
    worker = start_worker(cluster, state_dir)
    wanted = produced(cluster)
    try:
        eventually(lambda: folded(cluster), equals=wanted, what="catching up")
    finally:
        worker.terminate()
        code = worker.wait(PATIENCE_S)
    log = (state_dir.parent / "worker.log").read_text()
    assert code == 0, log[-2_000:]
    assert "no usable checkpoint" not in log
    assert_truth(cluster)


@pytest.mark.broker
@pytest.mark.parametrize("membership", ["--static", "--dynamic"])
def test_partitions_that_move_between_workers_under_load_come_to_the_truth(
    cluster: Cluster, state_dir: Path, membership: str
) -> None:
    random = Random(12)
    first = start_worker(cluster, state_dir, membership)
    workers = [first]
    try:
        produce(cluster, random, range(60))
        eventually(lambda: len(folded(cluster)), equals=PARTITIONS, what="the first worker's start")
        workers.append(start_worker(cluster, state_dir, "--slot", "1", membership))
        for minute in range(1, 6):
            produce(cluster, random, range(60 * minute, 60 * (minute + 1)))
        eventually(lambda: starts(cluster), lambda count: count > 1, what="a partition's move to the second worker")
        produce(cluster, random, range(360, 420))
        first.terminate()
        assert first.wait(PATIENCE_S) == 0
        wanted = produced(cluster)
        eventually(lambda: folded(cluster), equals=wanted, what="the second worker's taking over")
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(PATIENCE_S)
    assert_truth(cluster)


def starts(cluster: Cluster) -> int:
    """How often the partition that moved most began with a new owner."""
    return max(
        sum(b'"start"' in value for value in read_all(cluster, "seals", partition)) for partition in range(PARTITIONS)
    )


def assert_truth(cluster: Cluster) -> None:
    outs = committed_outs(cluster)
    for partition, judged in committed_truths(cluster).items():
        own = [out for out in outs if partition_of(out) == partition]
        assert_agrees(own, judged, names={cluster.topic(role): role for role in ("impressions", "clicks")})

"""Two workers with one slot, each with a state folder of its own as on two hosts: the second one stops and names the
first, which goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from schemas.bounds import JoinBounds
from streams.embedded.broker import Broker
from streams.embedded.ports import free_port
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.verify.run import Verification, VerifyRequest
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker

WORKERS = {"join": "--static", "learn": "--dynamic", "pace": "--web-port"}
BOUNDS = JoinBounds(window_ms=30_000, skew_ms=1_000, lateness_ms=5_000, jump_ms=0)
OPTIONS = ["--window", "30s", "--skew", "1s", "--lateness", "5s"]


class Workers:
    """Processes of one kind each, on one host of those that are pretended."""

    def __init__(self, cluster: Cluster, folder: Path, host: str) -> None:
        self._folder = folder / host
        self._folder.mkdir()
        self._environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
            "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
            "CLICKFOLD_STATE_DIR": str(self._folder),
        }
        self.running = {name: self.start(name) for name in WORKERS}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        options = {"join": OPTIONS, "learn": [], "pace": [str(free_port())]}[name]
        command = [sys.executable, "-m", "streams.cli", "worker", name, WORKERS[name], *options]
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, env=self._environment, stderr=log, stdout=log)

    def said(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    made = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(made).create(partitions=1)
    return made


@pytest.fixture
def started() -> Iterator[list[Workers]]:
    workers: list[Workers] = []
    yield workers
    for each in workers:
        each.end()


def produce(cluster: Cluster, number: int) -> None:
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY))
    for each in range(number, number + 100):
        event = {
            "impression_id": f"i{each}",
            "ts": 1_700_000_000_000 + each,
            "campaign_id": "c",
            "creative_id": "x",
            "price_micros": 1,
            "pctr": 0.1,
        }
        producer.produce(cluster.topic("impressions"), orjson.dumps(event), f"i{each}")
    assert producer.flush(PATIENCE_S) == 0


def test_second_worker_of_a_slot_stops_and_names_the_first_and_a_killed_one_is_followed_at_once(
    cluster: Cluster, tmp_path: Path, started: list[Workers]
) -> None:
    produce(cluster, 0)
    admin = Admin(cluster)

    def in_groups() -> list[str]:
        return [name for name in WORKERS if admin.members(cluster.group(name))]

    def starts(name: str) -> int:
        return first.said(name).count('"started"')

    started.append(Workers(cluster, tmp_path, "first"))
    first = started[0]
    eventually(in_groups, equals=list(WORKERS))
    started.append(Workers(cluster, tmp_path, "second"))
    second = started[1]
    produce(cluster, 100)
    for name, process in second.running.items():
        assert process.wait(PATIENCE_S) == 2, second.said(name)
        sentence = f"slot 0 of group {cluster.group(name)} is taken by a worker on host {socket.gethostname()} at "
        assert sentence in second.said(name)
        assert first.running[name].poll() is None
        assert "trying again" not in first.said(name)
    # The group does not miss a killed worker for 10 s; its successor on this host does not wait for that.
    for process in first.running.values():
        process.kill()
        process.wait()
    produce(cluster, 200)
    first.running = {name: first.start(name) for name in WORKERS}
    for name, process in first.running.items():
        eventually(partial(starts, name), equals=2, about=partial(first.said, name))
        assert "waits until the group misses" not in first.said(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    checks = Verification(cluster, VerifyRequest(bounds=BOUNDS, group=cluster.group("join"))).checks()
    assert sum(check.compared for check in checks) > 0
    assert [check for check in checks if check.differing] == []

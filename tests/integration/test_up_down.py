"""`clickfold up`, `down` and what asks the running or the resting system, as commands on one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from schemas.outcomes import SHOWN
from streams.embedded.stack import PARTS, WORKERS, Stack
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from tests.factories import click_json, impression_json
from tests.waiting import PATIENCE_S, eventually

OPTIONS = ["--partitions", "2", "--window", "10s"]
CLICKS_SQL = "SELECT count() AS clicks, uniqExact(impression_id) AS clicked FROM ads.outcomes WHERE kind = 'click'"


class System:
    """The commands on one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.produced = 0

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CLICKFOLD_DATA_DIR": str(self.folder), "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, "-m", "streams.cli", *command],
            env={**environment, "KAFKA_BOOTSTRAP_SERVERS": "", "CLICKHOUSE_URL": ""},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def does(self, *command: str) -> str:
        """What a command that must succeed prints."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refuses(self, *command: str) -> str:
        """The one sentence of a command that must not succeed."""
        done = self.run(*command)
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def clicks(self) -> list[dict[str, int]]:
        found: list[dict[str, int]] = orjson.loads(self.does("query", "--sql", CLICKS_SQL, "--format", "json"))
        return found

    @property
    def stack(self) -> Stack:
        found = Stack.attach(self.folder)
        assert found is not None
        return found

    def pids(self) -> dict[str, int]:
        stack = self.stack
        workers = {name: worker.pid for name, worker in stack.workers.items() if worker.alive}
        return {"kafka": stack.broker.pid, "clickhouse": stack.clickhouse.pid, **workers}

    @property
    def cluster(self) -> Cluster:
        return self.stack.cluster

    def produce_clicked(self, count: int) -> None:
        """Impressions of now, each with a click."""
        producer = Producer(client_settings(self.cluster, **EXACT_DELIVERY, partitioner="murmur2_random"))
        for number in range(self.produced, self.produced + count):
            impression_id, ts = f"i{number}", round(time.time() * 1_000)
            producer.produce("ads.impressions", impression_json(impression_id, ts), impression_id)
            producer.produce("ads.clicks", click_json(f"k{number}", impression_id, ts), impression_id)
        assert producer.flush(PATIENCE_S) == 0
        self.produced += count

    def wait_until_all_are_asked_back(self) -> None:
        """Of ClickHouse, and of the pacing counters."""
        wanted = [{"clicks": self.produced, "clicked": self.produced}]
        eventually(self.clicks, equals=wanted, what=f"{self.produced} clicks in ClickHouse")
        eventually(self.paced, equals=self.produced, what=f"{self.produced} clicks paced")

    def paced(self) -> int:
        try:
            with urllib.request.urlopen(f"{self.stack.url('pace')}/c", timeout=5.0) as answer:
                return sum(day["clicks"] for day in orjson.loads(answer.read())["days"])
        except urllib.error.HTTPError:  # the campaign is not known yet
            return 0

    def assert_all_workers_show_their_health(self) -> None:
        """Each at the port that `up` names, `pace` too."""
        for name in WORKERS:
            root = f"http://127.0.0.1:{self.stack.ports[name]}"
            for page, wanted in (("livez", b"ok"), ("readyz", b"ok"), ("metrics", b"clickfold_recoveries_total")):
                with urllib.request.urlopen(f"{root}/{page}", timeout=5.0) as answer:
                    assert wanted in answer.read(), (name, page)

    def assert_joined_once(self) -> None:
        decided = [value for value in read_all(self.cluster, "outcomes", 0) if not value.startswith(SHOWN)]
        joined = Counter(orjson.loads(value)["click_id"] for value in decided)
        assert joined == Counter(f"k{number}" for number in range(self.produced))


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path / "data")
    try:
        yield system
    finally:
        system.run("down")
    assert Stack.attach(system.folder) is None


@pytest.mark.broker
@pytest.mark.clickhouse
def test_up_goes_on_where_it_was_after_down_and_after_a_killed_worker(system: System) -> None:
    assert "run `clickfold up` first" in system.refuses("query", "--sql", "SELECT 1")
    system.does("up", *OPTIONS)
    started = system.pids()
    assert set(started) == set(PARTS)
    priorities = {name: os.getpriority(os.PRIO_PROCESS, pid) for name, pid in started.items()}
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert priorities == {name: min(19, own + 10) if name == "learn" else own for name in PARTS}
    system.assert_all_workers_show_their_health()
    assert "no model is published yet" in system.refuses("models", "show")
    system.produce_clicked(20)
    system.wait_until_all_are_asked_back()

    assert "already running" in system.does("up", *OPTIONS)
    said = system.refuses("up", *OPTIONS, "--skew", "7s")
    assert "works in" in said
    assert "--skew 5s" in said
    assert "--skew 7s" in said
    assert system.pids() == started

    os.kill(started["join"], signal.SIGKILL)
    eventually(lambda: system.stack.running(), lambda parts: "join" not in parts, what="the end of the join")
    system.produce_clicked(20)
    system.does("up", *OPTIONS)
    restarted = system.pids()
    assert {name for name in PARTS if restarted[name] != started[name]} == {"join"}
    system.wait_until_all_are_asked_back()

    assert "stopped" in system.does("down")
    assert Stack.attach(system.folder) is None
    assert "nothing runs" in system.does("down")
    # Opened for the question alone.
    assert system.clicks() == [{"clicks": 40, "clicked": 40}]
    assert Stack.attach(system.folder) is None
    assert "--skew 7s" in system.refuses("up", *OPTIONS, "--skew", "7s")
    assert Stack.attach(system.folder) is None

    system.does("up", *OPTIONS)
    system.produce_clicked(20)
    system.wait_until_all_are_asked_back()
    system.assert_joined_once()


@pytest.mark.broker
@pytest.mark.clickhouse
def test_up_after_kafka_was_killed_tells_all_workers_where_it_is_now(system: System) -> None:
    system.does("up", *OPTIONS)
    started = system.pids()
    os.kill(started["kafka"], signal.SIGKILL)
    eventually(lambda: system.stack.running(), lambda parts: "kafka" not in parts, what="the end of Kafka")
    system.does("up", *OPTIONS)
    assert system.pids()["clickhouse"] == started["clickhouse"]
    system.produce_clicked(10)
    system.wait_until_all_are_asked_back()
    system.assert_joined_once()

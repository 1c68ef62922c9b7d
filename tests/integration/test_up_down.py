"""`clickfold up`, `down` and what asks the running or the resting system, as commands on one folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from schemas.outcomes import SHOWN
from streams.embedded.ports import free_port
from streams.embedded.stack import WORKERS, Stack
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from tests.factories import click_json, impression_json
from tests.ingesting import MAPPING, click, view
from tests.waiting import PATIENCE_S, eventually

PARTS = ("kafka", "clickhouse", *WORKERS)
OPTIONS = ["--partitions", "2", "--window", "10s"]
# Of inputs of another form, which are keyed as they must be.
OWN_FORM = """
[impressions]
impression_id = "req"
ts = { path = "at", unit = "us" }
campaign_id = "ad.campaign"
creative_id = "ad.banner"
price_micros = { path = "ad.cost", unit = "units" }

[clicks]
click_id = "click"
impression_id = "req"
ts = { path = "at", unit = "us" }
"""
CLICKS_SQL = "SELECT count() AS clicks, uniqExact(impression_id) AS clicked FROM ads.outcomes WHERE kind = 'click'"


class System:
    """The commands on one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.produced = 0
        self.clicked: dict[str, bytes] = {}
        # Not the usual ports: tests that run at the same time would take them from each other.
        kafka = free_port()
        self.ports = kafka, free_port(other_than=[kafka])

    def up(self, *more: str) -> str:
        """The first `up` in the folder."""
        kafka, clickhouse = map(str, self.ports)
        return self.does("up", *OPTIONS, "--kafka-port", kafka, "--clickhouse-port", clickhouse, *more)

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

    def verified(self, name: str, *more: str) -> dict[str, Any]:
        """One check of `clickfold verify`, which must agree; empty if it is left out."""
        answer = orjson.loads(self.does("verify", "--wait", "30s", "--format", "json", *more))
        found: dict[str, Any] = next((check for check in answer["checks"] if check["name"] == name), {})
        assert ("ingest" in answer["absent"]) == (not found)
        return found

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

    def produce_clicked(self, count: int, *, clicks_by: str = "murmur2_random", own_form: bool = False) -> None:
        """Impressions of now, each with a click; `own_form`: in the form of OWN_FORM."""
        producer, clicking = (
            Producer(client_settings(self.cluster, **EXACT_DELIVERY, partitioner=partitioner))
            for partitioner in ("murmur2_random", clicks_by)
        )
        for number in range(self.produced, self.produced + count):
            impression_id, ts = f"i{number}", round(time.time() * 1_000)
            shown, clicked = impression_json(impression_id, ts), click_json(f"k{number}", impression_id, ts)
            if own_form:
                at = {"req": impression_id, "at": ts * 1_000}
                shown = orjson.dumps({**at, "ad": {"campaign": "c", "banner": "b", "cost": "0.25"}})
                clicked = orjson.dumps({**at, "click": f"k{number}"})
            producer.produce("ads.impressions", shown, impression_id)
            self.clicked[impression_id] = clicked
            clicking.produce("ads.clicks", self.clicked[impression_id], impression_id)
        assert producer.flush(PATIENCE_S) == clicking.flush(PATIENCE_S) == 0
        self.produced += count

    def produce_own(self, topic: str, count: int) -> None:
        """The same in a form of the user's own, in one topic and without keys."""
        producer = Producer(client_settings(self.cluster, **EXACT_DELIVERY))
        for number in range(self.produced, self.produced + count):
            ad = {"campaign": "c", "banner": "b", "cost": "0.25"}
            for event in (view(number, ad=ad), click(number)):
                producer.produce(topic, orjson.dumps({**event, "at": round(time.time())}))
        assert producer.flush(PATIENCE_S) == 0
        self.produced += count

    def repeat_clicks(self, *, clicks_by: str) -> None:
        """Every click once more: a duplicate."""
        producer = Producer(client_settings(self.cluster, **EXACT_DELIVERY, partitioner=clicks_by))
        for impression_id, value in self.clicked.items():
            producer.produce("ads.clicks", value, impression_id)
        assert producer.flush(PATIENCE_S) == 0

    def move_impressions_on(self) -> None:
        """Impressions in all partitions as far ahead as may be: clicks that wait for theirs become orphans."""
        producer = Producer(client_settings(self.cluster, **EXACT_DELIVERY, partitioner="murmur2_random"))
        for number in range(20):
            ts = round(time.time() * 1_000) + 50_000
            producer.produce("ads.impressions", impression_json(f"ahead-{number}", ts), f"ahead-{number}")
        assert producer.flush(PATIENCE_S) == 0

    def wait_until_all_are_asked_back(self) -> None:
        """Of ClickHouse, and of the pacing counters."""
        wanted = [{"clicks": self.produced, "clicked": self.produced}]
        eventually(self.clicks, equals=wanted, what=f"{self.produced} clicks in ClickHouse")
        eventually(self.paced, equals=self.produced, what=f"{self.produced} clicks paced")

    def misplaced(self) -> int:
        with urllib.request.urlopen(self.stack.url("join"), timeout=5.0) as answer:
            lines = answer.read().decode().splitlines()
        name = "clickfold_misplaced_orphans_total{"
        return round(sum(float(line.split()[-1]) for line in lines if line.startswith(name)))

    def log(self, worker: str) -> str:
        return (self.folder / "workers" / f"{worker}.log").read_text()

    def codecs_of_outputs(self) -> set[int]:
        """The codecs of all batches that workers have written, read from Kafka's files; 0 is none."""
        found: set[int] = set()
        for path in (self.folder / "kafka" / "data").glob("ads.*/*.log"):
            if not path.parent.name.startswith(("ads.impressions-", "ads.clicks-")):
                found.update(_codecs(path.read_bytes()))
        return found

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


def _codecs(segment: bytes) -> Iterator[int]:
    """Of each batch: a header of 61 bytes, its length in bytes 8 to 12, its attributes in 21 and 22."""
    at = 0
    while at + 61 <= len(segment) and (length := int.from_bytes(segment[at + 8 : at + 12])):
        yield segment[at + 22] & 7
        at += 12 + length


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
def test_up_goes_on_where_it_was_after_down_and_after_a_killed_worker(system: System, tmp_path: Path) -> None:
    assert "run `clickfold up` first" in system.refuses("query", "--sql", "SELECT 1")
    mapping = tmp_path / "inputs.toml"
    mapping.write_text(OWN_FORM)
    options = [*OPTIONS, "--input-map", str(mapping)]
    system.up("--input-map", str(mapping))
    started = system.pids()
    assert set(started) == set(PARTS)
    priorities = {name: os.getpriority(os.PRIO_PROCESS, pid) for name, pid in started.items()}
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert priorities == {name: min(19, own + 10) if name == "learn" else own for name in PARTS}
    system.assert_all_workers_show_their_health()
    assert "no model is published yet" in system.refuses("models", "show")
    system.produce_clicked(20, own_form=True)
    system.wait_until_all_are_asked_back()

    assert "already running" in system.does("up", *options)
    said = system.refuses("up", *options, "--skew", "7s")
    assert "works in" in said
    assert "--skew 5s" in said
    assert "--skew 7s" in said
    assert system.pids() == started

    # All that the join decides rests on it, so another one is refused, also while all runs.
    mapping.write_text(OWN_FORM.replace('"ad.banner"', '"ad.campaign"'))
    assert "the file of --input-map says something else" in system.refuses("up", *options)
    mapping.write_text(f"# The same.\n{OWN_FORM}")

    os.kill(started["join"], signal.SIGKILL)
    eventually(lambda: system.stack.running(), lambda parts: "join" not in parts, what="the end of the join")
    system.produce_clicked(20, own_form=True)
    system.does("up", *options)
    restarted = system.pids()
    assert {name for name in PARTS if restarted[name] != started[name]} == {"join"}
    system.wait_until_all_are_asked_back()

    assert "stopped" in system.does("down")
    assert Stack.attach(system.folder) is None
    assert "nothing runs" in system.does("down")
    # Opened for the question alone.
    assert system.clicks() == [{"clicks": 40, "clicked": 40}]
    assert Stack.attach(system.folder) is None
    assert "--skew 7s" in system.refuses("up", *options, "--skew", "7s")
    assert Stack.attach(system.folder) is None

    declared = tmp_path / "dimensions.toml"
    declared.write_text('[dimensions]\nsite = { from = "features.site", since = 2090-01-01T00:00:00Z }\n')
    extra = "--extra-dimensions", str(declared)
    system.does("up", *options, *extra)
    # The ports of the first start, which saved data sources and producers name, are those of all later ones.
    assert (system.stack.broker.port, system.stack.clickhouse.port) == system.ports
    said = system.refuses("up", *options, *extra, "--kafka-port", "1234")
    assert f"listens on port {system.ports[0]}; run `clickfold down` before" in said
    system.produce_clicked(20)
    system.wait_until_all_are_asked_back()
    system.assert_joined_once()
    assert system.codecs_of_outputs() == {0}
    # The group was moved to the dimension, which verify takes from `up`, and ClickHouse has its column.
    assert "agree" in system.does("verify", "--wait", "60s")
    assert '"site": ""' in system.does("query", "--sql", "SELECT DISTINCT site FROM ads.minutes", "--format", "json")
    # With the bounds of `up`, which are not the defaults.
    said = system.does("verify", "--wait", "30s")
    assert "--window 10s" in said
    assert "✗" not in said
    assert f"--input-map {mapping}" in said.replace("\n", "")
    assert "joined under settings" in system.run("verify", "--window", "11s").stdout
    said = system.does("upgrade", "--window", "10s", "--input-map", str(mapping), *extra, "--dry-run")
    assert "ads.join: 2 partitions are of this version already" in said


@pytest.mark.broker
@pytest.mark.clickhouse
def test_up_leaves_kafka_up_when_the_join_refuses_so_that_the_repair_can_be_done(system: System) -> None:
    bounds = [*OPTIONS, "--lateness", "1s"]
    system.up("--lateness", "1s")
    system.produce_clicked(40, clicks_by="consistent_random")
    system.move_impressions_on()

    def said() -> bool:
        # Clicks that are silent for 5 s are sealed up to the impressions: then those that are written again are late.
        system.repeat_clicks(clicks_by="consistent_random")
        return "impressions are partitioned by murmur2, clicks by crc32" in system.log("join")

    eventually(said, what="a line of the log about it")
    assert system.misplaced() > 0
    os.kill(system.pids()["join"], signal.SIGKILL)
    system.does("down")
    refused = system.run("up", *bounds)
    assert refused.returncode == 2
    assert "impressions are partitioned by murmur2, clicks by crc32" in refused.stderr
    assert f"Kafka (127.0.0.1:{system.ports[0]}) and ClickHouse" in refused.stderr
    assert system.stack.running() == ["kafka", "clickhouse"]
    assert "wrote " in system.does("repartition", "ads.clicks")
    system.does("up", *bounds)
    # The impressions are open still, so each click is billed, one way or the other.
    system.wait_until_all_are_asked_back()


@pytest.mark.clickhouse
def test_a_port_that_is_taken_is_named_with_what_has_it(system: System) -> None:
    with socket.create_server(("127.0.0.1", system.ports[1])):
        said = system.refuses("up", *OPTIONS, "--clickhouse-port", str(system.ports[1]))
    name = Path("/proc/self/comm").read_text().strip()
    assert f"port {system.ports[1]} of ClickHouse is taken by {name} (process {os.getpid()}); " in said
    assert "--clickhouse-port" in said
    assert Stack.attach(system.folder) is None


@pytest.mark.broker
@pytest.mark.clickhouse
def test_up_after_kafka_was_killed_tells_all_workers_where_it_is_now(system: System) -> None:
    system.up()
    started = system.pids()
    os.kill(started["kafka"], signal.SIGKILL)
    eventually(lambda: system.stack.running(), lambda parts: "kafka" not in parts, what="the end of Kafka")
    system.does("up", *OPTIONS)
    assert system.pids()["clickhouse"] == started["clickhouse"]
    system.produce_clicked(10)
    system.wait_until_all_are_asked_back()
    system.assert_joined_once()


@pytest.mark.broker
@pytest.mark.clickhouse
def test_up_reads_sources_of_the_users_own_form_and_more_of_them_later(system: System, tmp_path: Path) -> None:
    mapping = tmp_path / "mine.toml"
    mapping.write_text(MAPPING)
    said = system.up("--source", f"shop={mapping}")
    assert "ingest " in said
    assert "Produce to shop;" in said
    assert Admin(system.cluster).partition_counts()["shop"] == 2
    system.produce_own("shop", 20)
    system.wait_until_all_are_asked_back()
    # Without --source: as `up` was given.
    assert system.verified("ingest")["compared"] > 20
    assert "the id, in records that ingest reads" in system.does("forget", "--user", "r1", "--dry-run")
    started = system.pids()
    assert set(started) == {*PARTS, "ingest"}
    assert f"ingest works in {system.folder} with --source shop={mapping}" in system.refuses("up", *OPTIONS)
    assert system.pids() == started

    # The worker would stop at a mapping that has changed, and is not asked to: it alone is started anew.
    mapping.write_text(MAPPING.replace('"ad.banner"', '"ad.campaign"'))
    system.does("up", *OPTIONS, "--source", f"shop={mapping}", "--source", f"app={mapping}", "--new-mapping")
    assert {name for name, pid in system.pids().items() if pid != started[name]} == {"ingest"}
    system.produce_own("shop", 10)
    system.produce_own("app", 10)
    system.wait_until_all_are_asked_back()
    # What the former mapping made cannot be compared by this one; by itself, or where it is given, it can.
    assert system.verified("ingest") == {}
    assert "ingest: not compared, because its mapping was changed" in system.does("verify", "--wait", "30s")
    assert system.verified("ingest", "--source", f"app={mapping}")["compared"] > 10

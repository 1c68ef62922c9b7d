"""Wrong settings on a real broker: one sentence at start, exit code 2. And what init and a worker do when right."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]  # they are
from confluent_kafka.cimpl import NewTopic

from schemas.topics import DAY_MS, TOPICS
from streams.embedded.broker import Broker
from streams.embedded.ports import free_port
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker

# Promised are 15 s on a machine at rest. The longest, a broker that does not answer, waits 10 s.
BOUND_S = 60.0


def environment(cluster: Cluster, state_dir: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "CLICKFOLD_STATE_DIR": str(state_dir),
        "CLICKHOUSE_URL": "",
        **more,
    }


class Command:
    """`clickfold …` on its way; a worker `pace` on a port that no other test takes."""

    def __init__(self, env: dict[str, str], *arguments: str) -> None:
        own = ("--web-port", str(free_port())) if arguments == ("worker", "pace") else ()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", *arguments, *own],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, bound_s: float = BOUND_S) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        try:
            out, err = self.process.communicate(timeout=bound_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, out, err

    def sentence(self) -> str:
        """The one sentence it stopped with; log lines of what went well before it may precede."""
        code, _, err = self.ended()
        assert code == 2, err
        told = [line for line in err.splitlines() if not line.startswith("{")]
        assert len(told) == 1, err
        assert told[0].startswith("clickfold: ")
        return told[0].removeprefix("clickfold: ")


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    return Cluster(broker.bootstrap, prefix=topic_prefix)


@contextlib.contextmanager
def running(env: dict[str, str], *arguments: str) -> Iterator[tuple[Command, int]]:
    """A worker that is ready, and its metrics port; killed at the end if it still runs."""
    port = free_port()
    command = Command(env, "worker", *arguments, "--metrics-port", str(port))
    try:
        eventually(lambda: command.process.poll() is not None or status(port, "readyz") == 200, what="readiness")
        assert command.process.poll() is None, command.ended()
        yield command, port
    finally:
        command.process.kill()
        command.process.communicate()


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return 0


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics/", timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def configured(cluster: Cluster, role: str) -> dict[str, str]:
    client = AdminClient(client_settings(cluster))
    resource = ConfigResource(ResourceType.TOPIC, cluster.topic(role))
    found = client.describe_configs([resource])[resource].result(timeout=PATIENCE_S)
    return {name: str(entry.value) for name, entry in found.items()}


def make_topic(cluster: Cluster, role: str, partitions: int) -> None:
    client = AdminClient(client_settings(cluster))
    name = cluster.topic(role)
    client.create_topics([NewTopic(name, partitions, 1)])[name].result(timeout=PATIENCE_S)


def test_a_broker_that_does_not_answer_is_named(tmp_path: Path) -> None:
    nobody = environment(Cluster(f"127.0.0.1:{free_port()}"), tmp_path, CLICKHOUSE_URL="http://127.0.0.1:1")
    # Of the five that ask alike, the one that would have time and the one that sets up.
    for command in [Command(nobody, "worker", "sink"), Command(nobody, "init")]:
        sentence = command.sentence()
        assert sentence.startswith(
            f"no Kafka broker answers at KAFKA_BOOTSTRAP_SERVERS={nobody['KAFKA_BOOTSTRAP_SERVERS']}"
        )
        assert sentence.endswith("start one, or name one that runs")


def test_every_worker_names_a_missing_topic_and_says_who_makes_it(cluster: Cluster, tmp_path: Path) -> None:
    env = environment(cluster, tmp_path, CLICKHOUSE_URL="http://127.0.0.1:1")
    commands = {name: Command(env, "worker", name) for name in ("join", "learn", "pace", "sink")}
    for name, topic in {"join": "impressions", "learn": "outcomes", "pace": "campaigns", "sink": ""}.items():
        sentence = commands[name].sentence()
        assert cluster.topic(topic) if topic else cluster.prefix in sentence
        assert "`clickfold init`" in sentence


def test_inputs_of_unequal_partition_counts_are_refused_with_both_counts(cluster: Cluster, tmp_path: Path) -> None:
    make_topic(cluster, "clicks", 3)
    make_topic(cluster, "impressions", 2)
    for role in TOPICS:
        if role not in ("clicks", "impressions"):
            make_topic(cluster, role, 1)
    sentence = Command(environment(cluster, tmp_path), "worker", "join").sentence()
    assert f"'{cluster.topic('impressions')}': 2, '{cluster.topic('clicks')}': 3" in sentence
    assert "recreate one with the count of the other" in sentence


def test_init_makes_topics_once_and_refuses_to_change_a_count(cluster: Cluster, tmp_path: Path) -> None:
    env = environment(cluster, tmp_path)
    code, out, _ = Command(env, "init", "--partitions", "2").ended()
    assert (code, out.splitlines()[0].partition(" (")[0]) == (0, f"topics: made {len(TOPICS)}")
    counts = Admin(cluster).partition_counts()
    by_rule = {"join": 2, "campaign": 2, "shard": 1, "one": 1}
    assert {role: counts[cluster.topic(role)] for role in TOPICS} == {
        role: by_rule[topic.partitions] for role, topic in TOPICS.items()
    }
    again, more = Command(env, "init", "--partitions", "2"), Command(env, "init", "--partitions", "3")
    assert again.ended()[:2] == (0, "topics: made 0, all there\n")
    assert more.sentence().startswith(f"topic {cluster.topic('impressions')} has 2 partitions, asked for are 3; ")
    for role in ("impressions", "clicks"):
        config = configured(cluster, role)
        assert (config["message.timestamp.type"], config["retention.ms"]) == ("LogAppendTime", str(7 * DAY_MS))
    assert configured(cluster, "pacing")["cleanup.policy"] == "compact"
    seals = configured(cluster, "seals")
    assert (seals["cleanup.policy"], int(seals["retention.ms"]) >= 7 * DAY_MS) == ("delete", True)


def test_a_join_worker_shows_what_it_does_and_leaves_in_order(cluster: Cluster, tmp_path: Path) -> None:
    Admin(cluster).create(partitions=2)
    state = tmp_path / "state"
    env = environment(cluster, state)
    with running(env, "join", "--window", "30s") as (worker, port):
        assert (status(port, "livez"), status(port, "readyz")) == (200, 200)
        # Ends are heard of with the first answers to fetches, some milliseconds after the worker is ready.
        shown = eventually(lambda: metrics(port), lambda shown: "clickfold_lag_records{" in shown)
        for name in ("lag_records", "watermark_seconds", "open_impressions", "ledger_total", "commits_total"):
            assert re.search(rf"^clickfold_{name}(\{{.*\}})? \S+$", shown, re.MULTILINE), f"{name} is not in\n{shown}"
        second = Command(env, "worker", "join", "--window", "30s")
        on_its_port = Command(env, "worker", "join", "--slot", "1", "--metrics-port", str(port))
        in_its_slot = second.sentence()
        assert in_its_slot.startswith(f"slot 0 of group {cluster.prefix}join is in use by another process on {state}")
        assert in_its_slot.endswith("give another --slot or --state-dir")
        taken = f"--metrics-port {port} on 127.0.0.1 cannot be served (Address already in use); give another"
        assert on_its_port.sentence() == taken
        worker.process.send_signal(signal.SIGTERM)
        code, _, err = worker.ended()
    assert (code, [line for line in err.splitlines() if not line.startswith("{")]) == (0, [])
    assert '"event": "stopped"' in err.splitlines()[-1]
    manifests = sorted(path.relative_to(state).as_posix() for path in state.rglob("manifest"))
    assert manifests == [f"{cluster.prefix}join/0/{partition}/manifest" for partition in range(2)]

    other = Command(environment(cluster, tmp_path / "fresh"), "worker", "join", "--window", "31s").sentence()
    assert other.startswith("the committed offsets of partition ")
    assert_other_settings(other)


def assert_other_settings(sentence: str) -> None:
    assert "made under settings" in sentence
    settings = "window, skew, lateness, future, dedupe, jump, negative rate, dimensions, extra dimensions, input map"
    assert f"{settings} or topics differ" in sentence
    assert sentence.endswith("restore them or start a new run with another --group")


def test_a_checkpoint_is_gone_on_from_under_its_own_settings_alone(cluster: Cluster, tmp_path: Path) -> None:
    Admin(cluster).create(partitions=1)
    env = environment(cluster, tmp_path)
    for _ in range(2):
        with running(env, "join", "--window", "30s") as (worker, _port):
            worker.process.send_signal(signal.SIGTERM)
            code, _, err = worker.ended()
            assert (code, "no usable checkpoint" in err) == (0, False), err
    other = Command(env, "worker", "join", "--window", "31s").sentence()
    assert other.startswith("the committed offsets of partition 0:")
    assert_other_settings(other)


def test_inputs_keyed_by_different_partitioners_are_refused_with_both_named(cluster: Cluster, tmp_path: Path) -> None:
    Admin(cluster).create(partitions=4)
    for role, partitioner in (("impressions", "murmur2_random"), ("clicks", "consistent_random")):
        producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner=partitioner))
        for number in range(40):
            producer.produce(cluster.topic(role), b"{}", f"id-{number}".encode())
        assert producer.flush(PATIENCE_S) == 0
    sentence = Command(environment(cluster, tmp_path), "worker", "join").sentence()
    assert "impressions are partitioned by murmur2, clicks by crc32" in sentence
    assert "partitioner=murmur2_random" in sentence

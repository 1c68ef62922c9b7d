"""Topics and groups that are set up wrongly: each is one sentence at `clickfold init` and at a worker's start."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.errors import SettingsError
from streams.embedded.broker import Broker
from streams.kafka.admin import REPLAYED, Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.sink.consumer import SinkConsumer
from streams.sink.settings import SinkSettings
from streams.warehouse.client import Warehouse
from tests.integration.test_settings_errors import Command, environment, running
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    return Cluster(broker.bootstrap, prefix=topic_prefix)


def make_topic(cluster: Cluster, role: str, *, partitions: int = 1, **config: str) -> None:
    named = {name.replace("_", "."): value for name, value in config.items()}
    client = AdminClient(client_settings(cluster))
    name = cluster.topic(role)
    client.create_topics([NewTopic(name, partitions, 1, config=named)])[name].result(timeout=PATIENCE_S)


def test_a_compacted_input_is_refused_by_init_and_by_a_worker(cluster: Cluster, tmp_path: Path) -> None:
    make_topic(cluster, "clicks", cleanup_policy="compact")
    env = environment(cluster, tmp_path)
    refused = f"topic {cluster.topic('clicks')} has cleanup.policy=compact: "
    sentence = Command(env, "init", "--partitions", "1").sentence()
    assert sentence.startswith(refused)
    assert "set cleanup.policy=delete for it" in sentence
    assert cluster.topic("impressions") not in Admin(cluster).partition_counts()
    Admin(cluster).create(partitions=1)
    assert Command(env, "worker", "join").sentence().startswith(refused)


def test_inputs_with_producers_times_are_taken_with_a_warning(cluster: Cluster, tmp_path: Path) -> None:
    Admin(cluster).create(partitions=1, input_config=REPLAYED)
    env = environment(cluster, tmp_path)
    code, _, err = Command(env, "init", "--partitions", "1").ended()
    (line,) = err.splitlines()
    assert (code, line.partition(" message.timestamp.type=CreateTime: ")[1:] != ("", "")) == (0, True)
    with running(env, "join") as (worker, _):
        worker.process.terminate()
        code, _, err = worker.ended()
    warnings = [entry for entry in map(json.loads, err.splitlines()) if entry["level"] == "warning"]
    assert [entry["event"] for entry in warnings] == ["topic settings"]
    assert "the times of the records are the producers' word" in warnings[0]["text"]


@contextlib.contextmanager
def foreign_member(cluster: Cluster, group: str) -> Iterator[None]:
    """A member of the group with librdkafka's default assignor, polled meanwhile."""
    consumer = Consumer(client_settings(cluster, group_id=group, partition_assignment_strategy="range"))
    consumer.subscribe([cluster.topic("rejects")])
    eventually(lambda: consumer.poll(0.1) is None and consumer.assignment() != [], what="the other member's partitions")
    ended = threading.Event()

    def poll() -> None:
        while not ended.is_set():
            consumer.poll(0.1)

    polling = threading.Thread(target=poll)
    polling.start()
    try:
        yield
    finally:
        ended.set()
        polling.join()
        consumer.close()


def test_a_group_with_another_assignor_is_one_sentence(cluster: Cluster, tmp_path: Path) -> None:
    Admin(cluster).create(partitions=1)
    env = environment(cluster, tmp_path)
    for name, remedy in {"join": "give another --group", "pace": "CLICKFOLD_TOPIC_PREFIX"}.items():
        with foreign_member(cluster, cluster.group(name)):
            sentence = Command(env, "worker", name).sentence()
        assert sentence.startswith(f"consumer group {cluster.group(name)} has members that use ")
        assert "inconsistent group protocol" in sentence
        assert remedy in sentence


def test_the_sink_stops_at_a_group_with_another_assignor(cluster: Cluster) -> None:
    Admin(cluster).create(partitions=1)
    settings = SinkSettings(cluster=cluster, warehouse=Warehouse("http://127.0.0.1:1"), group=cluster.group("sink"))
    with foreign_member(cluster, settings.group):
        consumer = SinkConsumer(settings, on_revoke=lambda _: None, on_lost=lambda _: None)
        try:
            with pytest.raises(SettingsError, match=f"consumer group {settings.group} has members that use another"):
                eventually(lambda: consumer.read(10, 0.1) and False, what="the error")
        finally:
            consumer.close()


def test_campaigns_of_another_partitioner_are_refused_by_pacing(cluster: Cluster, tmp_path: Path) -> None:
    Admin(cluster).create(partitions=4)
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner="consistent_random"))
    for number in range(40):
        producer.produce(cluster.topic("campaigns"), b"{}", f"c{number}".encode())
    assert producer.flush(PATIENCE_S) == 0
    sentence = Command(environment(cluster, tmp_path), "worker", "pace").sentence()
    assert sentence.startswith(f"{cluster.topic('campaigns')} is partitioned by crc32, its totals by murmur2: ")
    assert "partitioner=murmur2_random" in sentence

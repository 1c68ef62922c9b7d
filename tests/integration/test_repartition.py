"""`clickfold repartition` on the real broker: every record once, in its partition, in order, whatever interrupts it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.errors import SettingsError, Transient
from streams.embedded.broker import Broker
from streams.kafka import repartition
from streams.kafka.admin import REPLAYED, Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import PARTITIONERS, java_partition, possible
from streams.kafka.reads import sample_keys, stream_messages
from streams.kafka.repartition import Repartition
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from tests.factories import click_json
from tests.integration.test_settings_errors import Command, environment
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker
PARTITIONS = 4
IDS = [f"i{number}" for number in range(300)]
T0 = 1_700_000_000_000


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    """Clicks keyed by librdkafka's default, a second apart, each with a header."""
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=PARTITIONS, input_config=REPLAYED)
    produce(cluster, IDS, partitioner="consistent_random")
    return cluster


def produce(cluster: Cluster, ids: list[str], *, partitioner: str) -> None:
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner=partitioner))
    for number, name in enumerate(ids):
        producer.produce(
            cluster.topic("clicks"),
            click_json(f"k{name}", name),
            name,
            timestamp=T0 + 1_000 * number,
            headers=[("trace", name.encode())],
        )
    assert producer.flush(PATIENCE_S) == 0


def keys(cluster: Cluster, topic: str) -> dict[int, list[str]]:
    return {
        partition: [(message.key() or b"").decode() for message in stream_messages(cluster, topic, partition)]
        for partition in range(PARTITIONS)
    }


def astray() -> list[str]:
    """The ids that librdkafka's default puts elsewhere than murmur2."""
    crc32 = PARTITIONERS["crc32"]
    return [name for name in IDS if java_partition(name.encode(), PARTITIONS) != crc32(name.encode(), PARTITIONS)]


def other(cluster: Cluster) -> Cluster:
    """The same Kafka with a prefix of its own, and empty topics."""
    right = Cluster(cluster.bootstrap, prefix=f"{cluster.prefix}right.")
    admin = Admin(right)
    admin.create(partitions=PARTITIONS, input_config=REPLAYED)
    # A broker knows a topic some moments after it has been made.
    eventually(admin.partition_counts, lambda counts: right.topic("clicks") in counts, what="the topic")
    return right


def test_a_copy_has_every_record_once_where_murmur2_wants_it_in_the_order_of_time(cluster: Cluster) -> None:
    target = other(cluster).topic("clicks")
    moved = Repartition(cluster, cluster.topic("clicks"), target).run()
    assert (moved.read, moved.misplaced, moved.written) == (300, len(astray()), 300)
    found = keys(cluster, target)
    wanted = {
        partition: [name for name in IDS if java_partition(name.encode(), PARTITIONS) == partition]
        for partition in range(PARTITIONS)
    }
    assert found == wanted
    first = next(stream_messages(cluster, target, 0))
    assert first.timestamp()[1] == T0 + 1_000 * IDS.index(wanted[0][0])
    assert first.headers() == [("trace", wanted[0][0].encode())]


def test_in_place_only_misplaced_records_are_written_again_and_a_second_run_writes_none(cluster: Cluster) -> None:
    clicks = cluster.topic("clicks")
    before = keys(cluster, clicks)
    assert Repartition(cluster, clicks, clicks).look().written == len(astray())
    assert keys(cluster, clicks) == before
    assert Repartition(cluster, clicks, clicks).run().written == len(astray())
    after = keys(cluster, clicks)
    for partition, names in after.items():
        assert names[: len(before[partition])] == before[partition]
        wanted = [name for name in astray() if java_partition(name.encode(), PARTITIONS) == partition]
        assert names[len(before[partition]) :] == wanted
    assert Repartition(cluster, clicks, clicks).run().written == 0
    assert keys(cluster, clicks) == after


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_run_that_was_interrupted_goes_on_and_writes_nothing_twice(cluster: Cluster, call: str) -> None:
    source, target = cluster.topic("clicks"), other(cluster).topic("clicks")
    made: list[object] = []

    class Failing(Producer):
        def __getattribute__(self, name: str) -> object:
            if name == call:
                made.append(name)
                if len(made) == 3:
                    raise KafkaException(KafkaError(KafkaError._TRANSPORT))
            return super().__getattribute__(name)

    with patch.object(repartition, "_OF_TRANSACTION", 70):
        with patch.object(repartition, "Producer", Failing), pytest.raises(Transient, match="the same command goes on"):
            Repartition(cluster, source, target).run()
        moved = Repartition(cluster, source, target).run()
    assert moved.written == 300 - 140
    assert sorted(name for names in keys(cluster, target).values() for name in names) == sorted(IDS)


def test_what_has_come_since_is_taken_by_a_later_run(cluster: Cluster) -> None:
    source, target = cluster.topic("clicks"), other(cluster).topic("clicks")
    Repartition(cluster, source, target).run()
    produce(cluster, ["late-1", "late-2"], partitioner="murmur2_random")
    assert Repartition(cluster, source, target).run().written == 2


def test_the_newest_keys_tell_that_a_producer_was_corrected(cluster: Cluster) -> None:
    assert possible(sample_keys(cluster, "clicks", PARTITIONS, newest=True), PARTITIONS) == {"crc32"}
    produce(cluster, [f"n{number}" for number in range(800)], partitioner="murmur2_random")
    assert possible(sample_keys(cluster, "clicks", PARTITIONS), PARTITIONS) == {"crc32"}
    assert possible(sample_keys(cluster, "clicks", PARTITIONS, newest=True), PARTITIONS) == {"murmur2"}


def test_topics_of_clickfold_and_missing_ones_are_refused(cluster: Cluster) -> None:
    clicks = cluster.topic("clicks")
    with pytest.raises(SettingsError, match="totals is written by clickfold"):
        Repartition(cluster, cluster.topic("totals"), cluster.topic("totals"))
    with pytest.raises(SettingsError, match="topic nowhere does not exist"):
        Repartition(cluster, clicks, "nowhere")


def test_the_command_says_what_it_did(cluster: Cluster, tmp_path: Path) -> None:
    env, clicks = environment(cluster, tmp_path), cluster.topic("clicks")
    said = f"{clicks}: read 300 records, {len(astray())} of them not in the partition that murmur2 gives; "
    for more, verb in ((["--dry-run"], "would write"), ([], "wrote")):
        code, out, _ = Command(env, "repartition", clicks, *more).ended()
        assert (code, out) == (0, f"{said}{verb} {len(astray())} to {clicks}\n")

"""The reader of record sets where brokers come, go and stand still, and beside what librdkafka's consumer reads."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest
from confluent_kafka import ElectionType, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # not in its __all__

from schemas.errors import LostHistory, Transient
from streams.embedded.broker import Broker
from streams.kafka.aiokafka_settings import aiokafka_settings
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import Reading
from streams.kafka.reader import BatchReader, MessageReader, Reader, open_reader
from streams.kafka.record_set_reader import RecordSetReader
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from tests.integration.second_broker import NODE, SecondBroker
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker

# Of a broker that is silent: short, so that tests do not wait long.
ANSWER_S = 1.0
Read = dict[int, list[tuple[int, bytes | None]]]


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One that tests may freeze."""
    with Broker(tmp_path_factory.mktemp("own")) as running:
        yield running


@pytest.fixture(scope="module")
def second(own_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondBroker]:
    with SecondBroker(own_broker, tmp_path_factory.mktemp("second") / "kafka") as running:
        yield running


def admin_create(cluster: Cluster, topic: NewTopic) -> None:
    admin = AdminClient(client_settings(cluster))
    for future in admin.create_topics([topic]).values():
        future.result(PATIENCE_S)


def reading(topic: str) -> Reading:
    return Reading({topic: "impressions"}, taken="the test", remedy="nothing can be done")


def opened(cluster: Cluster, topic: str) -> RecordSetReader:
    return RecordSetReader(aiokafka_settings(cluster), reading(topic), answer_s=ANSWER_S)


def places(topic: str, partitions: int, offset: int = 0) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for partition in range(partitions)]


def started(reader: Reader, topic: str, partitions: int) -> None:
    reader.place(places(topic, partitions))
    reader.resume(places(topic, partitions))


def produce(cluster: Cluster, topic: str, values: dict[int, list[bytes]], **settings: object) -> None:
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, linger_ms=5, **settings))
    for partition, own in values.items():
        for value in own:
            producer.produce(topic, value, None, partition)
    assert producer.flush(PATIENCE_S) == 0


def numbered(start: int, count: int, partitions: int) -> dict[int, list[bytes]]:
    return {partition: [b"%d" % number for number in range(start, start + count)] for partition in range(partitions)}


def add(reader: Reader, found: Read) -> int:
    """Reads once; how many records there are now."""
    for records in reader.read(100, 0.1):
        found[records.partition] += zip(records.offsets, records.values, strict=True)
    return sum(map(len, found.values()))


def whole(found: Read, count: int) -> bool:
    """Whether every partition has each record once and in order."""
    return all([value for _, value in rows] == [b"%d" % number for number in range(count)] for rows in found.values())


# ---- one broker -----------------------------------------------------------------------------------------------------


def test_headers_large_records_and_batches_larger_than_an_answer_are_what_a_consumer_reads(
    broker: Broker, topic_prefix: str
) -> None:
    cluster, topic, random = Cluster(broker.bootstrap, prefix=topic_prefix), f"{topic_prefix}large", Random(3)
    admin_create(cluster, NewTopic(topic, 2, config={"max.message.bytes": str(12 << 20)}))
    producer = Producer(client_settings(cluster, message_max_bytes=12 << 20, compression_type="none", linger_ms=5))
    some: list[tuple[str, str | bytes | None]] = [("trace", b"1"), ("empty", None), ("", random.randbytes(200))]
    count = 0
    # More than a partition's part of an answer, than an answer, and than a buffer.
    for size in (10, 300, 900_000, 2 << 20, 5 << 20, 40, 9 << 20, 1):
        for partition in range(2):
            headers = random.choice([None, some])
            value = random.choice([random.randbytes(size), b"x" * size])
            producer.produce(topic, value, random.choice([None, b"key"]), partition, headers=headers)
            assert producer.flush(PATIENCE_S) == 0
            count += 1
    read: list[Read] = []
    for reader in (opened(cluster, topic), MessageReader(cluster, reading(topic))):
        with closing(reader):
            started(reader, topic, 2)
            found: Read = defaultdict(list)
            eventually(lambda reader=reader, found=found: add(reader, found), equals=count)  # type: ignore[misc]
            read.append(found)
    assert read[0] == read[1]


def test_an_offset_before_the_first_that_kafka_keeps_is_lost_history(broker: Broker, topic_prefix: str) -> None:
    cluster, topic = Cluster(broker.bootstrap, prefix=topic_prefix), f"{topic_prefix}cut"
    admin_create(cluster, NewTopic(topic, 1))
    produce(cluster, topic, numbered(0, 10, 1))
    admin = AdminClient(client_settings(cluster))
    for future in admin.delete_records([TopicPartition(topic, 0, 4)]).values():
        future.result(PATIENCE_S)
    with closing(opened(cluster, topic)) as reader:
        reader.place(places(topic, 1, 3))
        reader.resume(places(topic, 1))
        with pytest.raises(LostHistory, match=r"offset 3 of .*cut\[0\] is not in Kafka"):
            eventually(lambda: reader.read(9, 0.1), what="the error")
        reader.place(places(topic, 1, 4))
        reader.resume(places(topic, 1))
        found: Read = defaultdict(list)
        eventually(lambda: add(reader, found), equals=6)


def test_a_topic_that_is_not_there_is_reported_once_that_lasts(
    broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.record_set_reader._UNKNOWN_TOPIC_S", 0.5)
    topic = f"{topic_prefix}none"
    with closing(opened(Cluster(broker.bootstrap), topic)) as reader:
        started(reader, topic, 1)
        with pytest.raises(Transient, match=r"none\[0\]: Broker: Unknown topic or partition"):
            eventually(lambda: reader.read(9, 0.1), what="the error")


def test_the_end_of_a_log_is_met_behind_the_marker_of_its_last_transaction(broker: Broker, topic_prefix: str) -> None:
    cluster, topic = Cluster(broker.bootstrap, prefix=topic_prefix), f"{topic_prefix}marked"
    admin_create(cluster, NewTopic(topic, 1))
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, transactional_id=topic))
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    producer.produce(topic, b"0", None, 0)
    producer.commit_transaction(PATIENCE_S)
    kept, found = reading(topic), defaultdict[int, list[tuple[int, bytes | None]]](list)
    with closing(RecordSetReader(aiokafka_settings(cluster), kept)) as reader:
        started(reader, topic, 1)
        eventually(lambda: (add(reader, found), kept.met_end(topic, 0))[1], equals=2)
        assert (kept.end(topic, 0, 2), reader.high(topic, 0)) == (1, 2)
        producer.begin_transaction()
        producer.produce(topic, b"1", None, 0)
        producer.flush(PATIENCE_S)
        # An open transaction is behind the end of what is stable, and counts as lag.
        eventually(lambda: (add(reader, found), reader.high(topic, 0))[1], equals=3)
        assert (kept.end(topic, 0, 3), len(found[0])) == (3, 1)
        producer.abort_transaction(PATIENCE_S)
        eventually(lambda: (add(reader, found), kept.met_end(topic, 0))[1], equals=4)
        assert (kept.end(topic, 0, 4), len(found[0])) == (1, 1)


def test_pauses_places_and_drops_while_requests_are_under_way_neither_lose_nor_repeat_a_record(
    broker: Broker, topic_prefix: str
) -> None:
    cluster, topic, random = Cluster(broker.bootstrap, prefix=topic_prefix), f"{topic_prefix}moving", Random(4)
    admin_create(cluster, NewTopic(topic, 4))
    count = 20_000
    producing = threading.Thread(target=produce, args=(cluster, topic, numbered(0, count, 4)), daemon=True)
    producing.start()
    found: Read = defaultdict(list)
    with closing(opened(cluster, topic)) as reader:
        started(reader, topic, 4)
        until_s = time.monotonic() + PATIENCE_S
        while add(reader, found) < 4 * count:
            assert time.monotonic() < until_s, {partition: len(rows) for partition, rows in found.items()}
            place = TopicPartition(topic, random.randrange(4))
            next_offset = found[place.partition][-1][0] + 1 if found[place.partition] else 0
            match random.randrange(4):
                case 0:
                    reader.pause([place])
                case 1:
                    reader.drop([place])
                    reader.place([TopicPartition(topic, place.partition, next_offset)])
                case _:
                    reader.resume(places(topic, 4))
    producing.join(PATIENCE_S)
    assert whole(found, count)


def test_a_reader_without_a_broker_ends_at_once_and_reads_nothing() -> None:
    began_s = time.monotonic()
    with closing(RecordSetReader({"bootstrap_servers": ["127.0.0.1:1"]}, reading("t"))) as reader:
        started(reader, "t", 1)
        assert (reader.read(9, 0.3), reader.high("t", 0)) == ([], -1)
    assert time.monotonic() - began_s < 5.0


def test_a_reader_that_is_never_answered_leaves_reading_to_librdkafka(
    broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(RecordSetReader, "refused", "")
    monkeypatch.setattr("streams.kafka.record_set_reader._NEVER_HEARD_S", 0.5)
    with closing(RecordSetReader({"bootstrap_servers": ["127.0.0.1:1"]}, reading("t"))) as reader:
        reader.place(places("t", 1))
        assert reader.read(9, 1.0) == []
        reader.resume(places("t", 1))
        with pytest.raises(
            Transient, match=r"no broker has answered a fetch in 0.5 s .*: librdkafka reads from now on"
        ):
            eventually(lambda: reader.read(9, 0.1), what="the error")
    with closing(open_reader(Cluster(broker.bootstrap, prefix=topic_prefix), reading("t"))) as reader:
        assert isinstance(reader, BatchReader)
    assert "no broker has answered a fetch in 0.5 s" in "".join(capfd.readouterr())


def test_a_setting_that_only_librdkafka_has_leaves_reading_to_it_and_is_named(
    broker: Broker, capfd: pytest.CaptureFixture[str]
) -> None:
    with closing(open_reader(Cluster(broker.bootstrap), reading("t"))) as reader:
        assert isinstance(reader, RecordSetReader)
    with closing(open_reader(Cluster(broker.bootstrap, passed={"client.rack": "eu-1"}), reading("t"))) as reader:
        assert isinstance(reader, BatchReader)
    lines = [line for line in "".join(capfd.readouterr()).splitlines() if "KAFKA_CONFIG_CLIENT_RACK" in line]
    assert len(lines) == 1


# ---- brokers that stand still and leaders that move -----------------------------------------------------------------


def test_a_frozen_broker_is_waited_for_and_no_record_is_lost(own_broker: Broker, topic_prefix: str) -> None:
    cluster, topic = Cluster(own_broker.bootstrap, prefix=topic_prefix), f"{topic_prefix}frozen"
    admin_create(cluster, NewTopic(topic, 2))
    produce(cluster, topic, numbered(0, 500, 2))
    found: Read = defaultdict(list)
    with closing(opened(cluster, topic)) as reader:
        started(reader, topic, 2)
        eventually(lambda: add(reader, found), equals=1_000)
        os.kill(own_broker.pid, signal.SIGSTOP)
        try:
            until_s = time.monotonic() + 3 * ANSWER_S
            while time.monotonic() < until_s:
                began_s = time.monotonic()
                assert add(reader, found) == 1_000
                # The thread that folds never waits for a broker.
                assert time.monotonic() - began_s < ANSWER_S
        finally:
            os.kill(own_broker.pid, signal.SIGCONT)
        produce(cluster, topic, numbered(500, 500, 2))
        eventually(lambda: add(reader, found), equals=2_000)
    assert whole(found, 1_000)


def test_records_go_on_when_leaders_die_freeze_and_move_back(
    own_broker: Broker, second: SecondBroker, topic_prefix: str
) -> None:
    cluster, topic = Cluster(own_broker.bootstrap, prefix=topic_prefix), f"{topic_prefix}led"
    # The first of each is its leader as long as it lives.
    admin_create(cluster, NewTopic(topic, 2, replica_assignment=[[1, NODE], [NODE, 1]]))
    eventually(lambda: [second.leader(topic, partition) for partition in range(2)], equals=[1, NODE])
    found: Read = defaultdict(list)
    count = 0

    def goes_on() -> None:
        nonlocal count
        # A broker that is frozen keeps the producer waiting as well.
        produce(cluster, topic, numbered(count, 300, 2), socket_timeout_ms=2_000)
        count += 300
        eventually(lambda: add(reader, found), equals=2 * count, about=lambda: {p: len(r) for p, r in found.items()})
        assert whole(found, count)

    def moved_back() -> None:
        def elected() -> int:
            second.admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, 1)]).result(PATIENCE_S)
            add(reader, found)
            return second.leader(topic, 1)

        eventually(elected, equals=NODE, what="the former leader")

    with closing(opened(cluster, topic)) as reader:
        started(reader, topic, 2)
        goes_on()
        second.kill()
        eventually(lambda: second.leader(topic, 1), equals=1)
        goes_on()
        second.start()
        moved_back()
        # Both live, and only one of them says that the other leads now.
        goes_on()
        second.signal(signal.SIGSTOP)
        try:
            eventually(lambda: second.leader(topic, 1), equals=1)
            goes_on()
        finally:
            second.signal(signal.SIGCONT)
        moved_back()
        goes_on()


def test_a_topic_that_is_deleted_is_reported(
    own_broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.record_set_reader._UNKNOWN_TOPIC_S", 0.5)
    cluster, topic = Cluster(own_broker.bootstrap, prefix=topic_prefix), f"{topic_prefix}gone"
    admin_create(cluster, NewTopic(topic, 1))
    produce(cluster, topic, numbered(0, 5, 1))
    found: Read = defaultdict(list)
    with closing(opened(cluster, topic)) as reader:
        started(reader, topic, 1)
        eventually(lambda: add(reader, found), equals=5)
        admin = AdminClient(client_settings(cluster))
        admin.delete_topics([topic])[topic].result(PATIENCE_S)
        eventually(lambda: topic not in admin.list_topics(timeout=PATIENCE_S).topics)
        with pytest.raises(Transient, match=r"gone\[0\]: Broker: Unknown topic or partition"):
            eventually(lambda: reader.read(9, 0.1), what="the error")

"""All readers give the records that were produced, whatever the producer did: they are each other's oracle."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from random import Random

import pytest
from confluent_kafka import Producer, TopicPartition

from schemas.errors import LostHistory
from schemas.records import MOST_HEADER_BYTES, MOST_HEADERS, Headers, Record, Records
from streams.embedded.broker import Broker
from streams.kafka.admin import REPLAYED, Admin
from streams.kafka.aiokafka_settings import aiokafka_settings
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import Reading
from streams.kafka.librdkafka import RawConsumer, library
from streams.kafka.reader import BatchReader, MessageReader, Reader
from streams.kafka.record_set_reader import RecordSetReader
from streams.kafka.settings import EXACT_DELIVERY, bulk_reader_settings, client_settings
from streams.worker.memory import trim
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.broker

PARTITIONS = 3
ROLES = ("impressions", "clicks")
Read = dict[tuple[str, int], list[Record]]


def reading_of(cluster: Cluster, with_headers: tuple[str, ...] = ()) -> Reading:
    roles = {cluster.topic(role): role for role in ROLES}
    return Reading(roles, taken="the test", remedy="nothing can be done", with_headers=with_headers)


def by_batch(cluster: Cluster) -> Reader:
    functions = library()
    assert functions is not None, "this confluent-kafka does not show the functions of its librdkafka"
    return BatchReader(RawConsumer(functions, bulk_reader_settings(cluster)), reading_of(cluster))


def by_message(cluster: Cluster) -> Reader:
    return MessageReader(cluster, reading_of(cluster))


def by_record_set(cluster: Cluster) -> Reader:
    return RecordSetReader(aiokafka_settings(cluster), reading_of(cluster))


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Cluster:
    made = Cluster(broker.bootstrap, prefix=topic_prefix)
    # With the producer's timestamps.
    Admin(made).create(partitions=PARTITIONS, input_config=REPLAYED)
    return made


@pytest.fixture(params=[by_record_set, by_batch, by_message], ids=["by record set", "by batch", "by message"])
def reader(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Reader]:
    with closing(request.param(cluster)) as opened:
        yield opened


def produce(cluster: Cluster, random: Random, *, codec: str, number: int, abort: bool | None = None) -> Read:
    """Records of all shapes in one go; with `abort` in a transaction, which is aborted or committed."""
    transaction = {} if abort is None else {"transactional_id": f"{cluster.prefix}{random.random()}"}
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, compression_type=codec, linger_ms=5, **transaction))
    if abort is not None:
        producer.init_transactions(PATIENCE_S)
        producer.begin_transaction()
    produced: Read = defaultdict(list)
    for _ in range(number):
        role, partition = random.choice(ROLES), random.randrange(PARTITIONS)
        key = random.choice([None, b"", random.randbytes(random.randrange(40))])
        value = random.choice([None, b"", b"x" * random.randrange(3_000), random.randbytes(random.randrange(400))])
        stamped_ms = 1_700_000_000_000 + random.randrange(1_000_000)
        producer.produce(cluster.topic(role), value, key, partition, timestamp=stamped_ms)
        produced[role, partition].append(Record(0, stamped_ms, key, value))
    assert producer.flush(PATIENCE_S) == 0
    if abort is None:
        return produced
    if abort:
        producer.abort_transaction(PATIENCE_S)
        return {}
    producer.commit_transaction(PATIENCE_S)
    return produced


def all_places(cluster: Cluster, offset: int = 0) -> list[TopicPartition]:
    return [TopicPartition(cluster.topic(role), partition, offset) for role in ROLES for partition in range(PARTITIONS)]


def records_of(batch: Records) -> list[Record]:
    columns = zip(batch.offsets, batch.timestamps, batch.keys, batch.values, strict=True)
    return [Record(*row) for row in columns]


def read_until(reader: Reader, count: int, *, limit: int = 1_000) -> Read:
    """All that comes until there are so many."""
    found: Read = defaultdict(list)
    kept: list[Records] = []
    until_s = time.monotonic() + PATIENCE_S
    while sum(map(len, kept)) < count:
        assert time.monotonic() < until_s, f"{sum(map(len, kept))} of {count} records came"
        kept += reader.read(limit, 0.1)
    # Only now are they looked at: no later batch may have changed an earlier one.
    for batch in kept:
        found[batch.log, batch.partition] += records_of(batch)
    return found


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_was_produced_is_read_and_what_was_aborted_is_not(cluster: Cluster, reader: Reader, codec: str) -> None:
    random = Random(codec)
    expected: Read = defaultdict(list)
    for abort in (None, True, False, True, None):
        for log, records in produce(cluster, random, codec=codec, number=300, abort=abort).items():
            expected[log] += records
    reader.place(all_places(cluster))
    reader.resume(all_places(cluster))
    found = read_until(reader, sum(map(len, expected.values())), limit=random.choice([7, 100, 10_000]))
    assert {log: [replace(record, offset=0) for record in records] for log, records in found.items()} == expected
    for records in found.values():
        offsets = [record.offset for record in records]
        assert offsets == sorted(set(offsets))


def test_all_readers_give_the_same_offsets_times_keys_and_values(cluster: Cluster) -> None:
    random = Random(5)
    count = 0
    for codec, abort in (("lz4", None), ("zstd", False), ("gzip", True), ("none", None)):
        count += sum(map(len, produce(cluster, random, codec=codec, number=500, abort=abort).values()))
    read = []
    for opened in (by_record_set, by_batch, by_message):
        with closing(opened(cluster)) as reader:
            reader.place(all_places(cluster))
            reader.resume(all_places(cluster))
            read.append(read_until(reader, count))
    assert read[0] == read[1] == read[2]


def test_headers_come_of_the_topics_alone_that_want_them_and_are_bounded(cluster: Cluster) -> None:
    random = Random(6)
    given: list[Headers] = [
        [],
        [("ce_id", b"1"), ("ce_id", b""), ("é", None), ("", b"\xff\x00")],
        [(f"h{number}", b"") for number in range(MOST_HEADERS)],
        [(f"h{number}", b"") for number in range(MOST_HEADERS + 1)],
        [("large", bytes(MOST_HEADER_BYTES))],
    ]
    given += [[("h", random.randbytes(random.randrange(300)))] for _ in range(50)]
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, compression_type="zstd", linger_ms=5))
    for number, headers in enumerate(given):
        for role in ROLES:
            producer.produce(cluster.topic(role), bytes(number), str(number), 0, headers=[*(headers or ())])
    assert producer.flush(PATIENCE_S) == 0
    given[3] = given[4] = None
    wanted = cluster.topic("impressions")
    by_each: list[Reader] = [
        RecordSetReader(aiokafka_settings(cluster), reading_of(cluster, (wanted,))),
        MessageReader(cluster, reading_of(cluster, (wanted,))),
    ]
    for made in by_each:
        with closing(made) as reader:
            reader.place(all_places(cluster))
            reader.resume(all_places(cluster))
            found: dict[str, list[tuple[bytes | None, bytes | None, object]]] = defaultdict(list)
            until_s = time.monotonic() + PATIENCE_S
            while sum(map(len, found.values())) < 2 * len(given):
                assert time.monotonic() < until_s
                for batch in reader.read(7, 0.1):
                    assert (batch.headers is not None) == (batch.log == "impressions")
                    own: Sequence[Headers] = batch.headers or [None] * len(batch)
                    # A part of the records has its part of the headers.
                    assert list(batch.slice(1, 3).headers or []) == list(batch.headers or [])[1:3]
                    found[batch.log] += zip(batch.keys, batch.values, map(_listed, own), strict=True)
            assert found["impressions"] == [
                (str(at).encode(), bytes(at), _listed(each)) for at, each in enumerate(given)
            ]


def _listed(headers: Headers) -> list[tuple[str, bytes | None]] | None:
    return None if headers is None else [(name, value) for name, value in headers]


def test_nothing_comes_of_a_partition_that_is_paused_or_dropped_and_a_new_place_begins_there(
    cluster: Cluster, reader: Reader
) -> None:
    produced = produce(cluster, Random(1), codec="lz4", number=600)
    one, rest = all_places(cluster)[:1], all_places(cluster)[1:]
    log = ("impressions", 0)
    reader.place(all_places(cluster))
    reader.resume(rest)
    others = sum(len(records) for each, records in produced.items() if each != log)
    assert log not in read_until(reader, others)
    reader.resume(one)
    assert len(read_until(reader, len(produced[log]), limit=5)[log]) == len(produced[log])
    reader.drop(one)
    reader.place([TopicPartition(one[0].topic, 0, 10)])
    assert reader.read(100, 0.5) == []
    reader.resume(one)
    again = read_until(reader, len(produced[log]) - 10)
    assert [record.offset for record in again[log]] == list(range(10, len(produced[log])))
    assert reader.high(one[0].topic, 0) == len(produced[log])


def test_an_offset_that_kafka_does_not_have_is_lost_history(cluster: Cluster, reader: Reader) -> None:
    produce(cluster, Random(1), codec="lz4", number=60)
    places = all_places(cluster, 1_000_000)
    reader.place(places)
    reader.resume(places)

    def read() -> None:
        with pytest.raises(
            LostHistory, match=r"offset 1000000 of .* is not in Kafka .*: restore its retention, or nothing"
        ):
            eventually(lambda: reader.read(10, 0.1), what="the error")

    read()


@pytest.mark.parametrize("opened", [by_record_set, by_batch])
def test_reading_leaves_no_reference_cycle(cluster: Cluster, opened: Callable[[Cluster], Reader]) -> None:
    """Python looks for cycles seldom in a worker, so they would add up."""
    with closing(opened(cluster)) as reader:
        reader.place(all_places(cluster))
        reader.read(10, 0.0)
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                reader.read(10, 0.0)
                trim()
            assert gc.collect() < 100
        finally:
            gc.enable()

"""What the reader of record sets makes of answers that come late, refuse, or are for nobody any more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from schemas.errors import LostHistory, Transient
from streams.kafka.consumer import Reading
from streams.kafka.fetch_connection import Answer, Connection, Part
from streams.kafka.read_ahead import Place
from streams.kafka.record_set_reader import RecordSetReader
from tests.batches import Rec, batch

TOPIC = "ads.impressions"
DATA = batch(10, [Rec(0, 0, None, b"a"), Rec(1, 0, None, b"b")])


class Client:
    """In place of aiokafka's, for a cluster of one broker: counts how often it is to ask for the leaders."""

    def __init__(self) -> None:
        self.asked = 0
        self.cluster = self
        self.unauthorized_topics = set[str]()

    def force_metadata_update(self) -> None:
        self.asked += 1

    def broker_metadata(self, node: int) -> Any:
        return SimpleNamespace(host="broker", port=node)

    def leader_for_partition(self, _partition: object) -> int:
        return 1


@pytest.fixture
def reader() -> Iterator[RecordSetReader]:
    """One whose own thread reaches no broker."""
    reading = Reading({TOPIC: "impressions"}, taken="the test", remedy="nothing can be done")
    with closing(RecordSetReader({"bootstrap_servers": ["127.0.0.1:1"]}, reading)) as opened:
        opened.place([TopicPartition(TOPIC, 0, 10)])
        opened.resume([TopicPartition(TOPIC, 0)])
        yield opened


def place_of(reader: RecordSetReader) -> Place:
    place = reader._ahead.find(TOPIC, 0)
    assert place is not None
    return place


def answered(reader: RecordSetReader, place: Place, *, wanted: int = 10, partition: int = 0, **given: Any) -> Client:
    """An answer to what was asked of a place from an offset on."""
    part = Part(TOPIC, partition, 0, 12, 12, [], memoryview(DATA))._replace(**given)
    client = Client()
    for each in reader._sets(client, Answer(0.0, [part]), {(TOPIC, 0): (place, wanted)}):
        reader._unpack(each)
    return client


def values(reader: RecordSetReader) -> list[bytes | None]:
    return [value for records in reader.read(9, 0.0) for value in records.values]


def test_an_answer_moves_the_place_on_and_its_records_are_read(reader: RecordSetReader) -> None:
    answered(reader, place_of(reader), high=14)
    assert values(reader) == [b"a", b"b"]
    assert (place_of(reader).offset, reader.high(TOPIC, 0)) == (12, 14)


def test_the_records_of_an_answer_are_read_even_if_the_connection_is_lost_with_it(
    reader: RecordSetReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost(Connection):
        """Answers once, and is lost then."""

        times = 0

        async def connect(self) -> None:
            pass

        def ask(self, wanted: Sequence[tuple[str, int, int]]) -> None:
            self.times += 1
            if self.times > 1:
                raise ConnectionError("lost")

        async def answer(self) -> Answer:
            return Answer(0.0, [Part(TOPIC, 0, 0, 12, 12, [], memoryview(DATA))])

    monkeypatch.setattr("streams.kafka.record_set_reader.Connection", Lost)
    client = Client()
    asyncio.run(reader._serve(client, 1))
    assert (values(reader), place_of(reader).offset, client.asked) == ([b"a", b"b"], 12, 1)


def test_the_late_answer_of_a_former_leader_changes_nothing(reader: RecordSetReader) -> None:
    place = place_of(reader)
    answered(reader, place)
    answered(reader, place, high=99)
    assert (values(reader), place.offset, place.high) == ([b"a", b"b"], 12, 12)
    answered(reader, place, error=KafkaError.OFFSET_OUT_OF_RANGE)
    assert values(reader) == []


def test_an_answer_for_a_place_that_is_dropped_or_was_not_asked_for_changes_nothing(reader: RecordSetReader) -> None:
    former = place_of(reader)
    reader.drop([TopicPartition(TOPIC, 0)])
    reader.place([TopicPartition(TOPIC, 0, 10)])
    reader.resume([TopicPartition(TOPIC, 0)])
    answered(reader, former)
    answered(reader, former, error=KafkaError.OFFSET_OUT_OF_RANGE)
    answered(reader, place_of(reader), partition=1)
    assert (values(reader), place_of(reader).offset, former.offset) == ([], 10, 10)


@pytest.mark.parametrize("code", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.FENCED_LEADER_EPOCH])
def test_a_leader_that_has_moved_is_looked_for_and_asked_again_a_little_later(
    reader: RecordSetReader, code: int
) -> None:
    place = place_of(reader)
    client = answered(reader, place, error=code)
    assert (client.asked, values(reader), place.failed) == (1, [], False)
    assert place.retry_s > reader._loop.time()
    answered(reader, place)
    assert values(reader) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (KafkaError.OFFSET_OUT_OF_RANGE, LostHistory, r"offset 10 of ads\.impressions\[0\] is not in Kafka"),
        (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            Transient,
            r"ads\.impressions\[0\]: Broker: Topic authorization failed",
        ),
    ],
)
def test_what_will_not_pass_is_reported_once_and_not_asked_for_again(
    reader: RecordSetReader, code: int, kind: type[Exception], text: str
) -> None:
    answered(reader, place_of(reader), error=code)
    with pytest.raises(kind, match=text):
        reader.read(9, 0.0)
    assert (reader.read(9, 0.0), reader._ahead.open_places()) == ([], [])


def test_a_topic_is_reported_as_unknown_only_if_that_lasts_without_an_answer_between(
    reader: RecordSetReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.record_set_reader._UNKNOWN_TOPIC_S", 0.0)
    place, client = place_of(reader), Client()
    reader._unknown(client, place)
    answered(reader, place)
    reader._unknown(client, place)
    assert (values(reader), place.failed) == ([b"a", b"b"], False)
    reader._unknown(client, place)
    with pytest.raises(Transient, match="Unknown topic or partition"):
        reader.read(9, 0.0)


def test_a_topic_that_may_not_be_read_is_reported_at_once(reader: RecordSetReader) -> None:
    client = Client()
    client.unauthorized_topics.add(TOPIC)
    reader._unknown(client, place_of(reader))
    with pytest.raises(Transient, match="Topic authorization failed"):
        reader.read(9, 0.0)


def test_an_end_is_reported_once_and_only_where_nothing_stable_follows(reader: RecordSetReader) -> None:
    place = place_of(reader)
    answered(reader, place, stable=13, high=13)
    values(reader)
    assert reader._reading.met_end(TOPIC, 0) == -1
    for _ in range(2):
        answered(reader, place, wanted=12, data=memoryview(b""))
    assert len(reader._ahead.take(9, 0.0)) == 1
    answered(reader, place, wanted=12, data=memoryview(batch(12, [Rec(0, 0, None, b"c")])), stable=13, high=20)
    assert values(reader) == [b"c"]
    assert reader._reading.met_end(TOPIC, 0) == 13


def test_a_damaged_batch_is_an_error_that_names_topic_partition_and_offset(reader: RecordSetReader) -> None:
    wrong = bytearray(DATA)
    wrong[-1] ^= 1
    with pytest.raises(Transient, match=r"batch at offset 10 of ads\.impressions\[0\] is damaged: its CRC-32C"):
        answered(reader, place_of(reader), data=memoryview(wrong))

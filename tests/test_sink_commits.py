"""Which offsets the sink sends to be committed, how often, and what it does with partitions that move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

import streams.sink.consumer
import streams.sink.worker
import streams.warehouse.writer
from schemas.codec import encode
from schemas.errors import SettingsError
from schemas.outcomes import Outcome
from streams.kafka.cluster import Cluster
from streams.sink.consumer import SinkConsumer
from streams.sink.settings import Progress, SinkSettings
from streams.sink.worker import run
from streams.warehouse.client import Warehouse

TOPIC = "ads.outcomes"
SETTINGS = SinkSettings(
    cluster=Cluster("nowhere:9092"),
    warehouse=Warehouse("http://nowhere:8123", "ads"),
    group="sink",
    roles=("outcomes",),
    batch_rows=2,
    batch_s=3_600.0,
    migrate=False,
)
LOST_ANSWER = KafkaError(KafkaError._TRANSPORT, "the connection is lost")


def record(partition: int, offset: int) -> Message:
    """The outcome at an offset of a partition, as `consume` gives it."""
    outcome = Outcome(
        kind="click",
        impression_id=f"i{offset}",
        join_partition=partition,
        click_id=f"c{offset}",
        click_ts=1_700_000_000_000,
        delay_ms=5,
        ts=1_700_000_000_000,
        campaign_id="k1",
        price_micros=1,
    )
    return Message(topic=TOPIC, partition=partition, offset=offset, value=encode(outcome))


Turn = Callable[["Script"], Sequence[Message]]


class Script:
    """librdkafka's consumer: each `consume` takes the next turn of the script."""

    made: Script

    def __init__(self, _: dict[str, Any], on_commit: Callable[..., None]) -> None:
        self.on_commit = on_commit
        self.turns: list[Turn] = []
        self.failing = False
        # Offsets sent, by partition, and whether the sink waited for the answer.
        self.sent: list[tuple[dict[int, int], bool]] = []
        Script.made = self

    def subscribe(self, _: list[str], **callbacks: Callable[..., None]) -> None:
        self._callbacks = callbacks

    def assign(self, *partitions: int) -> None:
        self._callbacks["on_assign"](self, [TopicPartition(TOPIC, number) for number in partitions])

    def revoke(self, *partitions: int) -> None:
        self._callbacks["on_revoke"](self, [TopicPartition(TOPIC, number) for number in partitions])

    def lose(self, *partitions: int) -> None:
        self._callbacks["on_lost"](self, [TopicPartition(TOPIC, number) for number in partitions])

    def consume(self, *_: Any) -> Sequence[Message]:
        return self.turns.pop(0)(self) if self.turns else []

    def committed(self, places: list[TopicPartition], **_: Any) -> list[TopicPartition]:
        return [TopicPartition(place.topic, place.partition, 10) for place in places]

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        self.sent.append(({place.partition: place.offset for place in offsets}, not asynchronous))
        if self.failing:
            if not asynchronous:
                raise KafkaException(LOST_ANSWER)
            self.on_commit(LOST_ANSWER, offsets)
        elif asynchronous:
            self.on_commit(None, offsets)
        return offsets

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, 100

    def incremental_assign(self, _: list[TopicPartition]) -> None:
        pass

    def pause(self, _: list[TopicPartition]) -> None:
        pass

    resume = pause

    def close(self) -> None:
        """Nothing is held."""


# ---- the record of what was sent ------------------------------------------------------------------------------------


@pytest.fixture
def consumer() -> Iterator[SinkConsumer]:
    """A consumer of two partitions that are left at offset 10."""
    with patch.object(streams.sink.consumer, "Consumer", Script):
        consumer = SinkConsumer(SETTINGS, on_revoke=lambda _: None, on_lost=lambda _: None)
        Script.made.assign(0, 1)
        yield consumer


@pytest.mark.parametrize("wait", [False, True])
def test_offset_is_sent_once_and_only_where_more_is_done(consumer: SinkConsumer, wait: bool) -> None:
    consumer.commit(wait=wait)
    assert Script.made.sent == []
    consumer.done((TOPIC, 0), 12)
    for _ in range(3):
        consumer.commit(wait=wait)
    consumer.done((TOPIC, 1), 15)
    consumer.commit(wait=wait)
    assert Script.made.sent == [({0: 12}, wait), ({1: 15}, wait)]


def test_offset_whose_answer_is_outstanding_is_not_sent_again(consumer: SinkConsumer) -> None:
    Script.made.on_commit = lambda *_: None
    consumer.done((TOPIC, 0), 12)
    consumer.commit(wait=False)
    consumer.commit(wait=False)
    assert Script.made.sent == [({0: 12}, False)]


@pytest.mark.parametrize("wait", [False, True])
def test_nothing_is_committed_once_a_topic_is_seen_to_have_changed(wait: bool) -> None:
    with patch.object(streams.sink.consumer, "Consumer", Script):
        consumer = SinkConsumer(SETTINGS, MagicMock(changed=True), on_revoke=lambda _: None, on_lost=lambda _: None)
    Script.made.assign(0, 1)
    consumer.done((TOPIC, 0), 12)
    consumer.commit(wait=wait)
    assert Script.made.sent == []


@pytest.mark.parametrize("wait", [False, True])
def test_offset_that_was_not_committed_is_sent_again(consumer: SinkConsumer, wait: bool) -> None:
    Script.made.failing = True
    consumer.done((TOPIC, 0), 12)
    consumer.commit(wait=wait)
    assert consumer.last_commit_ms == 0
    Script.made.failing = False
    consumer.commit(wait=wait)
    assert Script.made.sent == [({0: 12}, wait)] * 2
    assert consumer.last_commit_ms > 0


def test_partition_that_moves_is_committed_first_and_counts_no_more(consumer: SinkConsumer) -> None:
    consumer.done((TOPIC, 0), 12)
    consumer.done((TOPIC, 1), 15)
    Script.made.revoke(0)
    assert Script.made.sent == [({0: 12}, True)]
    consumer.done((TOPIC, 0), 14)
    consumer.commit(wait=True)
    assert Script.made.sent[1:] == [({1: 15}, True)]


def test_partition_that_is_lost_is_not_committed(consumer: SinkConsumer) -> None:
    consumer.done((TOPIC, 0), 12)
    Script.made.lose(0)
    consumer.commit(wait=True)
    assert Script.made.sent == []


# ---- a partition that moves while the worker has records of it ------------------------------------------------------


class Warehoused:
    """A client of ClickHouse. It takes the rows of an insert when `takes` returns."""

    def __init__(self, takes: Callable[[], None] = lambda: None) -> None:
        self._takes = takes
        self.began = threading.Event()
        self.rows = 0

    def insert(self, _: str, columns: Sequence[Sequence[object]], **__: Any) -> None:
        self.began.set()
        self._takes()
        self.rows += len(columns[0])

    def query(self, sql: str) -> Any:
        """Nobody was forgotten."""
        assert "forgotten_users" in sql
        return SimpleNamespace(result_rows=[(0, 0)] if "count()" in sql else [])

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def sink_of(client: Warehoused, *turns: Turn) -> Iterator[Callable[[], Progress]]:
    """A sink of partitions 0 and 1, whose consumer takes these turns; then it is stopped."""
    stop, progress = threading.Event(), Progress()

    def made(settings: dict[str, Any], on_commit: Callable[..., None]) -> Script:
        script = Script(settings, on_commit)
        script.turns = [first, *turns, last]
        return script

    def first(script: Script) -> Sequence[Message]:
        script.assign(0, 1)
        return []

    def last(_: Script) -> Sequence[Message]:
        stop.set()
        return []

    def work() -> Progress:
        run(replace(SETTINGS, drain_s=60.0), stop, progress)
        return progress

    with (
        patch.object(streams.sink.consumer, "Consumer", made),
        patch.object(Warehouse, "connect_to_server", lambda *_, **__: client),
        patch.object(streams.sink.worker, "require_applied"),
        patch.object(streams.sink.worker, "TopicWatch", MagicMock(return_value=MagicMock(changed=False))),
        patch.object(streams.sink.worker, "REVOKE_S", 60.0),
    ):
        yield work


def reads(*records: tuple[int, int]) -> Turn:
    """A turn that reads records, each given by partition and offset."""

    def turn(_: Script) -> Sequence[Message]:
        return [record(partition, offset) for partition, offset in records]

    return turn


def test_partition_that_moves_waits_for_its_insert_and_commits_it() -> None:
    revoking = threading.Event()

    def takes() -> None:
        assert revoking.wait(60.0)
        time.sleep(0.1)  # an insert that is still under way then

    client = Warehoused(takes)

    def revoke(script: Script) -> Sequence[Message]:
        assert client.began.wait(60.0)
        revoking.set()
        script.revoke(0)
        return []

    with sink_of(client, reads((0, 10), (0, 11)), revoke) as work:
        work()
    assert client.rows == 2
    assert Script.made.sent == [({0: 12}, True)]


@pytest.mark.parametrize("lost", [False, True])
def test_records_of_a_partition_that_moved_are_left_to_its_next_owner(lost: bool) -> None:
    client = Warehoused()

    def move(script: Script) -> Sequence[Message]:
        (script.lose if lost else script.revoke)(0)
        return []

    # One record is no batch yet. The one of the other partition is inserted when the sink stops.
    with sink_of(client, reads((0, 10)), move, reads((1, 10))) as work:
        progress = work()
    assert client.rows == 1
    assert Script.made.sent == [({1: 11}, True)]
    assert progress.recoveries == lost


def test_insert_that_fails_while_its_partition_moves_stops_the_sink_and_commits_nothing() -> None:
    """Its error must not pass through librdkafka's callback."""

    revoking = threading.Event()

    def takes() -> None:
        assert revoking.wait(60.0)
        raise DatabaseError("no such table", code=60)

    client, escaped = Warehoused(takes), list[Exception]()

    def revoke(script: Script) -> Sequence[Message]:
        assert client.began.wait(60.0)
        revoking.set()
        try:
            script.revoke(0)
        except Exception as error:  # noqa: BLE001  # what the test is about
            escaped.append(error)
        return []

    with (
        sink_of(client, reads((0, 10), (0, 11)), revoke) as work,
        patch.object(streams.warehouse.writer, "drift", return_value=""),
        pytest.raises(SettingsError, match="takes no rows"),
    ):
        work()
    assert revoking.is_set()
    assert not escaped
    assert Script.made.sent == []

"""What a transaction does when Kafka is slow, refuses it, or fences the producer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import SlotTaken, TaskLost
from schemas.records import Out
from streams.kafka import transactions
from streams.kafka.cluster import Cluster
from streams.kafka.slots import taken_twice
from streams.kafka.transactions import Transactions


class StuckOnce:
    """librdkafka's producer, of which the first one waits in `send_offsets_to_transaction` until told."""

    made: list[StuckOnce]
    told: threading.Event

    def __init__(self, _: dict[str, Any]) -> None:
        self.sent = 0
        StuckOnce.made.append(self)

    def init_transactions(self, _: float) -> None:
        pass

    def begin_transaction(self) -> None:
        pass

    def send_offsets_to_transaction(self, *_: Any) -> None:
        if self is StuckOnce.made[0]:
            StuckOnce.told.wait(30)
            raise KafkaException(KafkaError(KafkaError._FENCED, fatal=True))
        self.sent += 1

    def commit_transaction(self, _: float) -> None:
        pass

    def flush(self, _: float) -> None:
        pass


@pytest.fixture
def stuck() -> Iterator[Transactions]:
    StuckOnce.made, StuckOnce.told = [], threading.Event()
    with patch.object(transactions, "Producer", StuckOnce), patch.object(transactions, "_STUCK_S", 0.1):
        yield Transactions(Cluster("nowhere:9092"), "t")
        StuckOnce.told.set()


def test_transaction_that_never_ends_is_given_up_and_work_goes_on(stuck: Transactions) -> None:
    stuck.begin([], [], None)
    with pytest.raises(TaskLost, match="did not end within"):
        stuck.settle()
    stuck.begin([], [], None)
    stuck.settle()
    assert [producer.sent for producer in StuckOnce.made] == [0, 1]


def test_closing_a_fenced_producer_raises_nothing(stuck: Transactions) -> None:
    """Else that error would hide why the worker ends."""
    fenced = KafkaException(KafkaError(KafkaError._FENCED, fatal=True))
    with patch.object(StuckOnce, "flush", side_effect=fenced) as flushed:
        stuck.close()
    assert flushed.called


def test_abandoned_producer_that_comes_back_fences_nobody(stuck: Transactions) -> None:
    stuck.begin([], [], None)
    with pytest.raises(TaskLost, match="did not end within"):
        stuck.settle()
    threads = [thread for thread in threading.enumerate() if thread.name == "commit"]
    StuckOnce.told.set()
    for thread in threads:
        thread.join(10)
    assert len(StuckOnce.made) == 2
    stuck.close()


# ---- errors of the producer -----------------------------------------------------------------------------------------

RETRIABLE = KafkaError(KafkaError._TIMED_OUT, "no answer yet", retriable=True)
ABORTABLE = KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "the member is gone", txn_requires_abort=True)
FATAL = KafkaError(KafkaError._FENCED, "another producer has the id", fatal=True)
OUT = Out("outcomes", b"key", b"value")


class Scripted:
    """librdkafka's producer. Each call raises the next error of its list; without one left it succeeds."""

    made: list[Scripted]
    full: int
    commit_errors: list[KafkaError]
    abort_errors: list[KafkaError]

    def __init__(self, _: dict[str, Any]) -> None:
        self.calls: list[str] = []
        Scripted.made.append(self)

    def init_transactions(self, _: float) -> None:
        pass

    def begin_transaction(self) -> None:
        pass

    def produce(self, *_: Any) -> None:
        if Scripted.full:
            Scripted.full -= 1
            raise BufferError("Local: Queue full")
        self.calls.append("produce")

    def poll(self, _: float) -> None:
        self.calls.append("poll")

    def send_offsets_to_transaction(self, *_: Any) -> None:
        self.calls.append("send offsets")

    def commit_transaction(self, _: float) -> None:
        self.calls.append("commit")
        if Scripted.commit_errors:
            raise KafkaException(Scripted.commit_errors.pop(0))

    def abort_transaction(self, _: float) -> None:
        self.calls.append("abort")
        if Scripted.abort_errors:
            raise KafkaException(Scripted.abort_errors.pop(0))


@pytest.fixture
def scripted() -> Iterator[Transactions]:
    Scripted.made, Scripted.full, Scripted.commit_errors, Scripted.abort_errors = [], 0, [], []
    with patch.object(transactions, "Producer", Scripted):
        yield Transactions(Cluster("nowhere:9092"), "t")


def carry_out(under_test: Transactions) -> list[str]:
    """Carries out a transaction of one output. Returns the calls of the producer that was new in the beginning."""
    under_test.begin([OUT], [], None)
    under_test.settle()
    return Scripted.made[0].calls


def test_full_queue_is_waited_for_and_no_output_is_left_out(scripted: Transactions) -> None:
    Scripted.full = 2
    assert carry_out(scripted) == ["poll", "poll", "produce", "send offsets", "commit"]


def test_queue_that_stays_full_aborts_the_transaction(scripted: Transactions) -> None:
    Scripted.full = 1_000
    with patch.object(transactions, "ANSWER_S", -1.0), pytest.raises(TaskLost, match="queue is full"):
        carry_out(scripted)
    assert Scripted.made[0].calls == ["abort"]


def test_commit_whose_answer_is_late_is_asked_for_again(scripted: Transactions) -> None:
    Scripted.commit_errors = [RETRIABLE, RETRIABLE]
    assert carry_out(scripted) == ["produce", "send offsets", "commit", "commit", "commit"]
    assert len(Scripted.made) == 1


def test_commit_that_never_answers_is_aborted(scripted: Transactions) -> None:
    Scripted.commit_errors = [RETRIABLE] * 1_000
    with patch.object(transactions, "ANSWER_S", -1.0), pytest.raises(TaskLost, match="no answer yet"):
        carry_out(scripted)
    assert Scripted.made[0].calls == ["produce", "send offsets", "commit", "abort"]


def test_refused_commit_is_aborted_once_and_the_producer_goes_on(scripted: Transactions) -> None:
    Scripted.commit_errors = [ABORTABLE]
    with pytest.raises(TaskLost, match="the member is gone"):
        carry_out(scripted)
    assert Scripted.made[0].calls == ["produce", "send offsets", "commit", "abort"]
    carry_out(scripted)
    assert len(Scripted.made) == 1


def test_fenced_producer_is_replaced_and_aborts_nothing(scripted: Transactions) -> None:
    Scripted.commit_errors = [FATAL]
    with pytest.raises(TaskLost, match="another producer has the id"):
        carry_out(scripted)
    assert "abort" not in Scripted.made[0].calls
    carry_out(scripted)
    assert [producer.calls[-1] for producer in Scripted.made] == ["commit", "commit"]
    assert len(Scripted.made) == 2


def test_producer_whose_worker_is_fenced_twice_is_not_replaced_and_fences_nobody() -> None:
    Scripted.made, Scripted.full, Scripted.commit_errors, Scripted.abort_errors = [], 0, [FATAL], []
    with (
        patch.object(transactions, "Producer", Scripted),
        pytest.raises(SlotTaken, match="fenced twice"),
    ):
        carry_out(Transactions(Cluster("nowhere:9092"), "t", lambda: taken_twice("slot 0")))
    assert len(Scripted.made) == 1


def test_producer_that_cannot_abort_is_replaced(scripted: Transactions) -> None:
    Scripted.commit_errors, Scripted.abort_errors = [ABORTABLE], [RETRIABLE]
    with pytest.raises(TaskLost, match="the member is gone"):
        carry_out(scripted)
    carry_out(scripted)
    assert len(Scripted.made) == 2

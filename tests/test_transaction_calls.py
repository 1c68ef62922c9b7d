"""What a transaction hands to librdkafka's producer, how long it waits for what, and when it has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.errors import TaskLost
from schemas.records import Out
from streams.kafka import transactions
from streams.kafka.cluster import Cluster
from streams.kafka.retries import ANSWER_S
from streams.kafka.settings import TRANSACTION_TIMEOUT_MS
from streams.kafka.transactions import Transactions

CLUSTER = Cluster("nowhere:9092")


class Recording:
    """librdkafka's producer: writes down every call with what it was given. A commit waits until it is let go."""

    made: list[Recording]
    goes_on: threading.Event
    begun: threading.Event

    def __init__(self, settings: dict[str, Any]) -> None:
        self.calls: list[tuple[Any, ...]] = [("settings", settings["transactional.id"])]
        self.full_until_s = 0.0
        Recording.made.append(self)

    def commit_transaction(self, timeout_s: float) -> None:
        self.calls.append(("commit_transaction", timeout_s))
        Recording.begun.set()
        Recording.goes_on.wait(30)

    def produce(self, *given: Any) -> None:
        if time.monotonic() < self.full_until_s:
            raise BufferError("Local: Queue full")
        self.calls.append(("produce", *given))

    def poll(self, timeout_s: float) -> None:
        time.sleep(min(timeout_s, 0.01))

    def __getattr__(self, name: str) -> Any:
        return lambda *given: self.calls.append((name, *given))


@pytest.fixture
def producing() -> Iterator[Transactions]:
    Recording.made, Recording.goes_on, Recording.begun = [], threading.Event(), threading.Event()
    Recording.goes_on.set()
    with patch.object(transactions, "Producer", Recording):
        yield Transactions(CLUSTER, "join-0")
        Recording.goes_on.set()


def calls() -> list[tuple[Any, ...]]:
    return Recording.made[0].calls


def test_outputs_offsets_and_the_generation_reach_the_producer_as_they_are(producing: Transactions) -> None:
    outs = [Out("outcomes", b"key", b"value"), Out("totals", b"k", None, 0), Out("totals", None, b"v", 7)]
    offsets = [TopicPartition("ads.clicks", 3, 70)]
    producing.begin(outs, offsets, "generation 4")
    producing.settle()
    assert calls() == [
        ("settings", "join-0"),
        ("init_transactions", ANSWER_S),
        ("begin_transaction",),
        ("produce", CLUSTER.topic("outcomes"), b"value", b"key", -1),
        ("produce", CLUSTER.topic("totals"), None, b"k", 0),
        ("produce", CLUSTER.topic("totals"), b"v", None, 7),
        ("send_offsets_to_transaction", offsets, "generation 4", ANSWER_S),
        ("commit_transaction", ANSWER_S),
    ]


def test_a_transaction_is_settled_once_it_has_ended_and_when_there_is_none(producing: Transactions) -> None:
    assert producing.settled()
    producing.settle()
    Recording.goes_on.clear()
    producing.begin([], [], None)
    assert Recording.begun.wait(10)
    assert not producing.settled()
    Recording.goes_on.set()
    producing.settle()
    assert producing.settled()


def test_a_transaction_that_ended_is_settled_before_anyone_waits_for_it(producing: Transactions) -> None:
    producing.begin([], [], None)
    for thread in threading.enumerate():
        if thread.name == "commit":
            assert thread.daemon
            thread.join(10)
    assert producing.settled()


def test_closing_waits_for_the_transaction_under_way_and_then_flushes(producing: Transactions) -> None:
    Recording.goes_on.clear()
    producing.begin([], [], None)
    assert Recording.begun.wait(10)
    closing = threading.Thread(target=producing.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    assert ("flush", 1.0) not in calls()
    Recording.goes_on.set()
    closing.join(10)
    assert calls()[-1] == ("flush", 1.0)


def test_closing_does_not_wait_when_nothing_is_under_way(producing: Transactions) -> None:
    producing.close()
    assert calls()[-1] == ("flush", 1.0)


def test_a_queue_that_is_full_for_less_than_the_time_of_an_answer_loses_nothing(producing: Transactions) -> None:
    Recording.made[0].full_until_s = time.monotonic() + 0.1
    producing.begin([Out("outcomes", b"key", b"value")], [], None)
    producing.settle()
    assert [call[0] for call in calls()].count("produce") == 1


class Late(Recording):
    """Every commit is answered too late."""

    def commit_transaction(self, timeout_s: float) -> None:
        self.calls.append(("commit_transaction", timeout_s))
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer yet", retriable=True))


def test_a_late_commit_is_asked_for_again_until_the_time_of_an_answer_is_over() -> None:
    Recording.made = []
    with patch.object(transactions, "Producer", Late), patch.object(transactions, "ANSWER_S", 0.05):
        late = Transactions(CLUSTER, "join-0")
        late.begin([], [], None)
        with pytest.raises(TaskLost, match="no answer yet"):
            late.settle()
    assert ("abort_transaction", 0.05) in calls()
    assert [call[0] for call in calls()].count("commit_transaction") > 2


def test_a_producer_that_hangs_is_given_up_after_two_timeouts_of_a_transaction() -> None:
    assert 2 * TRANSACTION_TIMEOUT_MS / 1_000 < transactions._STUCK_S < 2.5 * TRANSACTION_TIMEOUT_MS / 1_000
    # It waits for the transaction, and asks for a new producer until ANSWER_S is over, the last time for as long.
    assert transactions.LONGEST_SETTLE_S == transactions._STUCK_S + ANSWER_S + ANSWER_S

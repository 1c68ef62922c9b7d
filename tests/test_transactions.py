"""A producer that never comes back is replaced, and cannot take its successor with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import TaskLost
from streams.kafka import transactions
from streams.kafka.cluster import Cluster
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

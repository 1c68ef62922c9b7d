"""Sends dead letters to the topic of rejects and waits until Kafka has them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from schemas.codec import encode
from schemas.errors import Transient
from schemas.rejects import Rejected
from streams.kafka.cluster import Cluster
from streams.kafka.settings import letter_producer_settings

_WAIT_S = 0.2


class Letters:
    """A producer of the topic of rejects, connected at the first letter. For one thread."""

    def __init__(self, cluster: Cluster, *, give_up: threading.Event) -> None:
        """Once `give_up` is set, waiting for Kafka ends."""
        self._cluster = cluster
        self._topic = cluster.topic("rejects")
        self._give_up = give_up
        self._producer: Producer | None = None
        self._failures: list[KafkaError] = []

    def send(self, letters: Sequence[Rejected]) -> None:
        """Returns once all are written.

        Raises Transient once `give_up` is set, or when Kafka refuses one: then any part of them may be written.
        """
        if not letters:
            return
        if self._producer is None:
            self._producer = Producer(letter_producer_settings(self._cluster))
        self._failures.clear()
        for letter in letters:
            self._put(encode(letter))
        while self._producer.flush(_WAIT_S):
            self._check()
        if self._failures:
            raise Transient(f"Kafka did not take a dead letter for {self._topic}: {self._failures[0]}")

    def _put(self, value: bytes) -> None:
        assert self._producer is not None
        while True:
            try:
                return self._producer.produce(self._topic, value, on_delivery=self._delivered)
            except BufferError:
                # The queue holds dead letters alone, so only the broker can make room.
                self._producer.poll(_WAIT_S)
                self._check()

    def _check(self) -> None:
        if self._give_up.is_set():
            raise Transient(f"stopped before Kafka had taken the dead letters for {self._topic}")

    def _delivered(self, failure: KafkaError | None, _: Message) -> None:
        if failure is not None:
            self._failures.append(failure)

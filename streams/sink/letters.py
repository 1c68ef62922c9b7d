"""Sends dead letters to the rejects topic and waits until Kafka has them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, Message, Producer

from schemas.codec import encode
from schemas.errors import Transient
from schemas.rejects import Rejected

_WAIT_S = 0.2


class Letters:
    """A producer of one topic, connected at the first letter. For one thread."""

    def __init__(self, config: Mapping[str, object], topic: str, *, give_up: threading.Event) -> None:
        self._config = config
        self._topic = topic
        self._give_up = give_up
        self._producer: Producer | None = None
        self._failures: list[KafkaError] = []

    def send(self, letters: Sequence[Rejected]) -> None:
        """Returns once all are written. Raises Transient when told to give up, or when Kafka will not take one:
        then any part of them may be written."""
        if not letters:
            return
        if self._producer is None:
            self._producer = Producer({**self._config, "enable.idempotence": True, "compression.type": "lz4"})
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
                # A batch of letters only: waiting for room is waiting for the broker.
                self._producer.poll(_WAIT_S)
                self._check()

    def _check(self) -> None:
        if self._give_up.is_set():
            raise Transient(f"told to stop before Kafka had taken the dead letters for {self._topic}")

    def _delivered(self, failure: KafkaError | None, _: Message) -> None:
        if failure is not None:
            self._failures.append(failure)

"""Writes rows of the changelog and decisions: in order, and each send is over once Kafka has all of it.

Not by Faust's producer: it takes 50 µs and more for a record, this one 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer

from schemas.errors import Transient
from streams.kafka.cluster import Cluster
from streams.kafka.settings import pacing_producer_settings

_BEAT_S: Final = 1.0


class Outbox:
    """Sends records of topics. One send at a time."""

    def __init__(self, cluster: Cluster, beat: Callable[[], None]) -> None:
        self._producer = Producer(pacing_producer_settings(cluster))
        self._beat = beat

    async def send(self, topic: str, records: Iterable[tuple[int, bytes, bytes | None]]) -> None:
        """Sends `(partition, key, value)` in order; returns when all are acknowledged. Raises Transient.

        `beat` is called each second meanwhile.
        """
        sending = asyncio.ensure_future(asyncio.to_thread(self._send, topic, list(records)))
        while not sending.done():
            await asyncio.wait({sending}, timeout=_BEAT_S)
            self._beat()
        sending.result()

    def _send(self, topic: str, records: list[tuple[int, bytes, bytes | None]]) -> None:
        failures: list[KafkaError] = []

        def report(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        producer: Any = self._producer
        for partition, key, value in records:
            while True:
                try:
                    producer.produce(topic, value, key, partition, on_delivery=report)
                    break
                except BufferError:
                    producer.poll(0.1)
        # A record is given up after `message.timeout.ms`, so this ends.
        while producer.flush(_BEAT_S):
            pass
        if failures:
            raise Transient(f"Kafka did not take {len(failures)} records of {topic}: {failures[0].str()}")

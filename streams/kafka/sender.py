"""Puts records into Kafka in bulk: in order, partitioned by murmur2 of the key, through a bounded queue."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.errors import SettingsError, Transient
from streams.kafka.cluster import Cluster
from streams.kafka.retries import ANSWER_S
from streams.kafka.settings import bulk_producer_settings

# One small broker takes that many records in a third of a second. A longer queue would only fill memory.
MOST_QUEUED: Final = 100_000
_LOOK_EVERY: Final = 1_000


class Sender:
    """An idempotent producer for loads of records. Use as a context: a normal exit waits for every delivery.

    Records of one key keep their order; those without a key go to partitions at random, as with Java's producer.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._failed: KafkaError | None = None
        self.sent_bytes = 0
        self._producer = Producer(
            # Twice what `send` ever queues, so that this bound is not reached.
            bulk_producer_settings(cluster, queued_messages=2 * MOST_QUEUED),
            on_delivery=self._note_failure,
        )

    def send(self, role: str, records: Iterable[tuple[bytes | None, bytes | None, int]]) -> None:
        """Queues (key, value, timestamp) for the topic of a role, waiting while the queue is full.

        A negative timestamp means: by the clock of the producer or broker. Raises Transient when Kafka takes nothing
        for half a minute or has refused a record for good, SettingsError for a record larger than it ever takes.
        """
        topic = self._cluster.topic(role)
        for count, record in enumerate(records):
            if count % _LOOK_EVERY == 0:
                self._wait_until(MOST_QUEUED, hurry=False)
            try:
                self._queue(topic, *record)
            except BufferError:
                # Large records fill the queue by their bytes long before their number does.
                self._wait_until(0, hurry=True)
                self._queue(topic, *record)

    def _queue(self, topic: str, key: bytes | None, value: bytes | None, ts_ms: int) -> None:
        # One call for each record: `produce_batch` takes no timestamps, and is slower (1.4 against 0.7 us a record).
        length = len(value) if value is not None else 0
        try:
            if ts_ms < 0:
                self._producer.produce(topic, value, key)
            else:
                self._producer.produce(topic, value, key, timestamp=ts_ms)
        except KafkaException as error:
            raise SettingsError(f"{topic} cannot take a record of {length} bytes: {error.args[0].str()}") from error
        self.sent_bytes += length

    def flush(self) -> None:
        """Returns once everything queued is in Kafka. Raises Transient as `send` does."""
        self._wait_until(0, hurry=True)

    def _note_failure(self, error: KafkaError | None, _: object) -> None:
        # An exception must not pass through librdkafka's callback: it is kept for the next call.
        self._failed = self._failed or error

    def _wait_until(self, most: int, *, hurry: bool) -> None:
        """Waits until at most so many records are queued; in a `hurry` batches are sent before they are full."""
        queued = len(self._producer)
        until = time.monotonic() + ANSWER_S
        self._producer.poll(0)
        while queued > most and self._failed is None:
            if hurry:
                self._producer.flush(0.05)
            else:
                self._producer.poll(0.01)
            now_queued = len(self._producer)
            if now_queued < queued:
                until = time.monotonic() + ANSWER_S
            elif time.monotonic() > until:
                raise Transient(f"{self._cluster.bootstrap} took none of {queued} queued records in {ANSWER_S:.0f} s")
            queued = now_queued
        if self._failed is not None:
            raise Transient(f"{self._cluster.bootstrap} did not take a record: {self._failed.str()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
        else:
            self._producer.purge()

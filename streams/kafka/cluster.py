"""A Kafka cluster: how to reach it, how long to ask it, and plain reads of whole partitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import Transient
from schemas.records import Record
from schemas.topics import topic_name

# Long enough for the coordinator to time out a dead worker's open transaction (15 s) before its offsets are stable.
ANSWER_S = 30.0
# A look at keys must not hold up the start of a worker of a thousand partitions.
_SAMPLE_S = 3.0
_NOT_STABLE = (
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    # For some moments after a broker's start.
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._TIMED_OUT,
    KafkaError._WAIT_COORD,
    KafkaError._TRANSPORT,
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """How to reach Kafka: bootstrap servers, librdkafka settings for security, the prefix of topic names."""

    bootstrap: str
    security: dict[str, str] = field(default_factory=dict, repr=False)
    prefix: str = "ads."

    def client(self, **more: Any) -> dict[str, Any]:
        """librdkafka settings of a client."""
        named = {name.replace("_", "."): value for name, value in more.items()}
        # librdkafka would write a line to stderr at each of twenty tries a second; errors reach us as errors anyway.
        quiet = {"log_level": 0, "reconnect.backoff.ms": 200}
        return {"bootstrap.servers": self.bootstrap, **quiet, **self.security, **named}

    def topic(self, role: str) -> str:
        """The topic of a role."""
        return topic_name(role, self.prefix)


def patiently(ask: Callable[[], Any], whom: str) -> Any:
    """The answer, asked again while a coordinator moves, loads or waits for a transaction to end."""
    until = time.monotonic() + ANSWER_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            problem: KafkaError = error.args[0]
            if problem.code() not in _NOT_STABLE and not problem.retriable():
                raise Transient(f"{whom} answered: {problem.str()}") from error
            if time.monotonic() > until:
                raise Transient(f"{whom} did not answer within {ANSWER_S:.0f} s: {problem.str()}") from error
            time.sleep(0.1)


def meter(cluster: Cluster) -> Consumer:
    """Answers where logs begin and end, open transactions included: a read-committed consumer would leave them out."""
    return Consumer(cluster.client(group_id="clickfold-meter", enable_auto_commit=False))


def log_bounds(meter: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """(first offset kept, high watermark). Raises Transient when the broker does not answer."""
    found: tuple[int, int] = patiently(
        lambda: meter.get_watermark_offsets(TopicPartition(topic, partition), timeout=5.0), f"{topic}[{partition}]"
    )
    return found


def read_all(cluster: Cluster, role: str, partition: int) -> list[bytes]:
    """The values of a partition up to its end as of now, committed ones only; waits for open transactions."""
    return [record.value for record in read_log(cluster, role, partition) if record.value is not None]


def read_log(cluster: Cluster, role: str, partition: int) -> list[Record]:
    """Every committed record of a partition up to its end as of now. For logs that fit memory."""
    return list(stream_log(cluster, cluster.topic(role), partition))


def stream_log(cluster: Cluster, topic: str, partition: int, *, start: int = 0, stop: int = 2**63) -> Iterator[Record]:
    """The committed records of a partition from `start` up to, not including, `stop`, or its end as of now.

    Waits for open transactions below that; raises Transient when nothing comes for 30 s.
    """
    asked = meter(cluster)
    low, high = log_bounds(asked, topic, partition)
    asked.close()
    start, stop = max(start, low), min(stop, high)
    if stop <= start:
        return
    consumer = Consumer(
        cluster.client(
            group_id="clickfold-read-only",
            enable_auto_commit=False,
            isolation_level="read_committed",
            enable_partition_eof=True,
            auto_offset_reset="earliest",
            fetch_wait_max_ms=10,
        )
    )
    try:
        consumer.assign([TopicPartition(topic, partition, start)])
        until = time.monotonic() + ANSWER_S
        while time.monotonic() < until:
            for message in consumer.consume(10_000, 0.05):
                error, offset = message.error(), message.offset() or 0
                # An EOF is the end of what is stable; an open transaction may still hold back some below `stop`.
                if offset >= stop and (error is None or error.code() == KafkaError._PARTITION_EOF):
                    return
                if error is None:
                    until = time.monotonic() + ANSWER_S
                    yield Record(offset, message.timestamp()[1], message.key(), message.value())
                    if offset + 1 == stop:
                        return
        raise Transient(f"{topic}[{partition}] was not readable to offset {stop} in {ANSWER_S:.0f} s")
    finally:
        consumer.close()


def sample_keys(cluster: Cluster, role: str, partitions: int, *, most: int = 50) -> list[tuple[int, bytes]]:
    """(partition, key) of up to `most` of the first records kept in each partition, as far as 3 s suffice."""
    consumer = Consumer(
        cluster.client(
            group_id="clickfold-read-only", enable_auto_commit=False, enable_partition_eof=True, fetch_wait_max_ms=10
        )
    )
    found: dict[int, list[bytes]] = {partition: [] for partition in range(partitions)}
    left = set(found)
    try:
        consumer.assign([TopicPartition(cluster.topic(role), partition, OFFSET_BEGINNING) for partition in found])
        until = time.monotonic() + _SAMPLE_S
        while left and time.monotonic() < until:
            for message in consumer.consume(1_000, 0.05):
                partition, key, error = message.partition() or 0, message.key(), message.error()
                if error is None and isinstance(key, bytes) and len(found[partition]) < most:
                    found[partition].append(key)
                elif error is None or error.code() == KafkaError._PARTITION_EOF:
                    left.discard(partition)
    finally:
        consumer.close()
    return [(partition, key) for partition, keys in found.items() for key in keys]

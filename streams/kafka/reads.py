"""Plain reads of partitions: their bounds, whole logs, and a sample of keys. No consumer group takes part."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from schemas.errors import Transient
from schemas.records import Record, Records
from streams.kafka.cluster import Cluster
from streams.kafka.headers import headers_of
from streams.kafka.retries import ANSWER_S, patiently
from streams.kafka.settings import bounds_settings, reader_settings

# A look at keys must not hold up the start of a worker of a thousand partitions.
_SAMPLE_S = 3.0
# librdkafka's base of offsets that count from the end: less n, it means n records before the end.
_TAIL = -2_000
# Among so many offsets at the end of a log its last record is looked for: markers of transactions are offsets too.
_LAST_AMONG = (200, 20_000)


Taken = TypeVar("Taken")


def bounds_consumer(cluster: Cluster) -> Consumer:
    """A consumer for `log_bounds`; close it when done."""
    return Consumer(bounds_settings(cluster))


def log_bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """(first offset kept, end behind all records, uncommitted ones included). Raises Transient without an answer."""
    bounds: tuple[int, int] = patiently(
        lambda: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5.0), f"{topic}[{partition}]"
    )
    return bounds


def read_all(cluster: Cluster, role: str, partition: int) -> list[bytes]:
    """The committed values of a partition up to its end as of now. Waits for open transactions below that."""
    return [record.value for record in read_log(cluster, role, partition) if record.value is not None]


def read_side_log(cluster: Cluster, role: str | None, partition: int) -> Records:
    """Every committed record of a partition of the side log, as columns; none where a group keeps no side log."""
    records = [] if role is None else read_log(cluster, role, partition)
    return Records(
        role or "",
        partition,
        [record.offset for record in records],
        [record.record_ts_ms for record in records],
        [record.key for record in records],
        [record.value for record in records],
    )


def read_log(cluster: Cluster, role: str, partition: int) -> list[Record]:
    """Every committed record of a partition up to its end as of now. For logs that fit memory."""
    return list(stream_log(cluster, cluster.topic(role), partition))


def last_record(cluster: Cluster, role: str, partition: int) -> Record | None:
    """The last committed record of a partition; None where there is none among the last offsets."""
    topic = cluster.topic(role)
    with closing(bounds_consumer(cluster)) as consumer:
        low, high = log_bounds(consumer, topic, partition)
    for count in _LAST_AMONG:
        records = list(stream_log(cluster, topic, partition, start=max(low, high - count)))
        if records:
            return records[-1]
    return None


def stream_log(
    cluster: Cluster, topic: str, partition: int, *, start: int = 0, stop: int = 2**63, with_headers: bool = False
) -> Iterator[Record]:
    """The committed records of a partition from `start` up to, not including, `stop`, or its end as of now.

    Waits for open transactions below that. Raises Transient when nothing comes for 30 s.
    """
    for message in stream_messages(cluster, topic, partition, start=start, stop=stop):
        yield record_of(message, with_headers=with_headers)


def record_of(message: Message, *, with_headers: bool = True) -> Record:
    """The record that a message without an error is."""
    headers = headers_of(message) if with_headers else None
    return Record(message.offset() or 0, message.timestamp()[1], message.key(), message.value(), headers)


def stream_messages(
    cluster: Cluster, topic: str, partition: int, *, start: int = 0, stop: int = 2**63, queued_kbytes: int = 65_536
) -> Iterator[Message]:
    """As `stream_log`, as confluent-kafka gives them."""
    with closing(bounds_consumer(cluster)) as asking:
        low, high = log_bounds(asking, topic, partition)
    start, stop = max(start, low), min(stop, high)
    if stop <= start:
        return
    consumer = Consumer(reader_settings(cluster, queued_kbytes=queued_kbytes))
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
                    yield message
                    # Only now: its reader may have taken longer than that, as a merge of several logs does.
                    until = time.monotonic() + ANSWER_S
                    if offset + 1 == stop:
                        return
        raise Transient(f"{topic}[{partition}] was not readable to offset {stop} in {ANSWER_S:.0f} s")
    finally:
        consumer.close()


def read_to_end(
    cluster: Cluster,
    topic: str,
    starts: Mapping[int, int],
    take: Callable[[int, Message], None],
    *,
    goes_on: Callable[[], bool] = lambda: True,
) -> dict[int, int]:
    """Gives `take` each committed record of partitions, in order, from their `starts` to their ends as of now, or to
    the first transaction that is open; by partition the next offset. No record of it is waited for.

    A start of -1 is the first record kept. It ends early once `goes_on` says no. Raises Transient when nothing comes
    for 30 s.
    """
    consumer, unread = Consumer(reader_settings(cluster)), set(starts)
    ends = dict(starts)
    try:
        consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING if start < 0 else start)
                for partition, start in starts.items()
            ]
        )
        until = time.monotonic() + ANSWER_S
        while unread and goes_on():
            if time.monotonic() >= until:
                raise Transient(f"{topic}{sorted(unread)} was not readable to its end in {ANSWER_S:.0f} s")
            for message in consumer.consume(10_000, 0.05):
                until = time.monotonic() + ANSWER_S
                partition, error = message.partition() or 0, message.error()
                if error is None:
                    take(partition, message)
                    ends[partition] = (message.offset() or 0) + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    # Markers of transactions are offsets too.
                    ends[partition] = max(ends[partition], message.offset() or 0)
                    unread.discard(partition)
                if not goes_on():
                    break
    finally:
        consumer.close()
    return ends


def newest_records(cluster: Cluster, topic: str, partition: int, *, most: int) -> Iterator[Record]:
    """At most so many of the last committed records of a partition, in order, with headers; fewer where some of its
    offsets have no record, as the ends of transactions have none. Raises Transient as `stream_log`."""
    with closing(bounds_consumer(cluster)) as asking:
        low, high = log_bounds(asking, topic, partition)
    yield from stream_log(cluster, topic, partition, start=max(low, high - most), stop=high, with_headers=True)


def sample_keys(
    cluster: Cluster, role: str, partitions: int, *, most: int = 50, newest: bool = False
) -> list[tuple[int, bytes]]:
    """(partition, key) of up to `most` records of each partition, the first ones kept or the `newest`, as far as 3 s
    suffice."""
    sampled = _sample(cluster, cluster.topic(role), partitions, most=most, newest=newest, of=Message.key)
    return [(partition, key) for partition, keys in sampled.items() for key in keys]


def sample_records(cluster: Cluster, topic: str, partitions: int, *, most: int) -> list[Record]:
    """Up to `most` of the newest records of a topic with their headers, of each partition as many, as far as 3 s
    suffice."""
    each = max(1, most // partitions)
    sampled = _sample(cluster, topic, partitions, most=each, newest=True, of=record_of)
    return [record for records in sampled.values() for record in records]


def _sample(
    cluster: Cluster,
    topic: str,
    partitions: int,
    *,
    most: int,
    newest: bool,
    of: Callable[[Message], Taken | None],
) -> dict[int, deque[Taken]]:
    """By partition what `of` takes of up to `most` records, those of which it takes None left out."""
    consumer = Consumer(reader_settings(cluster))
    found: dict[int, deque[Taken]] = {partition: deque(maxlen=most) for partition in range(partitions)}
    unread = set(found)
    # The markers of transactions count as records.
    first = _TAIL - 2 * most if newest else OFFSET_BEGINNING
    try:
        consumer.assign([TopicPartition(topic, partition, first) for partition in found])
        until = time.monotonic() + _SAMPLE_S
        while unread and time.monotonic() < until:
            for message in consumer.consume(1_000, 0.05):
                partition, error = message.partition() or 0, message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        unread.discard(partition)
                elif (taken := of(message)) is not None and (newest or len(found[partition]) < most):
                    found[partition].append(taken)
                elif not newest:
                    unread.discard(partition)
    finally:
        consumer.close()
    return found

"""Writes the records of a topic again, each in the partition that murmur2 of its key gives, exactly once.

A transaction has copies and the positions in the source together, so a run that was interrupted goes on where its last
transaction ended. The partitions are read in the order of the records' timestamps: what one partition of the target
gets from several of the source is then as much in order as the timestamps are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from schemas.errors import SettingsError, Transient
from schemas.topics import TOPICS
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.groups import stable_offsets
from streams.kafka.partitioners import java_partition
from streams.kafka.reads import bounds_consumer, log_bounds, stream_messages
from streams.kafka.retries import ANSWER_S, patiently
from streams.kafka.settings import group_offsets_settings, transactional_producer_settings

# Far below what the producer queues, and a second's work, also of records of the largest size.
_OF_TRANSACTION: Final = 50_000
_BYTES_OF_TRANSACTION: Final = 32 << 20
# What is fetched ahead of all partitions together.
_QUEUED_KBYTES: Final = 64 << 10


@dataclass(slots=True)
class Moved:
    """Of the source: records read, those among them that were not where murmur2 puts them, and records written."""

    read: int = 0
    misplaced: int = 0
    written: int = 0


class Repartition:
    """From `source` to `target`, by full names. Where both are one topic, only misplaced records are written again.

    Raises SettingsError for a topic that does not exist, or that clickfold itself writes.
    """

    def __init__(self, cluster: Cluster, source: str, target: str) -> None:
        self._cluster, self._source, self._target = cluster, source, target
        counts = Admin(cluster).partition_counts()
        own = {cluster.topic(topic.role) for topic in TOPICS.values() if "you" not in topic.writers}
        for name in (source, target):
            if name in own:
                raise SettingsError(f"{name} is written by clickfold, which chooses its partitions; name an input")
            if name not in counts:
                raise SettingsError(f"topic {name} does not exist; make it, for inputs by `clickfold init`")
        self._partitions = counts[target]
        # Offsets of this group are the positions; nobody joins it.
        self._group = f"{cluster.prefix}repartition.{source}.{target}"
        with closing(bounds_consumer(cluster)) as consumer:
            self._kept = {partition: log_bounds(consumer, source, partition) for partition in range(counts[source])}
        self._next = self._positions()

    @property
    def offsets(self) -> int:
        """How many offsets of the source are left: at least the records that will be read."""
        return sum(max(stop - self._next[partition], 0) for partition, (_, stop) in self._kept.items())

    def look(self) -> Moved:
        """Counts what `run` would do, and writes nothing."""
        moved = Moved()
        for message in self._messages():
            self._count(message, moved)
        return moved

    def run(self, on_commit: Callable[[int], None] = lambda _: None) -> Moved:
        """Copies what the source has now. `on_commit` is called with the records read since the last transaction.

        Raises Transient when Kafka fails: another run goes on at the last transaction.
        """
        moved = Moved()
        producer = Producer(transactional_producer_settings(self._cluster, self._group))
        patiently(lambda: producer.init_transactions(ANSWER_S), "the transaction coordinator")
        # Only now: another run of the same command, which is fenced from here on, may have committed meanwhile.
        self._next = self._positions()
        with closing(Consumer(group_offsets_settings(self._cluster, self._group))) as consumer:
            for batch in _batches(self._messages()):
                self._transact(producer, consumer.consumer_group_metadata(), batch, moved)
                on_commit(len(batch))
            # Behind the last records are markers.
            self._next = {partition: max(self._next[partition], stop) for partition, (_, stop) in self._kept.items()}
            self._transact(producer, consumer.consumer_group_metadata(), [], moved)
        return moved

    def _positions(self) -> dict[int, int]:
        """The next offset of each partition of the source, from which Kafka keeps it."""
        places = [TopicPartition(self._source, partition) for partition in self._kept]
        with closing(Consumer(group_offsets_settings(self._cluster, self._group))) as consumer:
            done = {place.partition: place.offset for place in stable_offsets(consumer, places)}
        return {partition: max(done[partition], low) for partition, (low, _) in self._kept.items()}

    def _transact(self, producer: Producer, group: Any, batch: list[Message], moved: Moved) -> None:
        try:
            producer.begin_transaction()
            for message in batch:
                self._next[message.partition() or 0] = (message.offset() or 0) + 1
                if (partition := self._count(message, moved)) is not None:
                    self._produce(producer, message, partition)
            offsets = [TopicPartition(self._source, partition, offset) for partition, offset in self._next.items()]
            producer.send_offsets_to_transaction(offsets, group, ANSWER_S)
            producer.commit_transaction(ANSWER_S)
        except KafkaException as error:
            raise Transient(
                f"Kafka did not take records of {self._target}: {error.args[0].str()}; the same command goes on"
            ) from error

    def _produce(self, producer: Producer, message: Message, partition: int) -> None:
        while True:
            try:
                producer.produce(
                    self._target,
                    message.value(),
                    message.key(),
                    partition,
                    timestamp=max(message.timestamp()[1], 0),
                    headers=message.headers(),
                )
                return
            except BufferError:
                producer.poll(0.05)

    def _count(self, message: Message, moved: Moved) -> int | None:
        """Counts a record, and returns the partition to write it to: -1 for any, None for a record to leave."""
        key, same = message.key(), self._source == self._target
        moved.read += 1
        if key is None:
            moved.written += not same
            return None if same else -1
        assert isinstance(key, bytes)
        belongs = java_partition(key, self._partitions)
        misplaced = belongs != message.partition()
        moved.misplaced += misplaced
        if same and not misplaced:
            return None
        moved.written += 1
        return belongs

    def _messages(self) -> Iterator[Message]:
        # All partitions are read at once.
        queued_kbytes = max(1_024, _QUEUED_KBYTES // max(1, len(self._kept)))
        read = partial(stream_messages, self._cluster, self._source, queued_kbytes=queued_kbytes)
        logs = [read(partition, start=self._next[partition], stop=stop) for partition, (_, stop) in self._kept.items()]
        return heapq.merge(*logs, key=lambda message: message.timestamp()[1])


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """The messages in pieces of one transaction each."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += len(message)
        if len(batch) >= _OF_TRANSACTION or size >= _BYTES_OF_TRANSACTION:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch

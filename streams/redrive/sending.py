"""Sends mended records to the live log, each once: in one transaction with the record that it was sent.

A producer of this transactional id fences the ones before it. What is redriven is read only after that, so no other
command can send in between what is missing there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import NamedTuple

from confluent_kafka import KafkaException, Producer

from schemas.codec import encode
from schemas.errors import Transient
from schemas.rejects import Redriven, Rejected
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import PARTITIONERS, possible
from streams.kafka.reads import sample_keys
from streams.kafka.retries import ANSWER_S, patiently
from streams.kafka.settings import transactional_producer_settings
from streams.mapping.mending import Mended
from streams.redrive.letters import redriven

# Of a redriven record: its original, and the input it was sent to.
Sent = tuple[str, int, int, str]


class ToSend(NamedTuple):
    """A mended record, the dead letter of its original, and the partition it belongs in."""

    letter: Rejected
    mended: Mended
    partition: int

    @property
    def identity(self) -> Sent:
        """What is sent once."""
        return self.letter.topic, self.letter.partition, self.letter.offset, self.mended.log


class Homes:
    """The partition of a key in each input, by the partitioner that its producers use."""

    def __init__(self, cluster: Cluster, partitions: int) -> None:
        self._partitions = partitions
        self._of = {}
        for log in ("impressions", "clicks"):
            names = possible(sample_keys(cluster, log, partitions, newest=True), partitions)
            # Where no partitioner that is known explains the keys, they are partly astray: murmur2 is what they should
            # have, and what the join of the other input expects.
            name = "murmur2" if "murmur2" in names or not names else min(names)
            self._of[log] = PARTITIONERS[name]

    def partition(self, log: str, key: bytes) -> int:
        """Where a record with this key belongs."""
        return self._of[log](key, self._partitions)


class Sending:
    """One command's sending. `done` is what was sent before, by this command and by others. A `dry_run` sends nothing
    and fences nobody."""

    def __init__(self, cluster: Cluster, *, dry_run: bool = False) -> None:
        self._cluster = cluster
        self._dry_run = dry_run
        if not dry_run:
            self._producer = Producer(transactional_producer_settings(cluster, f"{cluster.prefix}redrive"))
            patiently(lambda: self._producer.init_transactions(ANSWER_S), "the transaction coordinator")
        self.done: set[Sent] = {(each.topic, each.partition, each.offset, each.input) for each in redriven(cluster)}

    def send(self, batch: Sequence[ToSend], *, mapping: str) -> int:
        """Sends in one transaction what was not sent before, and returns how many that were.

        Raises Transient when Kafka fails, or another redrive has begun: then nothing of the batch is sent.
        """
        new = list({each.identity: each for each in batch if each.identity not in self.done}.values())
        if not new or self._dry_run:
            return len(new)
        try:
            self._producer.begin_transaction()
            for each in new:
                self._produce(each, mapping)
            self._producer.commit_transaction(ANSWER_S)
        except KafkaException as error:
            with contextlib.suppress(KafkaException):
                self._producer.abort_transaction(ANSWER_S)
            raise Transient(
                f"Kafka did not take the records: {error.args[0].str()}; give the same command again, which sends none "
                "twice"
            ) from error
        self.done.update(each.identity for each in new)
        return len(new)

    def _produce(self, each: ToSend, mapping: str) -> None:
        letter, mended = each.letter, each.mended
        said = Redriven(
            letter.topic,
            letter.partition,
            letter.offset,
            mended.log,  # type: ignore[arg-type]  # a Literal
            each.partition,
            letter.reason,
            mended.ts_ms,
            time.time_ns() // 1_000_000,
            mapping,
        )
        topic = self._cluster.topic
        self._queue(topic(mended.log), mended.value, mended.key, each.partition)
        self._queue(topic("redriven"), encode(said), None, 0)

    def _queue(self, topic: str, value: bytes, key: bytes | None, partition: int) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition)
                return
            except BufferError:
                self._producer.poll(0.05)

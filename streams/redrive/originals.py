"""Reads the originals of dead letters at their places."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import Final

import xxhash
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import SettingsError, Transient
from schemas.records import Record
from schemas.rejects import Rejected
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import log_bounds, record_of
from streams.kafka.retries import ANSWER_S
from streams.kafka.settings import reader_settings
from streams.redrive.letters import Spot

# To read so many records takes no longer than to ask for another place.
_NEAR: Final = 2_000


class Gone(str):
    """Why an original cannot be read any more."""

    __slots__ = ()


class Originals:
    """Reads originals with one client, which is closed by `close`."""

    def __init__(self, cluster: Cluster) -> None:
        self._consumer = Consumer(reader_settings(cluster, queued_kbytes=8_192))
        self._counts = Admin(cluster).partition_counts()
        self.close = self._consumer.close

    def read(self, letters: Sequence[Rejected]) -> Iterator[tuple[Rejected, Record | Gone]]:
        """Each dead letter with its original, by place. Raises Transient when Kafka does not answer."""
        for (topic, partition), own in groupby(
            sorted(letters, key=Spot.of_letter), key=lambda each: Spot.of_letter(each)[:2]
        ):
            yield from self._of_partition(topic, partition, list(own))

    def one(self, spot: Spot) -> Record | Gone:
        """The record at a place, whatever it is. Raises SettingsError for a place that never was."""
        if spot.partition >= self._counts.get(spot.topic, 0):
            raise SettingsError(f"there is no {spot.topic}[{spot.partition}]")
        low, high = log_bounds(self._consumer, spot.topic, spot.partition)
        if spot.offset >= high:
            raise SettingsError(f"{spot} does not exist: {spot.topic}[{spot.partition}] ends at {high}")
        found = next((each for each in self._records(spot.topic, spot.partition, [spot.offset], high)), None)
        return found if found is not None else _gone(spot.offset, low)

    def _of_partition(
        self, topic: str, partition: int, letters: Sequence[Rejected]
    ) -> Iterator[tuple[Rejected, Record | Gone]]:
        if partition >= self._counts.get(topic, 0):
            yield from ((letter, Gone(f"{topic}[{partition}] does not exist any more")) for letter in letters)
            return
        low, high = log_bounds(self._consumer, topic, partition)
        wanted = [letter.offset for letter in letters if low <= letter.offset < high]
        found = {record.offset: record for record in self._records(topic, partition, wanted, high)}
        for letter in letters:
            record = found.get(letter.offset)
            if record is None:
                yield letter, _gone(letter.offset, low)
            elif xxhash.xxh3_64_hexdigest(record.value or b"") != letter.xxh3:
                yield letter, Gone("another record is there now: the topic was made again")
            else:
                yield letter, record

    def _records(self, topic: str, partition: int, offsets: Sequence[int], high: int) -> Iterator[Record]:
        """The records at these offsets, ascending, as far as Kafka has them."""
        place = 0
        while place < len(offsets):
            self._consumer.assign([TopicPartition(topic, partition, offsets[place])])
            last = place
            while last + 1 < len(offsets) and offsets[last + 1] - offsets[last] <= _NEAR:
                last += 1
            yield from self._run(topic, partition, set(offsets[place : last + 1]), offsets[last], high)
            place = last + 1
        self._consumer.unassign()

    def _run(self, topic: str, partition: int, wanted: set[int], last: int, high: int) -> Iterator[Record]:
        until_s = time.monotonic() + ANSWER_S
        while time.monotonic() < until_s:
            for message in self._consumer.consume(_NEAR, 0.05):
                error, offset = message.error(), message.offset() or 0
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF and offset >= min(last + 1, high):
                        return
                    if error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                        raise Transient(f"{topic}[{partition}]: {error.str()}")
                    continue
                until_s = time.monotonic() + ANSWER_S
                if offset in wanted:
                    yield record_of(message)
                if offset >= last:
                    return
        raise Transient(f"{topic}[{partition}] was not readable to offset {last} in {ANSWER_S:.0f} s")


def _gone(offset: int, low: int) -> Gone:
    if offset < low:
        return Gone(f"Kafka keeps only what is from offset {low} on")
    return Gone("Kafka has no record there any more: the topic is compacted, or was made again")


def original(cluster: Cluster, spot: Spot) -> Record | Gone:
    """The record at one place."""
    with closing(Originals(cluster)) as originals:
        try:
            return originals.one(spot)
        except KafkaException as error:
            raise Transient(f"{spot}: {error.args[0].str()}") from error

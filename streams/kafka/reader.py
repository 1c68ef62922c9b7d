"""Reads batches of records from given offsets of partitions: one client, in no group.

`RecordSetReader`, in a file of its own, fetches by Kafka's own requests and takes whole record sets apart with kernels.
`BatchReader` reads by librdkafka's functions and copies whole batches with kernels: for settings that only librdkafka
has. `MessageReader` reads by confluent-kafka's Consumer, which makes an object of each message. It is for an
installation whose librdkafka is not reached, and for topics of which headers are wanted besides. The tests hold the
three equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import structlog
from confluent_kafka import Consumer, KafkaError, TopicPartition

from schemas.errors import SettingsError
from schemas.records import Records
from streams.kafka.aiokafka_settings import aiokafka_settings
from streams.kafka.buffers import Buffers
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import Reading
from streams.kafka.librdkafka import RawConsumer, library
from streams.kafka.settings import bulk_reader_settings
from streams.kernels.messages import COLUMNS, ERROR, OFFSET, PARTITION, TOPIC, look, take
from streams.kernels.slices import MARGIN, Numbers, Slices

log = structlog.get_logger(__name__)

Int64s = npt.NDArray[np.int64]

_KEPT_BUFFERS: Final = 2
# Twice what 10,000 records of the demo take. A batch of larger records gets a buffer of its own.
_BUFFER_BYTES: Final = 8 << 20


class Reader(Protocol):
    """Partitions are read from the offsets they are placed at, once they are resumed."""

    def place(self, places: list[TopicPartition]) -> None:
        """Reads more partitions, each from its offset, and paused."""
        ...

    def drop(self, places: list[TopicPartition]) -> None:
        """Reads these no longer; what was fetched of them is dropped."""
        ...

    def pause(self, places: list[TopicPartition]) -> None:
        """Stops fetching these."""
        ...

    def resume(self, places: list[TopicPartition]) -> None:
        """Fetches these again."""
        ...

    def read(self, limit: int, wait_s: float) -> list[Records]:
        """Up to `limit` records by topic and partition, in order. Raises what an error among them means."""
        ...

    def high(self, topic: str, partition: int) -> int:
        """The high watermark that came with the last fetch, below 0 before the first."""
        ...

    def close(self) -> None:
        """Ends the client."""
        ...


def open_reader(cluster: Cluster, reading: Reading) -> Reader:
    """The fastest reader there is for this cluster. `reading` keeps how far the partitions are read."""
    # Only workers that read in bulk need it.
    from streams.kafka.record_set_reader import RecordSetReader

    try:
        if not RecordSetReader.refused:
            return RecordSetReader(aiokafka_settings(cluster), reading)
        why = RecordSetReader.refused
    except SettingsError as unknown:
        why = str(unknown)
    log.warning("librdkafka reads, which takes more time", because=why)
    functions = library()
    if functions is None or reading.with_headers:
        # Headers are no part of what kernels copy of librdkafka's messages: a batch of objects has them.
        return MessageReader(cluster, reading)
    return BatchReader(RawConsumer(functions, bulk_reader_settings(cluster)), reading)


class MessageReader:
    """Reads by confluent-kafka's Consumer."""

    def __init__(self, cluster: Cluster, reading: Reading) -> None:
        self._consumer = Consumer(bulk_reader_settings(cluster))
        self._reading = reading
        self.pause, self.resume = self._consumer.pause, self._consumer.resume
        self.drop, self.close = self._consumer.incremental_unassign, self._consumer.close

    def place(self, places: list[TopicPartition]) -> None:
        self._reading.begin(places)
        self._consumer.incremental_assign(places)
        self._consumer.pause(places)

    def read(self, limit: int, wait_s: float) -> list[Records]:
        return self._reading.columns(self._consumer.consume(limit, wait_s))

    def high(self, topic: str, partition: int) -> int:
        bounds = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
        return bounds[1]


class BatchReader:
    """Reads by librdkafka's functions."""

    def __init__(self, consumer: RawConsumer, reading: Reading) -> None:
        self._consumer = consumer
        self._reading = reading
        self._messages: Int64s = np.empty(0, np.int64)
        self._columns: Int64s = np.empty((0, COLUMNS), np.int64)
        self._buffers = Buffers(_BUFFER_BYTES, _KEPT_BUFFERS)
        self.pause, self.resume = consumer.pause, consumer.resume
        self.drop, self.high, self.close = consumer.unassign, consumer.high, consumer.close

    def place(self, places: list[TopicPartition]) -> None:
        self._reading.begin(places)
        self._consumer.assign(places)
        self._consumer.pause(places)

    def read(self, limit: int, wait_s: float) -> list[Records]:
        if limit > len(self._messages):
            self._messages, self._columns = np.empty(limit, np.int64), np.empty((limit, COLUMNS), np.int64)
        count = self._consumer.consume(self._messages, limit, wait_s)
        if not count:
            return []
        size = look(self._messages, count, self._columns)
        columns = self._columns[:count]
        faults = self._faults(columns)
        names = {topic: self._consumer.topic_of(topic) for topic in np.unique(columns[:, TOPIC]).tolist() if topic}
        buffer = self._buffers.take(size + MARGIN)
        keys, values = np.empty((count, 2), np.int64), np.empty((count, 2), np.int64)
        times = np.empty(count, np.int64)
        consumer = self._consumer
        take(self._messages, count, size, consumer.time_of, consumer.destroy, buffer, keys, values, times)
        for topic, partition, offset, error in faults:
            self._reading.note(names.get(topic, ""), partition, offset, error)
        return self._records(columns, names, times, Slices(buffer, keys), Slices(buffer, values))

    def _faults(self, columns: Int64s) -> list[tuple[int, int, int, KafkaError]]:
        """(topic, partition, offset, error) of the messages that have one."""
        return [
            (
                *(int(columns[row, TOPIC]), int(columns[row, PARTITION]), int(columns[row, OFFSET])),
                self._consumer.error_of(int(self._messages[row]), int(columns[row, ERROR])),
            )
            for row in np.flatnonzero(columns[:, ERROR]).tolist()
        ]

    def _records(
        self, columns: Int64s, names: Mapping[int, str], times: Int64s, keys: Slices, values: Slices
    ) -> list[Records]:
        logs = columns[:, [TOPIC, PARTITION]]
        good = np.flatnonzero(columns[:, ERROR] == 0)
        rows_of: dict[tuple[int, int], list[Int64s]] = {}
        # librdkafka gives what it fetched of a partition in one piece, so these are few.
        starts = np.flatnonzero((logs[good][1:] != logs[good][:-1]).any(axis=1)) + 1
        for rows in np.split(good, starts) if len(good) else ():
            topic, partition = logs[rows[0]].tolist()
            rows_of.setdefault((topic, partition), []).append(rows)
        batches = []
        for (topic, partition), parts in rows_of.items():
            rows = np.concatenate(parts)
            offsets, stamps = Numbers(columns[rows, OFFSET]), Numbers(times[rows])
            batches.append(
                self._reading.records(names[topic], partition, offsets, stamps, keys.at(rows), values.at(rows))
            )
        return batches

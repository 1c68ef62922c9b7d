"""Reads ranges of partitions once, in bulk: for commands that look through a log for a few records."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Final

from confluent_kafka import TopicPartition

from schemas.errors import Transient
from schemas.records import Records
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import Reading
from streams.kafka.reader import open_reader
from streams.kafka.retries import ANSWER_S

_BATCH: Final = 20_000
_WAIT_S: Final = 0.05


def scan(cluster: Cluster, role: str, ranges: Mapping[int, tuple[int, int]]) -> Generator[Records, None, None]:
    """The committed records of a topic in these ranges by partition, [start, stop), in the order of each partition.

    A batch is good until the next one is asked for. Raises Transient when nothing comes for 30 s, LostHistory when
    Kafka drops a start meanwhile.
    """
    topic = cluster.topic(role)
    unread = {partition: stop for partition, (start, stop) in ranges.items() if start < stop}
    if not unread:
        return
    reading = Reading({topic: role}, taken="this command's place", remedy="begin later with --from")
    with closing(open_reader(cluster, reading)) as reader:
        places = [TopicPartition(topic, partition, ranges[partition][0]) for partition in unread]
        reader.place(places)
        reader.resume(places)
        until_s = time.monotonic() + ANSWER_S
        while unread:
            for records in reader.read(_BATCH, _WAIT_S):
                stop = unread.get(records.partition)
                if stop is None:
                    continue
                done = records.offsets[-1] + 1 >= stop
                if done:
                    del unread[records.partition]
                    reader.pause([TopicPartition(topic, records.partition)])
                if len(part := records.slice(0, bisect_left(records.offsets, stop)) if done else records):
                    yield part
                until_s = time.monotonic() + ANSWER_S
            for partition in [each for each, stop in unread.items() if reading.met_end(topic, each) >= stop]:
                del unread[partition]
            if unread and time.monotonic() > until_s:
                waiting = ", ".join(f"{topic}[{partition}] to offset {stop}" for partition, stop in unread.items())
                raise Transient(f"{waiting} was not readable in {ANSWER_S:.0f} s")

"""The newest records of Kafka topics of any form, to look at, and what a mapping makes of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from schemas.errors import SettingsError
from schemas.records import Record
from streams.formats.texts import batches
from streams.inputs.files import Place
from streams.inputs.order import Order
from streams.inputs.unmapped import Unmapped
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import newest_records
from streams.mapping.compiled import Compiled
from streams.mapping.rows import ObjectRows, ReadValues, Rows
from streams.mapping.values import plain

_PREFIX: Final = "kafka:"
_BATCH_RECORDS: Final = 1_000
_SHOWN_BYTES: Final = 8
_OFFSET_BITS: Final = 48


def topic_named(given: Path) -> str | None:
    """The name of the topic that an argument such as `kafka:shop.events` is; None for a file."""
    text = str(given)
    return text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else None


class TopicLog:
    """At most `most` of the newest records of topics as one log, of each partition as many.

    `mapping` makes events of what `read` reads; without one they are of clickfold's own form. Raises SettingsError when
    a topic does not exist, Transient when Kafka does not answer.
    """

    def __init__(
        self,
        cluster: Cluster,
        topics: Sequence[str],
        log: str,
        *,
        mapping: Compiled | None,
        read: ReadValues,
        most: int,
    ) -> None:
        self.log = log
        self.order = Order()
        self.unmapped = Unmapped()
        self._cluster = cluster
        self._mapping = mapping
        self._read = read
        counts = _counts(cluster, topics)
        self._parts = [(topic, partition) for topic in topics for partition in range(counts[topic])]
        self._each = max(1, most // len(self._parts))

    def records(self) -> Iterator[Record]:
        """The events with the times that Kafka has of them, one partition after the other.

        Raises SettingsError when none of the first values can be read.
        """
        self.unmapped = Unmapped()
        is_first = True
        for part, (topic, partition) in enumerate(self._parts):
            records = newest_records(self._cluster, topic, partition, most=self._each)
            for batch in batches(records, _BATCH_RECORDS):
                numbers = [part << _OFFSET_BITS | record.offset for record in batch]
                arrivals = [record.record_ts_ms for record in batch]
                if self._mapping is None:
                    values = (record.value for record in batch)
                    yield from (Record(*each) for each in zip(numbers, arrivals, repeat(None), values))
                else:
                    yield from self._mapped(self._mapping, batch, numbers, arrivals, topic if is_first else "")
                is_first = False

    def place(self, offset: int) -> Place:
        """The partition and offset of a record."""
        topic, partition = self._parts[offset >> _OFFSET_BITS]
        return Place(f"{topic}[{partition}]", offset & ((1 << _OFFSET_BITS) - 1), "offset")

    def _mapped(
        self, mapping: Compiled, batch: Sequence[Record], numbers: list[int], arrivals: list[int], first_of: str
    ) -> Iterator[Record]:
        rows = _read(self._read, first_of, batch)
        if first_of and (wrong := mapping.never_matching(rows)):
            raise SettingsError(f"topic {first_of}: {'; '.join(map(str, wrong))}")
        events = mapping.map(rows)
        self.unmapped.add(events, numbers)
        for place, value in zip(events.places, events.values, strict=True):
            yield Record(numbers[place], arrivals[place], None, value)


def first_of_topic(cluster: Cluster, topic: str, most: int, read: ReadValues) -> list[Any]:
    """At most so many of the newest records of a topic, as `read` reads them whole. Raises SettingsError when it reads
    none."""
    partitions = _counts(cluster, [topic])[topic]
    found: list[Any] = []
    for partition in range(partitions):
        records = list(newest_records(cluster, topic, partition, most=max(1, most // partitions)))
        if records:
            rows = _read(read, "" if found else topic, records)
            assert isinstance(rows, ObjectRows), "whole records are objects"
            found += [plain(rows.record(place)) for place in range(len(rows)) if place not in rows.broken]
    if not found:
        raise SettingsError(f"topic {topic} has no records; produce some, or give a file of them")
    return found


def _read(read: ReadValues, first_of: str, records: Sequence[Record]) -> Rows:
    """The records. Raises SettingsError when none of the first of a topic can be read."""
    rows, unreadable = read([record.value for record in records], [record.headers for record in records])
    if first_of and len(unreadable) == len(records):
        place = next((place for place, record in enumerate(records) if record.value is not None), 0)
        value, why = records[place].value or b"", unreadable[place]
        begins = f"; the first begins with the bytes {value[:_SHOWN_BYTES].hex(' ')}" if value else ""
        raise SettingsError(
            f"no value of topic {first_of} can be read: {why.detail}{begins}; or write some as JSON to a file, and "
            "give that"
        )
    return rows


def _counts(cluster: Cluster, topics: Sequence[str]) -> dict[str, int]:
    """Partitions of topics by name. Raises SettingsError for one that does not exist."""
    counts = Admin(cluster).partition_counts()
    for topic in topics:
        if topic not in counts:
            near = difflib.get_close_matches(topic, counts, n=1)
            hint = f"is it {near[0]}?" if near else f"Kafka has {', '.join(sorted(counts)[:10]) or 'none'}"
            raise SettingsError(f"topic {topic} does not exist; {hint}")
    return counts

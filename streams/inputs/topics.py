"""The newest records of Kafka topics of any form, to look at, and what a mapping makes of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.errors import SettingsError
from schemas.records import Record
from streams.formats.texts import batches
from streams.inputs.files import Place
from streams.inputs.order import Order
from streams.inputs.unmapped import Unmapped
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import newest_messages
from streams.mapping.compiled import Compiled

_PREFIX: Final = "kafka:"
_BATCH_RECORDS: Final = 1_000
# The wire format of schema registries: a byte 0, four bytes of the schema's number, then the value.
_REGISTERED: Final = b"\x00"
_HEADER_BYTES: Final = 5
_SHOWN_BYTES: Final = 8
_OFFSET_BITS: Final = 48


def topic_named(given: Path) -> str | None:
    """The name of the topic that an argument such as `kafka:shop.events` is; None for a file."""
    text = str(given)
    return text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else None


class TopicLog:
    """At most `most` of the newest records of topics as one log, of each partition as many.

    `mapping` makes events of them; without one they are of clickfold's own form. Raises SettingsError when a topic does
    not exist, Transient when Kafka does not answer.
    """

    def __init__(
        self, cluster: Cluster, topics: Sequence[str], log: str, *, mapping: Compiled | None, most: int
    ) -> None:
        self.log = log
        self.order = Order()
        self.unmapped = Unmapped()
        self._cluster = cluster
        self._mapping = mapping
        counts = _counts(cluster, topics)
        self._parts = [(topic, partition) for topic in topics for partition in range(counts[topic])]
        self._each = max(1, most // len(self._parts))

    def records(self) -> Iterator[Record]:
        """The events with the times that Kafka has of them, one partition after the other.

        Raises SettingsError when their values are no JSON.
        """
        self.unmapped = Unmapped()
        is_first = True
        for part, (topic, partition) in enumerate(self._parts):
            messages = newest_messages(self._cluster, topic, partition, most=self._each)
            for batch in batches(messages, _BATCH_RECORDS):
                texts = [json_of(message.value()) for message in batch]
                if is_first:
                    _require_json(topic, texts)
                numbers = [part << _OFFSET_BITS | (message.offset() or 0) for message in batch]
                arrivals = [message.timestamp()[1] for message in batch]
                if self._mapping is None:
                    yield from (Record(*each) for each in zip(numbers, arrivals, repeat(None), texts))
                else:
                    yield from self._mapped(self._mapping, texts, numbers, arrivals, topic if is_first else "")
                is_first = False

    def place(self, offset: int) -> Place:
        """The partition and offset of a record."""
        topic, partition = self._parts[offset >> _OFFSET_BITS]
        return Place(f"{topic}[{partition}]", offset & ((1 << _OFFSET_BITS) - 1), "offset")

    def _mapped(
        self, mapping: Compiled, texts: list[bytes], numbers: list[int], arrivals: list[int], first_of: str
    ) -> Iterator[Record]:
        rows = mapping.reader.rows(texts)
        if first_of and (wrong := mapping.never_matching(rows)):
            raise SettingsError(f"topic {first_of}: {'; '.join(map(str, wrong))}")
        events = mapping.map(rows)
        self.unmapped.add(events, numbers)
        for place, value in zip(events.places, events.values, strict=True):
            yield Record(numbers[place], arrivals[place], None, value)


def first_of_topic(cluster: Cluster, topic: str, most: int) -> list[Any]:
    """At most so many of the newest records of a topic that are JSON objects. Raises SettingsError when none is."""
    partitions = _counts(cluster, [topic])[topic]
    found: list[Any] = []
    for partition in range(partitions):
        messages = list(newest_messages(cluster, topic, partition, most=max(1, most // partitions)))
        texts = [json_of(message.value()) for message in messages]
        if texts and not found:
            _require_json(topic, texts)
        found += [record for record in map(_decoded, texts) if isinstance(record, dict)]
    if not found:
        raise SettingsError(f"topic {topic} has no records; produce some, or give a file of them")
    return found


def json_of(value: bytes | None) -> bytes:
    """The text of JSON in a value: behind what a registry of schemas writes before it. A deleted value is `null`."""
    if value is None:
        return b"null"
    if value.startswith(_REGISTERED) and value[_HEADER_BYTES:].lstrip().startswith(b"{"):
        return value[_HEADER_BYTES:]
    return value


def _require_json(topic: str, texts: Sequence[bytes]) -> None:
    """Raises SettingsError when none of the values is JSON."""
    if any(isinstance(_decoded(text), dict) for text in texts):
        return
    first = next((text for text in texts if text != b"null"), b"null")
    if first.startswith(_REGISTERED):
        number = int.from_bytes(first[1:_HEADER_BYTES], "big")
        raise SettingsError(
            f"the values of topic {topic} begin with a byte 0 and the number of a schema ({number}): they are Avro or "
            "Protobuf of a schema registry; `clickfold map` reads JSON, so write some of them as JSON to a file, and "
            "give that"
        )
    raise SettingsError(
        f"the values of topic {topic} are no JSON objects: the first begins with the bytes "
        f"{first[:_SHOWN_BYTES].hex(' ')}; `clickfold map` reads JSON, so write some of them as JSON to a file, and "
        "give that"
    )


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def _counts(cluster: Cluster, topics: Sequence[str]) -> dict[str, int]:
    """Partitions of topics by name. Raises SettingsError for one that does not exist."""
    counts = Admin(cluster).partition_counts()
    for topic in topics:
        if topic not in counts:
            near = difflib.get_close_matches(topic, counts, n=1)
            hint = f"is it {near[0]}?" if near else f"Kafka has {', '.join(sorted(counts)[:10]) or 'none'}"
            raise SettingsError(f"topic {topic} does not exist; {hint}")
    return counts

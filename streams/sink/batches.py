"""Records that wait to be inserted: which are inserted together, and which offset may then be committed. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

# A topic and a partition of it.
LogPartition = tuple[str, int]


@dataclass(slots=True)
class RecordColumns:
    """Consecutive records of one partition as columns of equal length. Timestamps are Kafka's in ms UTC, -1 for none.

    `weight` is that of the shape: what one of their bytes counts for in `size_bytes`.

    Columns and not messages, because the garbage collector visits every message in memory, which took 2.5 µs a record
    (measured). It visits neither bytes nor integers.
    """

    offsets: list[int] = field(default_factory=list)
    timestamps_ms: list[int] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    weight: int = 1
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.size_bytes = self.weight * sum(map(_length, self.values))

    def __len__(self) -> int:
        return len(self.offsets)

    def extend(self, later: RecordColumns) -> None:
        """Appends the records of `later`."""
        self.offsets += later.offsets
        self.timestamps_ms += later.timestamps_ms
        self.values += later.values
        self.size_bytes += later.size_bytes

    def fitting(self, *, rows: int, size_bytes: int) -> int:
        """How many records, from the first on, are within both bounds."""
        if len(self) <= rows and self.size_bytes <= size_bytes:
            return len(self)
        return bisect_right(list(accumulate(map(_length, self.values[:rows]))), size_bytes // self.weight)

    def split(self, first: int) -> tuple[RecordColumns, RecordColumns]:
        """The first `first` records, and the others."""
        return self._part(slice(None, first)), self._part(slice(first, None))

    def _part(self, part: slice) -> RecordColumns:
        return RecordColumns(self.offsets[part], self.timestamps_ms[part], self.values[part], self.weight)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one topic to insert as one block, by partition; none is empty.

    `since_s` is when the first of them came, or a little later.
    """

    topic: str
    by_partition: Mapping[int, RecordColumns]
    since_s: float = 0.0

    def __len__(self) -> int:
        return sum(map(len, self.by_partition.values()))

    @property
    def size_bytes(self) -> int:
        """Length of all values together, by their weights."""
        return sum(records.size_bytes for records in self.by_partition.values())

    def values(self) -> list[bytes | None]:
        """All values, one partition after another; `record` returns where one of them came from."""
        return [value for records in self.by_partition.values() for value in records.values]

    def record(self, index: int) -> tuple[int, int, int, bytes | None]:
        """Partition, offset, timestamp and value of `values()[index]`. Raises IndexError."""
        for partition, records in self.by_partition.items():
            if index < len(records):
                return partition, records.offsets[index], records.timestamps_ms[index], records.values[index]
            index -= len(records)
        raise IndexError(index)

    def next_offsets(self) -> Iterator[tuple[LogPartition, int]]:
        """For each partition, the offset after its last record in this batch."""
        for partition, records in self.by_partition.items():
            yield (self.topic, partition), records.offsets[-1] + 1

    def touches(self, log: LogPartition) -> bool:
        """Whether it has a record of the partition."""
        return log[0] == self.topic and log[1] in self.by_partition


class Batches:
    """Records by topic and partition, in the order of their logs.

    A topic is due when it has `full_rows` records, or `full_bytes` of values, or its first record has waited
    `oldest_s`. Bytes count as well, because a record may be many rows, and how many is known only after decoding.

    One topic fills one table. So batches of different topics are acknowledged independently, and the offset of a
    partition depends on its own topic alone.
    """

    def __init__(self, *, full_rows: int, full_bytes: int, oldest_s: float) -> None:
        self._full_rows = full_rows
        self._full_bytes = full_bytes
        self._oldest_s = oldest_s
        self._held: dict[str, dict[int, RecordColumns]] = {}
        self._since_s: dict[str, float] = {}

    @property
    def rows(self) -> int:
        """Records held, over all topics."""
        return sum(self._rows(topic) for topic in self._held)

    @property
    def size_bytes(self) -> int:
        """Length of all values held, over all topics, by their weights."""
        return sum(self._bytes(topic) for topic in self._held)

    @property
    def since_s(self) -> float | None:
        """When the first of the records held came; None when there are none."""
        return min(self._since_s.values(), default=None)

    def add(self, log: LogPartition, records: RecordColumns, *, now_s: float) -> None:
        """Adds one or more records, after those of the partition that are already held."""
        topic, partition = log
        self._held.setdefault(topic, {}).setdefault(partition, RecordColumns(weight=records.weight)).extend(records)
        self._since_s.setdefault(topic, now_s)

    def due(self, now_s: float) -> str | None:
        """The topic that is due; of several the one that has waited longest; None when no topic is."""
        ready = [
            topic
            for topic, since_s in self._since_s.items()
            if now_s - since_s >= self._oldest_s
            or self._rows(topic) >= self._full_rows
            or self._bytes(topic) >= self._full_bytes
        ]
        return min(ready, key=self._since_s.__getitem__, default=None)

    def take(self, topic: str, *, now_s: float) -> Batch:
        """One batch of a topic that has records: at most `full_rows`, and `full_bytes` if the first is not larger.

        For the records that are left, the wait starts again.
        """
        chosen: dict[int, RecordColumns] = {}
        left: dict[int, RecordColumns] = {}
        rows, size_bytes = self._full_rows, self._full_bytes
        for partition, records in self._held.pop(topic).items():
            fitting = records.fitting(rows=rows, size_bytes=size_bytes)
            taken, rest = records.split(max(fitting, 0 if chosen else 1))
            rows -= len(taken)
            size_bytes -= taken.size_bytes
            if taken:
                chosen[partition] = taken
            if rest:
                left[partition] = rest
        since_s = self._since_s.pop(topic)
        if left:
            self._held[topic] = left
            self._since_s[topic] = now_s
        return Batch(topic, chosen, since_s)

    def forget(self, log: LogPartition) -> None:
        """Drops the records of a partition, which another worker will read again."""
        topic, partition = log
        held = self._held.get(topic, {})
        held.pop(partition, None)
        if topic in self._held and not held:
            del self._held[topic], self._since_s[topic]

    def topics(self) -> list[str]:
        """Topics that have records."""
        return list(self._held)

    def _rows(self, topic: str) -> int:
        return sum(map(len, self._held[topic].values()))

    def _bytes(self, topic: str) -> int:
        return sum(records.size_bytes for records in self._held[topic].values())


def _length(value: bytes | None) -> int:
    return 0 if value is None else len(value)

"""Looks through topics for what concerns one id, and remembers which offsets it looked through."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from schemas.codec import encode
from schemas.records import Record
from streams.kafka.cluster import Cluster
from streams.kafka.ranges import Range, resolve_range
from streams.kafka.scan import scan
from streams.trace.answer import ReadRange


@dataclass(slots=True)
class Reading:
    """Reads of one trace. `on_more` is called with offsets that will be read, `on_read` with those that were."""

    cluster: Cluster
    on_more: Callable[[int], None] = lambda _: None
    on_read: Callable[[int], None] = lambda _: None
    done: list[ReadRange] = field(default_factory=list)

    def range(self, roles: Sequence[str], from_text: str, to_text: str = "latest", *, partitions: int) -> Range:
        """The offsets that two texts name of these topics, which have so many partitions each."""
        return resolve_range(self.cluster, from_text, to_text, inputs=roles, partitions=partitions)

    def matching(
        self, role: str, range_: Range, partitions: Sequence[int], wanted: Callable[[Record], bool]
    ) -> Generator[tuple[int, Record], None, None]:
        """(partition, record) of the wanted records in the range. Closed early, it notes how far it read."""
        ranges = {each: (range_.start[each][role], range_.stop[each][role]) for each in partitions}
        self.on_more(sum(stop - start for start, stop in ranges.values()))
        reached = {each: start for each, (start, _) in ranges.items()}
        begun = dict(reached)
        try:
            for records in scan(self.cluster, role, ranges):
                columns = zip(records.offsets, records.timestamps, records.keys, records.values, strict=True)
                for offset, stamped_ms, key, value in columns:
                    record = Record(int(offset), int(stamped_ms), key, value)
                    if wanted(record):
                        reached[records.partition] = record.offset + 1
                        yield records.partition, record
                self.on_read(int(records.next_offset) - begun[records.partition])
                begun[records.partition] = reached[records.partition] = int(records.next_offset)
            begun = reached = {each: stop for each, (_, stop) in ranges.items()}
        finally:
            topic = self.cluster.topic(role)
            for each, (start, stop) in ranges.items():
                self.on_read(stop - begun[each])
                first_kept = range_.first[each][role]
                self.done.append(ReadRange(topic, each, start, reached[each], first_kept))


def names_id(impression_id: str) -> Callable[[Record], bool]:
    """Whether a record has the id as its key, or as a text in its value."""
    key, text = impression_id.encode(), encode(impression_id)

    def wanted(record: Record) -> bool:
        return record.key == key or (record.value is not None and text in record.value)

    return wanted

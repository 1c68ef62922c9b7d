"""Records of a log: one that was read, many that were read as columns, and one to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

# Names and values of one record's headers, in order. None: they are not well-formed, or beyond the bounds below.
Headers = Sequence[tuple[str, bytes | None]] | None
# Of one record; CloudEvents has four to a dozen attributes, and tracing adds a few. The bytes are those of all names
# and values.
MOST_HEADERS: Final = 100
MOST_HEADER_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Records:
    """Consecutive records of one partition of one log, as columns of equal length. Offsets ascend and may have gaps.

    `log` is the role of the topic ('impressions'); `partition` is the number of the task that folds them, which is that
    of the partition unless a group's layout says otherwise. `timestamps` are Kafka's in ms UTC, -1 for none. `headers`
    are read of topics alone whose mapping wants them.
    """

    log: str
    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers] | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def next_offset(self) -> int:
        """The offset after the last record."""
        return self.offsets[-1] + 1

    def slice(self, start: int, stop: int) -> Records:
        """The records from index `start` up to, not including, `stop`."""
        part = slice(start, stop)
        headers = self.headers[part] if self.headers is not None else None
        columns = self.offsets[part], self.timestamps[part], self.keys[part], self.values[part], headers
        return Records(self.log, self.partition, *columns)


class Out(NamedTuple):
    """One record to write. `topic` is the role of its topic. Without a `partition`, murmur2 of the key decides."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a log. `record_ts_ms` is Kafka's timestamp, -1 for none. `headers` are read where wanted."""

    offset: int
    record_ts_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = None

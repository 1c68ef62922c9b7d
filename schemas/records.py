"""Records of a log: one that was read, many that were read as columns, and one to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Records:
    """Consecutive records of one partition of one log, as columns of equal length. Offsets ascend and may have gaps.

    `log` is the role of the topic ('impressions'); `partition` is the number of the task that folds them, which is that
    of the partition unless a group's layout says otherwise. `timestamps` are Kafka's in ms UTC, -1 for none.
    """

    log: str
    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def next_offset(self) -> int:
        """The offset after the last record."""
        return self.offsets[-1] + 1

    def slice(self, start: int, stop: int) -> Records:
        """The records from index `start` up to, not including, `stop`."""
        part = slice(start, stop)
        return Records(
            self.log, self.partition, self.offsets[part], self.timestamps[part], self.keys[part], self.values[part]
        )


class Out(NamedTuple):
    """One record to write. `topic` is the role of its topic. Without a `partition`, murmur2 of the key decides."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a log. `record_ts_ms` is Kafka's timestamp, -1 for none."""

    offset: int
    record_ts_ms: int
    key: bytes | None
    value: bytes | None

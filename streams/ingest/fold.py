"""Ingest as a fold: one partition of a source in; impressions, clicks and dead letters out.

It keeps nothing but its place. What a record becomes follows from the record and the mapping alone, so a replay up to
the committed offset maps nothing, and whoever goes on there goes on exactly.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import repeat
from typing import Final

import msgspec

from schemas.codec import decode, encode
from schemas.errors import StateMismatch
from schemas.frame import Frame
from schemas.records import Out, Records
from schemas.rejects import rejected
from streams.engine.fold import Fold
from streams.ingest.source import Source

_FRAME: Final = Frame(magic=b"clickfold ingest", format=b" 1")


class IngestMark(msgspec.Struct, frozen=True):
    """Commit metadata of ingest: the next offset, and the digest of the mapping that was in force before it."""

    next_offset: int
    mapping: str


class IngestFold(Fold):
    """One partition of a source.

    `new_mapping`: records from the committed offset on are mapped by this mapping, although those before it were mapped
    by another. `counts` is counted on, by fate.
    """

    def __init__(
        self, source: Source, *, partition: int, new_mapping: bool = False, counts: Counter[str] | None = None
    ) -> None:
        self._source = source
        self._partition = partition
        self._new_mapping = new_mapping
        self.counts = Counter[str]() if counts is None else counts
        self._next_offset = 0
        # Records below are written.
        self._written_below = 0

    def step(self, records: Records) -> list[Out]:
        """Maps records that were not mapped before."""
        self._next_offset = records.next_offset
        below = bisect_left(records.offsets, self._written_below)
        if below:
            records = records.slice(below, len(records))
        return self._mapped(records) if len(records) else []

    def _mapped(self, records: Records) -> list[Out]:
        taken = self._source.take(records.values, records.headers)
        outs: list[Out] = []
        for log, events in taken.events.items():
            # Without a partition: murmur2 of the key decides, as for the producers of impressions and clicks.
            columns = zip(repeat(log), events.keys, events.values, repeat(None))
            # As Out(*row), which would run a function of Python for each.
            outs += map(tuple.__new__, repeat(Out), columns)
            self.counts[log] += len(events.values)
        for place, refused in taken.refused.items():
            letter = rejected(
                *refused,
                records.values[place],
                topic=self._source.topic,
                partition=self._partition,
                offset=records.offsets[place],
                record_ts_ms=records.timestamps[place],
            )
            outs.append(Out("rejects", None, encode(letter), 0))
        self.counts["rejected"] += len(taken.refused)
        self.counts["others"] += taken.others
        return outs

    def positions(self) -> dict[str, int]:
        """The next offset of the partition."""
        return {self._source.topic: self._next_offset}

    def state_bytes(self) -> int:
        """Nothing is kept."""
        return 0

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:  # noqa: ARG002
        """Takes ownership. The group fences former owners, so no epoch is needed. Raises StateMismatch."""
        if mark is None:
            self._next_offset = offsets[self._source.topic]
        self._written_below = self._next_offset if mark is None else self._checked(mark).next_offset
        return []

    def mark(self) -> bytes:
        """The next offset and the mapping."""
        return encode(IngestMark(max(self._next_offset, self._written_below), self._source.digest))

    def resume(self, mark: bytes) -> None:
        """Nothing is left to decide."""

    def rebuild_offsets(self, mark: bytes) -> dict[str, int]:
        """The committed offset: no record before it is needed."""
        return {self._source.topic: decode(mark, IngestMark).next_offset}

    def rebuild(self, mark: bytes) -> None:
        """Goes on at the committed offset."""
        self._next_offset = decode(mark, IngestMark).next_offset

    def needs_replay(self) -> bool:
        """No record is needed a second time."""
        return False

    def skip_to(self, offsets: Mapping[str, int]) -> None:
        """Goes on at a later offset: the records between were deleted before they were mapped."""
        self._next_offset = offsets[self._source.topic]

    def snapshot(self) -> bytes:
        """The next offset."""
        return _FRAME.wrap(self.mark())

    def restore(self, snapshot: bytes) -> None:
        """Goes on at the offset of a snapshot."""
        found = decode(bytes(_FRAME.unwrap(snapshot, "the checkpoint of ingest")), IngestMark)
        self._next_offset = found.next_offset

    def _checked(self, mark: bytes) -> IngestMark:
        committed = decode(mark, IngestMark)
        if committed.mapping != self._source.digest and not self._new_mapping:
            raise StateMismatch(
                f"{self._source.topic}[{self._partition}] was mapped up to offset {committed.next_offset} by a mapping "
                f"with the digest {committed.mapping}, and {self._source.name} has {self._source.digest}: give the "
                "former mapping, or --new-mapping to map by this one from that offset on; what is written stays"
            )
        return committed

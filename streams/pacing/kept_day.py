"""The counters of a day as they are kept in memory: encoded, and in two parts, because most totals change only one.

A total that is not final changes what is open, of which there is little. To decode and encode all 96 sums for each
would take five times as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from schemas.totals import CampaignTotal
from streams.pacing.counters import NOTHING, DayCounters, Merged, PacedMeasures, measures_of

_encode: Final = msgspec.msgpack.Encoder().encode
# A msgpack array of three, and an empty map.
_THREE, _EMPTY = b"\x93", b"\x80"


class _Parts(msgspec.Struct, array_like=True):
    sums: msgspec.Raw
    folded: msgspec.Raw
    open: msgspec.Raw


class Change(NamedTuple):
    """What a total did to the counters. `before` and `after` are of its quarter and join partition."""

    merged: Merged
    total: CampaignTotal
    before: PacedMeasures = NOTHING
    after: PacedMeasures = NOTHING


class KeptDay:
    """`DayCounters`, encoded. 1 to 2 KB in place of 20."""

    __slots__ = ("_rest", "_sums")

    def __init__(self, body: bytes | memoryview | None = None) -> None:
        """`body` is the msgpack of `DayCounters`; without it nothing is counted. Raises MsgspecError."""
        if body is None:
            self._sums, self._rest = _EMPTY, _EMPTY + _EMPTY
            return
        parts = _parts.decode(body)
        self._sums, self._rest = bytes(parts.sums), bytes(parts.folded) + bytes(parts.open)

    @property
    def body(self) -> bytes:
        """The msgpack of the counters."""
        return _THREE + self._sums + self._rest

    def counters(self) -> DayCounters:
        """The counters; changes of them are not kept."""
        return _days.decode(self.body)

    def merge(self, totals: Iterable[CampaignTotal]) -> list[Change]:
        """Counts totals of this day, see `DayCounters.merge`."""
        # Without the sums of before: what is final now is added to them below.
        counters = _days.decode(_THREE + _EMPTY + self._rest)
        changes = []
        for total in totals:
            before = counters.known(total)
            merged = counters.merge(total)
            changes.append(
                Change(merged, total, before, measures_of(total)) if merged is Merged.CHANGED else Change(merged, total)
            )
        if any(change.merged is Merged.CHANGED for change in changes):
            self._rest = _encode(counters.folded) + _encode(counters.open)
            if counters.sums:
                sums = _sums.decode(self._sums)
                for index, measures in counters.sums.items():
                    sums[index] = sums.get(index, NOTHING) + measures
                self._sums = _encode(sums)
        return changes


_parts: Final = msgspec.msgpack.Decoder(_Parts)
_days: Final = msgspec.msgpack.Decoder(DayCounters)
_sums: Final = msgspec.msgpack.Decoder(dict[int, PacedMeasures])

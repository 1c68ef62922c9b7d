"""What a campaign showed and spent: totals merged by version, exact whatever comes twice, late or out of order.

One `DayCounters` holds one UTC day of one campaign. Each (quarter-hour, join partition) is kept with its version until
its final total is here; then it is added to its quarter's sum and one bit remembers that. A bit, and not a bound below
which everything counts as folded: a bound would have to trust that no final total overtakes an earlier quarter of the
same partition, and a quarter that never becomes final would hold it back for good. Quarters keep their own sums, so a
local day is exact in any time zone, also when the zone of a campaign changes afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

import msgspec

from schemas.topics import DAY_MS
from schemas.totals import QUARTER_MS, CampaignTotal

QUARTERS: Final = DAY_MS // QUARTER_MS
_BITSET_BYTES: Final = QUARTERS // 8


class Measures(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What pacing needs of a total; sums of them are sums of each field.

    `clicks` and `spend_micros` by click minute. `expected_spend_micros` and `attributed_spend_micros` by impression
    minute: their difference, while a quarter is open, is spend that may still come.
    """

    impressions: int = 0
    clicks: int = 0
    spend_micros: int = 0
    expected_spend_micros: int = 0
    attributed_spend_micros: int = 0

    def __add__(self, other: Measures) -> Measures:
        return Measures(
            self.impressions + other.impressions,
            self.clicks + other.clicks,
            self.spend_micros + other.spend_micros,
            self.expected_spend_micros + other.expected_spend_micros,
            self.attributed_spend_micros + other.attributed_spend_micros,
        )


NOTHING: Final = Measures()


def measures_of(total: CampaignTotal) -> Measures:
    """The fields of a total that pacing counts."""
    return Measures(
        total.impressions,
        total.clicks,
        total.spend_micros,
        total.expected_spend_micros,
        total.attributed_spend_micros,
    )


class Merged(Enum):
    """What a total did to the counters."""

    CHANGED = "changed"
    # Its version, or a higher one, is counted already.
    KNOWN = "known"
    # Its final total is counted already. A duplicate, or a newer version of what was said to be final: not telling
    # which is the price of forgetting versions; neither changes anything.
    FOLDED = "folded"


class Versioned(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The highest version so far of one (quarter, join partition)."""

    version: int
    measures: Measures


class DayCounters(msgspec.Struct, array_like=True):
    """One UTC day of one campaign. Quarters are numbered 0 to 95 from UTC midnight.

    `sums`: by quarter, what is folded. `folded`: by join partition, one bit a quarter. `open`: by quarter and join
    partition, what is not final yet.
    """

    sums: dict[int, Measures] = msgspec.field(default_factory=dict)
    folded: dict[int, bytes] = msgspec.field(default_factory=dict)
    open: dict[int, dict[int, Versioned]] = msgspec.field(default_factory=dict)

    def merge(self, total: CampaignTotal) -> Merged:
        """Counts in a total of this day. Commutative and idempotent, as a key's final version is its highest."""
        index = quarter_index(total.quarter)
        partition = total.join_partition
        bits = int.from_bytes(self.folded.get(partition, b""), "little")
        if bits >> index & 1:
            return Merged.FOLDED
        opened = self.open.get(index, {})
        known = opened.get(partition)
        if known is not None and known.version >= total.version:
            return Merged.KNOWN
        if not total.final:
            self.open.setdefault(index, opened)[partition] = Versioned(total.version, measures_of(total))
            return Merged.CHANGED
        opened.pop(partition, None)
        if not opened:
            self.open.pop(index, None)
        self.sums[index] = self.sums.get(index, NOTHING) + measures_of(total)
        self.folded[partition] = (bits | 1 << index).to_bytes(_BITSET_BYTES, "little")
        return Merged.CHANGED

    def quarters(self) -> Iterator[tuple[int, Measures]]:
        """Number and sum over all join partitions of each quarter anything was said about, ascending."""
        for index in sorted(self.sums.keys() | self.open.keys()):
            measures = self.sums.get(index, NOTHING)
            for versioned in self.open.get(index, {}).values():
                measures += versioned.measures
            yield index, measures

    def in_flight_micros(self, index: int) -> int:
        """Expected spend of the quarter's impressions whose clicks may still come, less what came; never negative."""
        opened = self.open.get(index, {}).values()
        expected = sum(v.measures.expected_spend_micros for v in opened)
        return max(0, expected - sum(v.measures.attributed_spend_micros for v in opened))


def utc_day(quarter_ms: int) -> int:
    """Number of the UTC day since 1970 that a quarter-hour lies in."""
    return quarter_ms // DAY_MS


def quarter_index(quarter_ms: int) -> int:
    """Number of a quarter-hour within its UTC day, 0 to 95."""
    return quarter_ms % DAY_MS // QUARTER_MS

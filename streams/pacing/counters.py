"""What a campaign showed and spent: totals merged by version, exact also for totals that come twice, late or unordered.

One `DayCounters` holds one UTC day of one campaign. Each (quarter-hour, join partition) is kept with its version until
its final total arrives. Then the total is added to the sum of its quarter, and one bit remembers that it was. There is
a bit for each, and not one bound below which everything counts as added: such a bound would be wrong when a final total
overtakes an earlier quarter of the same partition, and a quarter that never becomes final would hold it back for good.
Quarters keep their own sums, so a local day is exact in any time zone, also when a campaign changes its zone later.
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


class PacedMeasures(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The measures of a total that pacing needs, or sums of them field by field.

    `clicks` and `spend_micros` are by click minute, the others by impression minute. The last two are 0 in rows that
    version 0.1 wrote.
    """

    impressions: int = 0
    clicks: int = 0
    spend_micros: int = 0
    expected_spend_micros: int = 0
    attributed_spend_micros: int = 0
    expected_clicks_nano: int = 0
    attributed_clicks: int = 0

    def __add__(self, other: PacedMeasures) -> PacedMeasures:
        return PacedMeasures(
            self.impressions + other.impressions,
            self.clicks + other.clicks,
            self.spend_micros + other.spend_micros,
            self.expected_spend_micros + other.expected_spend_micros,
            self.attributed_spend_micros + other.attributed_spend_micros,
            self.expected_clicks_nano + other.expected_clicks_nano,
            self.attributed_clicks + other.attributed_clicks,
        )


NOTHING: Final = PacedMeasures()


def measures_of(total: CampaignTotal) -> PacedMeasures:
    """The measures of a total that pacing needs."""
    return PacedMeasures(
        total.impressions,
        total.clicks,
        total.spend_micros,
        total.expected_spend_micros,
        total.attributed_spend_micros,
        total.expected_clicks_nano,
        total.attributed_clicks,
    )


class Merged(Enum):
    """What a total did to the counters."""

    CHANGED = "changed"
    # This version, or a higher one, is counted already.
    KNOWN = "known"
    # The final total of this quarter and join partition is counted already. This one is a copy of it, or a newer
    # version of what was said to be final: versions are forgotten by then, so the two look alike. Neither is counted.
    FOLDED = "folded"


class Versioned(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The highest version so far of one (quarter, join partition)."""

    version: int
    measures: PacedMeasures


class DayCounters(msgspec.Struct, array_like=True):
    """One UTC day of one campaign. Quarters are numbered 0 to 95 from UTC midnight.

    `sums`: by quarter, the sum of all final totals. `folded`: by join partition, a bit for each quarter whose final
    total is in the sum. `open`: by quarter and join partition, totals that are not final yet.
    """

    sums: dict[int, PacedMeasures] = msgspec.field(default_factory=dict)
    folded: dict[int, bytes] = msgspec.field(default_factory=dict)
    open: dict[int, dict[int, Versioned]] = msgspec.field(default_factory=dict)

    def known(self, total: CampaignTotal) -> PacedMeasures:
        """What is counted now of the total's quarter and join partition, unless its final total is."""
        known = self.open.get(quarter_index(total.quarter), {}).get(total.join_partition)
        return NOTHING if known is None else known.measures

    def merge(self, total: CampaignTotal) -> Merged:
        """Counts a total of this day. Commutative and idempotent, because the final version of a key is its highest."""
        index = quarter_index(total.quarter)
        partition = total.join_partition
        bits = int.from_bytes(self.folded.get(partition, b""), "little")
        if bits >> index & 1:
            return Merged.FOLDED
        open_totals = self.open.get(index, {})
        before = open_totals.get(partition)
        if before is not None and before.version >= total.version:
            return Merged.KNOWN
        if not total.final:
            self.open.setdefault(index, open_totals)[partition] = Versioned(total.version, measures_of(total))
            return Merged.CHANGED
        open_totals.pop(partition, None)
        if not open_totals:
            self.open.pop(index, None)
        self.sums[index] = self.sums.get(index, NOTHING) + measures_of(total)
        self.folded[partition] = (bits | 1 << index).to_bytes(_BITSET_BYTES, "little")
        return Merged.CHANGED

    def quarters(self) -> Iterator[tuple[int, PacedMeasures]]:
        """Number of each quarter that has a total, ascending, with its sum over all join partitions."""
        for index in sorted(self.sums.keys() | self.open.keys()):
            measures = self.sums.get(index, NOTHING)
            for versioned in self.open.get(index, {}).values():
                measures += versioned.measures
            yield index, measures


def utc_day(quarter_ms: int) -> int:
    """Number of the UTC day of a quarter-hour, counted from 1970."""
    return quarter_ms // DAY_MS


def quarter_index(quarter_ms: int) -> int:
    """Number of a quarter-hour within its UTC day, 0 to 95."""
    return quarter_ms % DAY_MS // QUARTER_MS

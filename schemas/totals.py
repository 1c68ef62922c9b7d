"""Counters that leave the join: absolute, versioned, so that reading one twice or late changes nothing.

A total is always *the total so far* of its key; of two with the same key the higher `version` holds. `final` says that
no accepted record can change it any more; readers follow `version`, never `final`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from schemas.errors import SettingsError

MINUTE_MS: Final = 60_000
QUARTER_MS: Final = 15 * MINUTE_MS

DIMENSIONS: Final = (
    "advertiser_id",
    "campaign_id",
    "creative_id",
    "placement",
    "country",
    "device",
    "experiment",
    "arm",
)
# By the impression's minute, then by the click's minute. Integers only: sums must not depend on batching.
IMPRESSION_MEASURES: Final = (
    "impressions",
    "attributed_clicks",
    "attributed_spend_micros",
    "expected_clicks_nano",
    "expected_spend_micros",
)
CLICK_MEASURES: Final = ("clicks", "repeats", "spend_micros")
MEASURES: Final = IMPRESSION_MEASURES + CLICK_MEASURES


def known_dimensions(names: Sequence[str]) -> tuple[str, ...]:
    """These names, in their order. Raises SettingsError when one is no dimension."""
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown:
        raise SettingsError(f"dimensions {unknown} are not known; choose from {', '.join(DIMENSIONS)}")
    return tuple(names)


class MinuteTotal(msgspec.Struct, frozen=True, gc=False):
    """The total so far of one minute, one combination of dimensions, one join partition.

    A dimension an impression does not carry is the empty string.
    """

    minute: int
    join_partition: int
    version: int
    final: bool
    advertiser_id: str
    campaign_id: str
    creative_id: str
    placement: str
    country: str
    device: str
    experiment: str
    arm: str
    impressions: int
    attributed_clicks: int
    attributed_spend_micros: int
    expected_clicks_nano: int
    expected_spend_micros: int
    clicks: int
    repeats: int
    spend_micros: int


class MinuteTotals(msgspec.Struct, frozen=True, gc=False):
    """Totals so far of one minute and join partition, many at once: record of `ads.totals`, keyed by minute.

    `dimensions` holds a column of names for each of `DIMENSIONS`, `measures` a column of numbers for each of
    `MEASURES`; all have the same length. Packed because there may be as many totals as impressions: one record each
    cost the join 7.3 µs a total, columns cost 0.7 (and the sink inserts columns).
    """

    minute: int
    join_partition: int
    version: int
    final: bool
    dimensions: list[list[str]]
    measures: list[list[int]]

    def rows(self) -> Iterator[MinuteTotal]:
        """The same totals one by one."""
        for names, numbers in zip(zip(*self.dimensions, strict=True), zip(*self.measures, strict=True), strict=True):
            yield MinuteTotal(self.minute, self.join_partition, self.version, self.final, *names, *numbers)


class CampaignTotal(msgspec.Struct, frozen=True, gc=False):
    """The total so far of one campaign, one UTC quarter-hour, one join partition: record of `ads.campaign_totals`.

    Keyed and partitioned by campaign. Quarter-hours, because every time zone's midnight falls on one.
    """

    campaign_id: str
    quarter: int
    join_partition: int
    version: int
    final: bool
    impressions: int
    attributed_clicks: int
    attributed_spend_micros: int
    expected_clicks_nano: int
    expected_spend_micros: int
    clicks: int
    repeats: int
    spend_micros: int


class LogCounts(msgspec.Struct, frozen=True):
    """What became of the records of one input log so far: `consumed = accepted + late + duplicate + rejected`."""

    consumed: int = 0
    accepted: int = 0
    late: int = 0
    duplicate: int = 0
    rejected: int = 0


class Ledger(msgspec.Struct, frozen=True):
    """Conservation counts of one join partition after one commit: record of `ads.ledger`.

    `accepted clicks = billable + repeat + orphan + pending + lost`; `accepted impressions = open + closed + lost`;
    `unclicked` = closed without a billable click, whether or not its outcome was kept. Lost is what `--accept-loss`
    left out: open impressions and pending clicks Kafka no longer had (less than 0: copies of such were taken anew).
    """

    join_partition: int
    version: int
    impressions: LogCounts
    clicks: LogCounts
    open: int
    closed: int
    unclicked: int
    billable: int
    repeat: int
    orphan: int
    pending: int
    impressions_next_offset: int
    clicks_next_offset: int
    impressions_watermark_ms: int
    clicks_watermark_ms: int
    lost_impressions: int = 0
    lost_clicks: int = 0

    def imbalance(self) -> str:
        """The first equation that does not hold, as text; empty when the ledger balances."""
        for name, log in (("impressions", self.impressions), ("clicks", self.clicks)):
            if log.consumed != log.accepted + log.late + log.duplicate + log.rejected:
                return f"{name}: consumed {log.consumed} is not accepted + late + duplicate + rejected of {log}"
        if self.clicks.accepted != self.billable + self.repeat + self.orphan + self.pending + self.lost_clicks:
            return (
                f"accepted clicks {self.clicks.accepted} is not billable + repeat + orphan + pending + lost of {self}"
            )
        if self.impressions.accepted != self.open + self.closed + self.lost_impressions:
            return f"accepted impressions {self.impressions.accepted} are not open, closed and lost of {self}"
        return ""

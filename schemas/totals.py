"""What the join counts, as it is published: absolute and versioned. A total that is read twice or late changes nothing.

A total is always *the total so far* of its key. Of two with the same key the one with the higher `version` is valid.
`final` says that no accepted record can change it any more; readers decide by `version`, never by `final`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from schemas.errors import SettingsError
from schemas.events import EventMs, Impression
from schemas.outcomes import Outcome

MINUTE_MS: Final = 60_000
QUARTER_MS: Final = 15 * MINUTE_MS
HOUR_MS: Final = 60 * MINUTE_MS

# The join counts each combination of their values separately. Every name is a field of Impression and of Outcome.
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
# What is counted: IMPRESSION_MEASURES in the minute of the impression, CLICK_MEASURES in the minute of the click.
# Integers only, because sums must not depend on batching. `streams/join/totals/measures.py` computes them.
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
    """The same names as a tuple. Raises SettingsError for a name that is not in DIMENSIONS."""
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown:
        raise SettingsError(f"dimensions {unknown} are not known; choose from {', '.join(DIMENSIONS)}")
    return tuple(names)


class MinuteTotal(msgspec.Struct, frozen=True, gc=False):
    """The total so far of one minute, one combination of dimensions and one join partition.

    A dimension that an impression does not have is the empty string.
    """

    minute: EventMs
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
    extra: tuple[str, ...] = ()
    """The names in extra dimensions, in the order that was asked for."""


class MinuteTotals(msgspec.Struct, frozen=True, gc=False):
    """Totals so far of one minute and join partition, many at once: what a record of `ads.totals` holds.

    `dimensions` is a column of names for each of `DIMENSIONS`, `measures` a column of numbers for each of `MEASURES`;
    all have the same length. Columns of extra dimensions follow those of `DIMENSIONS`. `schemas.packed` says how they
    are written; until 0.1 they were in JSON as they are here.
    """

    minute: EventMs
    """Start of the minute."""
    join_partition: int
    """Partition of the join that counted. Sum over it."""
    version: int
    """The highest version of a key is valid."""
    final: bool
    """No accepted record can change these totals any more."""
    dimensions: list[list[str]]
    """A column of names for each of `DIMENSIONS`, in their order; empty where the impression has none."""
    measures: list[list[int]]
    """A column of numbers for each of `MEASURES`, in their order."""
    extra_dimensions: list[str] = []
    """The names of the extra dimensions."""

    def rows(self, extra: Sequence[str] | None = None) -> Iterator[MinuteTotal]:
        """The same totals one by one; with `extra`, in these extra dimensions in place of the record's own."""
        wanted = self.extra_dimensions if extra is None else extra
        columns = [*self.dimensions[: len(DIMENSIONS)], *self.extra_columns(wanted)]
        for names, numbers in zip(zip(*columns, strict=True), zip(*self.measures, strict=True), strict=True):
            known, added = names[: len(DIMENSIONS)], names[len(DIMENSIONS) :]
            fields: tuple[Any, ...] = (*known, *numbers, added)
            yield MinuteTotal(self.minute, self.join_partition, self.version, self.final, *fields)

    def extra_columns(self, names: Sequence[str]) -> list[list[str]]:
        """The columns of these extra dimensions; of one that the record does not have, all are empty."""
        found = dict(zip(self.extra_dimensions, self.dimensions[len(DIMENSIONS) :], strict=True))
        return [found.get(name) or [""] * len(self.measures[0]) for name in names]


class CampaignTotal(msgspec.Struct, frozen=True, gc=False):
    """The total so far of one campaign, UTC quarter-hour and join partition: one of a record of `ads.campaign_totals`.

    Until 0.1 each was a record of its own, in JSON.
    """

    campaign_id: str
    """The campaign that pays."""
    quarter: EventMs
    """Start of the quarter-hour."""
    join_partition: int
    """Partition of the join that counted. Sum over it."""
    version: int
    """The highest version of a key is valid."""
    final: bool
    """No accepted record can change this total any more."""
    impressions: int
    """Impressions shown in this quarter."""
    attributed_clicks: int
    """Billable clicks of these impressions, whenever they were clicked."""
    attributed_spend_micros: int
    """Charged for these impressions."""
    expected_clicks_nano: int
    """Billionths: sum of `pctr` over these impressions."""
    expected_spend_micros: int
    """Sum of `price_micros` times `pctr` over these impressions."""
    clicks: int
    """Billable clicks made in this quarter."""
    repeats: int
    """Further clicks on an impression made in this quarter; not billed."""
    spend_micros: int
    """Charged for clicks made in this quarter."""


# Totals are made and read by position, so the fields must follow the tuples above.
assert MinuteTotal.__struct_fields__ == (
    "minute",
    "join_partition",
    "version",
    "final",
    *DIMENSIONS,
    *MEASURES,
    "extra",
)
assert CampaignTotal.__struct_fields__ == ("campaign_id", "quarter", "join_partition", "version", "final", *MEASURES)
assert {*DIMENSIONS} <= {*Impression.__struct_fields__} & {*Outcome.__struct_fields__}


class LogCounts(msgspec.Struct, frozen=True):
    """What became of the records of one input log so far.

    `consumed = accepted + late + duplicate + rejected + held`. `late_by_seal` counts a part of `late`.
    """

    consumed: int = 0
    """Records read."""
    accepted: int = 0
    """Records that were accepted."""
    late: int = 0
    """Records refused because their `ts` is below the watermark of their log."""
    duplicate: int = 0
    """Records equal to one that was accepted before."""
    rejected: int = 0
    """Records refused for any other reason."""
    held: int = 0
    """Records far ahead of their log that wait until later records confirm them."""
    late_by_seal: int = 0
    """Those of `late` that were below the floor of a seal, and not below the watermark their own log had."""


class Ledger(msgspec.Struct, frozen=True):
    """Conservation counts of one join partition after one commit: record of `ads.ledger`.

    `accepted clicks = billable + repeat + orphan + pending + lost`; `accepted impressions = open + closed + lost`;
    `unclicked` = closed without a billable click, whether or not its outcome was kept. `lost` counts what
    `--accept-loss` left out: open impressions and pending clicks that Kafka no longer had (below 0: duplicates of such
    records were accepted again).
    """

    join_partition: int
    """Partition of both inputs."""
    version: int
    """The highest version of a partition is valid."""
    impressions: LogCounts
    """What became of the records of `ads.impressions`."""
    clicks: LogCounts
    """What became of the records of `ads.clicks`."""
    open: int
    """Impressions that may still be clicked."""
    closed: int
    """Impressions no click can match any more."""
    unclicked: int
    """Closed impressions without a billable click."""
    billable: int
    """First clicks matched to an impression."""
    repeat: int
    """Later clicks matched to an impression."""
    orphan: int
    """Clicks whose impression never came."""
    pending: int
    """Clicks whose impression may still come."""
    impressions_next_offset: int
    """First Kafka offset not counted yet."""
    clicks_next_offset: int
    """First Kafka offset not counted yet."""
    impressions_watermark_ms: EventMs
    """An impression with a lower `ts` is late."""
    clicks_watermark_ms: EventMs
    """A click with a lower `ts` is late."""
    lost_impressions: int = 0
    """Open impressions that Kafka no longer had, with `--accept-loss`."""
    lost_clicks: int = 0
    """Pending clicks that Kafka no longer had, with `--accept-loss`."""

    def imbalance(self) -> str:
        """The first equation that is not fulfilled, as text; empty when the ledger balances."""
        for name, log in (("impressions", self.impressions), ("clicks", self.clicks)):
            if log.consumed != log.accepted + log.late + log.duplicate + log.rejected + log.held:
                return f"{name}: consumed {log.consumed} is not accepted + late + duplicate + rejected + held of {log}"
        if self.clicks.accepted != self.billable + self.repeat + self.orphan + self.pending + self.lost_clicks:
            return (
                f"accepted clicks {self.clicks.accepted} is not billable + repeat + orphan + pending + lost of {self}"
            )
        if self.impressions.accepted != self.open + self.closed + self.lost_impressions:
            return f"accepted impressions {self.impressions.accepted} are not open, closed and lost of {self}"
        return ""

"""The fixed sample data of the named queries: two join partitions on 14 November 2023.

Three campaigns have an impression a minute and clicks of every kind. The batch truth gives their outcomes, with half of
the unclicked impressions kept. The local day of k1 begins within the data, at 23:00 UTC, that of k2 at 18:15 UTC.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.bounds import JoinBounds
from schemas.codec import encode
from schemas.events import Campaign, Click, Impression
from schemas.outcomes import Outcome
from schemas.pacing import PacingDecision, PacingState
from schemas.records import Record
from schemas.rejects import Rejected, rejected
from schemas.totals import MEASURES, Ledger, LogCounts, MinuteTotals
from streams.verify.oracle import Truth, truth

# 2023-11-14 22:00 UTC: older than any TTL by event time would allow.
HOUR_MS: Final = 1_699_999_200_000
MINUTE_MS: Final = 60_000
DAY_MS: Final = 1_440 * MINUTE_MS
PARTITIONS: Final = 2
BOUNDS: Final = JoinBounds(negative_rate=0.5)


class Plot(NamedTuple):
    """A campaign of the world: one impression a minute, `start` minutes from 22:00 on."""

    campaign_id: str
    advertiser_id: str
    start: int
    impressions: int
    price_micros: int


# The local day of k1 begins at 23:00 UTC, that of k2 at 18:15 UTC. The third has no campaign record.
PLOTS: Final = (
    Plot("k2", "a2", -240, 30, 300_000),
    Plot("k1", "a1", 40, 40, 500_000),
    Plot("50%'s", "", 110, 20, 150_000),
)
CAMPAIGNS: Final = (
    Campaign("k1", 1_200_000, "Europe/Berlin", "active", "even", 3, advertiser_id="a1", currency="EUR"),
    Campaign("k2", 5_000_000, "Asia/Kathmandu", "active", "asap", 1, advertiser_id="a2", currency="NPR"),
)
# Impression by number, ms after it. 32: three clicks, two of them repeats. Users 3, 4: bursts, in the minute 23:10.
CLICKS: Final = (
    *((4, 2_500), (13, 30_000), (16, 61_000), (20, -1_200), (29, 1_500_000)),
    *((32, 900), (32, 1_400), (32, 250_000), (41, 120), (44, 15_000), (48, 40)),
    *((53, 415_000), (58, 112_000), (59, 60_000), (60, 12_000), (61, 8_000), (66, 600_000)),
    *((72, 5_000), (75, 45_000), (88, 2_000)),
)


def impressions() -> list[Impression]:
    """All impressions of the world, by time; the n-th is called i-n."""
    made: list[Impression] = []
    for plot in PLOTS:
        for at in range(plot.impressions):
            number = len(made)
            tested = plot.campaign_id == "k1"
            made.append(
                Impression(
                    impression_id=f"i-{number}",
                    ts=HOUR_MS + (plot.start + at) * MINUTE_MS + 137 * number,
                    campaign_id=plot.campaign_id,
                    creative_id=f"{plot.campaign_id}-r{number % 3}",
                    price_micros=plot.price_micros,
                    advertiser_id=plot.advertiser_id or None,
                    placement=("top", "side", "feed")[number % 3],
                    country=("DE", "NP")[plot.campaign_id == "k2"],
                    device=("mobile", "desktop")[number % 2],
                    user_id=None if number % 10 == 9 else f"user {number % 6}",
                    pctr=(5 + number % 7) / 50,
                    model_version=("m1", "m2")[number % 2],
                    experiment="bids" if tested else None,
                    arm="ab"[number % 2] if tested else None,
                )
            )
    return made


def clicks() -> list[Click]:
    """All clicks of the world, by time: those of `CLICKS`, and two on impressions that never came."""
    shown = impressions()
    made = [Click(f"c-{at}", f"i-{number}", shown[number].ts + delay) for at, (number, delay) in enumerate(CLICKS)]
    lost = [Click(f"c-lost-{at}", f"lost-{at}", HOUR_MS + 55 * MINUTE_MS + at) for at in range(2)]
    return sorted([*made, *lost], key=lambda click: (click.ts, click.click_id))


def logs(partition: int) -> tuple[list[Record], list[Record]]:
    """Both logs of a join partition, with a copy, a late record, a conflict and an invalid record at their ends."""
    shown = [encode(event) for event in impressions() if _partition(event.impression_id) == partition]
    clicked = [encode(event) for event in clicks() if _partition(event.impression_id) == partition]
    if partition == 0:
        shown += [shown[-1], shown[0]]
        clicked += [b"{", clicked[-1]]
    else:
        shown += [shown[-1].replace(b'"price_micros":150000', b'"price_micros":160000')]
    return _log(shown), _log(clicked)


def _partition(impression_id: str) -> int:
    return int(impression_id.rpartition("-")[2]) % PARTITIONS


def _log(values: Sequence[bytes]) -> list[Record]:
    records = []
    for offset, value in enumerate(values):
        key = value.partition(b'"impression_id":"')[2].partition(b'"')[0]
        records.append(Record(offset, -1, key, value))
    return records


@functools.cache
def truths() -> tuple[Truth, ...]:
    """What each join partition must have decided when it has read all, with more to come."""
    return tuple(truth(*logs(at), BOUNDS, partition=at, ended=False) for at in range(PARTITIONS))


def totals_of(expected: Truth, partition: int, *, version: int) -> list[MinuteTotals]:
    """The minute totals of a join partition."""
    made = []
    for key, measures in sorted(expected.totals.items()):
        end_ms = key[0] + MINUTE_MS
        passed = expected.impressions.watermark_ms > end_ms + BOUNDS.skew_ms
        made.append(
            MinuteTotals(
                minute=key[0],
                join_partition=partition,
                version=version,
                final=passed and expected.clicks.watermark_ms > end_ms + BOUNDS.window_ms,
                dimensions=[[name] for name in key[1:]],
                measures=[[measures[name]] for name in MEASURES],
            )
        )
    return made


def ledger_of(expected: Truth, partition: int) -> Ledger:
    """The ledger of a join partition."""
    counts = {name: expected.counts[name] for name in ("open", "closed", "unclicked", "billable", "repeat", "orphan")}
    report = Ledger(
        join_partition=partition,
        version=1,
        impressions=LogCounts(**expected.impressions.counts),
        clicks=LogCounts(**expected.clicks.counts),
        pending=expected.counts["pending"],
        impressions_next_offset=expected.impressions.counts["consumed"],
        clicks_next_offset=expected.clicks.counts["consumed"],
        impressions_watermark_ms=expected.impressions.watermark_ms,
        clicks_watermark_ms=expected.clicks.watermark_ms,
        **counts,
    )
    assert report.imbalance() == ""
    return report


def letters_of(expected: Truth, partition: int) -> list[Rejected]:
    """The dead letters of a join partition."""
    return [
        rejected(
            reason,
            f"the world's {reason} record",
            b"x",
            topic=topic,
            partition=partition,
            offset=offset,
            record_ts_ms=HOUR_MS + 135 * MINUTE_MS,
        )
        for topic, log in (("ads.impressions", expected.impressions), ("ads.clicks", expected.clicks))
        for offset, reason in log.rejects
    ]


def decisions() -> list[PacingDecision]:
    """What pacing decided of k1 every ten minutes of its second day, and once of the campaign without a record."""
    midnight_ms = HOUR_MS + 60 * MINUTE_MS
    budget_micros = CAMPAIGNS[0].daily_budget_micros
    made = []
    for version, at_ms in enumerate(range(midnight_ms + 10 * MINUTE_MS, midnight_ms + 70 * MINUTE_MS, 10 * MINUTE_MS)):
        spent = [click.price_micros or 0 for click in _billed("k1") if midnight_ms <= (click.click_ts or 0) < at_ms]
        plan_micros = budget_micros * (at_ms - midnight_ms) // DAY_MS
        state: PacingState = "exhausted" if sum(spent) >= budget_micros else "ahead"
        admit = 0.0 if state == "exhausted" else 0.25
        made.append(
            PacingDecision(
                *(
                    "k1",
                    version,
                    at_ms,
                    midnight_ms,
                    state,
                    admit,
                    budget_micros,
                    sum(spent),
                    plan_micros,
                    0,
                    len(spent),
                ),
                bid_multiplier=0.9,
                allowance_micros=70_000,
                valid_until_ms=at_ms + 3 * MINUTE_MS,
                safe_admit=admit / 2,
                counted_to_ms=at_ms - 1_000,
                in_flight_micros=20_000,
                reason="the budget is spent" if state == "exhausted" else "near the budget",
            )
        )
    return [*made, PacingDecision("50%'s", 1, HOUR_MS + 125 * MINUTE_MS, HOUR_MS, "unknown", 0.0, 0, 300_000, 0, 16, 2)]


def outcomes() -> list[Outcome]:
    """Every decision, of all join partitions."""
    return [outcome for expected in truths() for outcome in expected.decided()]


def _billed(campaign_id: str) -> list[Outcome]:
    return [outcome for outcome in outcomes() if outcome.kind == "click" and outcome.campaign_id == campaign_id]

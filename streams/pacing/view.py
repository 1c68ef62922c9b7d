"""What a pacing worker knows, as structures: served as JSON, and compared with the oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from schemas.events import Campaign
from schemas.pacing import PacingDecision
from streams.pacing.shard import Shard

FURTHEST: Final = 20
PERCENTILES: Final = (10, 50, 90)


class DayView(msgspec.Struct, frozen=True):
    """The counters of one local day: `day` is the calendar date, `day_start` its midnight in ms UTC."""

    day: str
    day_start: int
    impressions: int
    clicks: int
    spend_micros: int


class CampaignView(msgspec.Struct, frozen=True):
    """A campaign with every day that is kept, ascending. `campaign` is null for one that was not announced or
    was withdrawn; `change` is the number of the last change taken, see `CampaignChange`.
    """

    campaign_id: str
    timezone: str
    campaign: Campaign | None
    decision: PacingDecision | None
    days: list[DayView]
    change: int


class WorkerView(msgspec.Struct, frozen=True):
    """The campaigns that this worker owns, with the last decision on each. Their days are in the view of each campaign.

    `next_offsets`: for each owned partition of `campaign_totals`, the offset below which all is counted; -1 while
    nothing is. `event_lag_ms`: see `EventClock.behind_ms`. `passed_over`: ignored records by reason: undecodable,
    wrong_key, unknown_timezone, off_grid, expired, folded.
    """

    next_offsets: dict[str, int]
    event_lag_ms: int | None
    passed_over: dict[str, int]
    campaigns: dict[str, PacingDecision | None]


def campaign_view(shard: Shard, campaign_id: str) -> CampaignView | None:
    """One campaign; None when nothing is known of it."""
    head = shard.head(campaign_id)
    if head is None:
        return None
    days = [
        DayView(
            day=spend.day.isoformat(),
            day_start=spend.start_ms,
            impressions=spend.measures.impressions,
            clicks=spend.measures.clicks,
            spend_micros=spend.measures.spend_micros,
        )
        for spend in shard.days(campaign_id)
    ]
    timezone = head.campaign.timezone if head.campaign else "UTC"
    return CampaignView(campaign_id, timezone, head.campaign, shard.paced.decision(campaign_id), days, head.change)


def worker_view(shards: Mapping[int, Shard], *, event_lag_ms: int | None, passed_over: Counter[str]) -> WorkerView:
    """All campaigns of these shards."""
    return WorkerView(
        next_offsets={str(partition): shard.position for partition, shard in sorted(shards.items())},
        event_lag_ms=event_lag_ms,
        passed_over=dict(sorted(passed_over.items())),
        campaigns={
            name: shard.paced.decision(name) for shard in shards.values() for name, _ in sorted(shard.campaigns())
        },
    )


class Summary(msgspec.Struct, frozen=True):
    """What metrics say of all campaigns together. Its size does not grow with their number.

    `admit` has percentiles of the shares of campaigns with a budget. `furthest` are the twenty campaigns that are
    furthest from their plans, as parts of their budgets. `counted_behind_ms` is how far what is counted is behind the
    wall clock, where that is known.
    """

    next_offsets: dict[str, int]
    event_lag_ms: int | None
    counted_behind_ms: int | None
    passed_over: dict[str, int]
    states: dict[str, int]
    admit: dict[str, float]
    spend_micros: int
    plan_micros: int
    rows_waiting: int
    furthest: list[tuple[str, float]]


def summary(
    shards: Mapping[int, Shard], *, event_lag_ms: int | None, counted_behind_ms: int | None, passed_over: Counter[str]
) -> Summary:
    """The summary of these shards."""
    paced = [shard.paced for shard in shards.values()]
    states: Counter[str] = Counter()
    for each in paced:
        states.update(each.states())
    shares = np.concatenate([each.shares() for each in paced]) if paced else np.empty(0)
    sums = [each.sums() for each in paced]
    furthest = sorted((one for each in paced for one in each.furthest(FURTHEST)), key=lambda one: -abs(one[1]))
    return Summary(
        next_offsets={str(partition): shard.position for partition, shard in sorted(shards.items())},
        event_lag_ms=event_lag_ms,
        counted_behind_ms=counted_behind_ms,
        passed_over=dict(sorted(passed_over.items())),
        states=dict(states),
        admit={str(at): float(np.percentile(shares, at)) for at in PERCENTILES} if len(shares) else {},
        spend_micros=sum(spend for spend, _ in sums),
        plan_micros=sum(plan for _, plan in sums),
        rows_waiting=sum(shard.unflushed() for shard in shards.values()),
        furthest=furthest[:FURTHEST],
    )

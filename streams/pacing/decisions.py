"""How a decision reaches the ad server: what it is made from, when it is published, its key, and how it is sent.

    campaign (budget, plan, flight) ──┐
    counters of its local day ────────┼─→ decide ─→ differs? ─→ a row of the changelog ─→ publish ─→ `ads.pacing`
    event time ───────────────────────┘

`Shard.tick` decides on every campaign once a tick and keeps what differs from the last published decision. The app
writes that to the changelog first and publishes then, so a restart never publishes a lower version. The topic is
compacted and keyed by campaign: an ad server reads it from the start, keeps the last record of each campaign, and lets
the campaign enter a share `admit` of the auctions. `controller` computes that share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from schemas.codec import encode
from schemas.events import Campaign
from schemas.pacing import PacingDecision
from streams.pacing.controller import admission, plan_micros
from streams.pacing.counters import Spent
from streams.pacing.local_day import LocalDay

ROLE: Final = "pacing"
# A version is the epoch of the partition's owner (seconds since 1970) and a sequence of 20 bits: a decision of a former
# owner is never newer than one of its successor.
_SEQUENCE_BITS: Final = 20
# Digits of `admit`, and the change of it that is worth a record: finer than the noise of a bidder.
_ADMIT_DIGITS: Final = 3
_ADMIT_STEP: Final = 0.01

# Sends records (partition, key, value) to a topic, and returns when Kafka has acknowledged all of them.
Send = Callable[[str, Iterable[tuple[int, bytes, bytes | None]]], Awaitable[None]]


def decide(
    campaign: Campaign | None, campaign_id: str, *, day: LocalDay, spent: Spent, event_ms: int, version: int
) -> PacingDecision:
    """The decision on a campaign at an instant of its local day. Pure. `campaign` is None for an unannounced one."""
    state, admit = admission(campaign, day=day, spent=spent, event_ms=event_ms)
    return PacingDecision(
        campaign_id=campaign_id,
        version=version,
        event_ms=event_ms,
        day_start=day.start_ms,
        state=state,
        admit=round(admit, _ADMIT_DIGITS),
        budget_micros=campaign.daily_budget_micros if campaign else 0,
        spend_micros=spent.measures.spend_micros,
        plan_micros=plan_micros(campaign, day, event_ms) if campaign else 0,
        impressions=spent.measures.impressions,
        clicks=spent.measures.clicks,
    )


def next_version(before: PacingDecision | None, *, epoch: int) -> int:
    """The version of the next decision on a campaign, by the owner of this epoch: above all versions before it."""
    return max(before.version + 1 if before else 0, epoch << _SEQUENCE_BITS)


def differs(before: PacingDecision | None, after: PacingDecision) -> bool:
    """Whether to publish `after`: state, day, budget or counters changed, or admission by at least one hundredth.

    Also when admission has reached 0 or 1, however small the change.
    """
    if before is None:
        return True
    if (before.state, before.day_start, before.budget_micros) != (after.state, after.day_start, after.budget_micros):
        return True
    counters = (before.spend_micros, before.impressions, before.clicks)
    if counters != (after.spend_micros, after.impressions, after.clicks):
        return True
    reached_an_end = before.admit != after.admit and after.admit in (0.0, 1.0)
    return reached_an_end or abs(before.admit - after.admit) >= _ADMIT_STEP


async def publish(decisions: Iterable[tuple[int, PacingDecision]], topic: str, send: Send) -> None:
    """Sends decisions, each with the partition its campaign has in every topic of pacing.

    Returns when all are acknowledged. Call it once the rows that remember them are.
    """
    await send(
        topic, [(partition, decision.campaign_id.encode(), encode(decision)) for partition, decision in decisions]
    )

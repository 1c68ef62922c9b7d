"""How much of the traffic a campaign should take now: proportional control on spend against a plan.

The even plan spends the budget in proportion to the elapsed share of the local day. Admission is 1 while spend is at
or below the plan of now, 0 at or above the plan of now + look-ahead, and a straight line between. So spend is held in
a band behind which there is never more than a look-ahead's worth of budget. Being a function of the present alone, it
has no memory to lose in a crash, does not depend on how often it is asked, and cannot wind up as a law multiplying its
own last answer would. Spend that impressions already shown may still cause counts as spent, because clicks follow with
a delay of up to the attribution window and would otherwise overshoot the budget.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.events import Campaign
from schemas.pacing import PacingDecision, PacingState
from streams.pacing.counters import Measures
from streams.pacing.local_day import LocalDay

# 2 % of a day's budget may be spent before the line is down at 0; shorter makes a click delay of minutes oscillate.
LOOK_AHEAD_MS: Final = 30 * 60_000
# Finer than a bidder's own noise; keeps a decision from changing on every tick.
_ADMIT_DIGITS: Final = 3
_ADMIT_STEP: Final = 0.01


class Spent(NamedTuple):
    """The counters of a campaign's local day, and spend its impressions may still cause."""

    measures: Measures
    in_flight_micros: int = 0


def plan_micros(campaign: Campaign, day: LocalDay, ts_ms: int) -> int:
    """What the plan has spent of the day's budget by then; an instant outside the day counts as its nearer end."""
    if campaign.pacing == "asap":
        return campaign.daily_budget_micros
    elapsed_ms = min(max(ts_ms, day.start_ms), day.end_ms) - day.start_ms
    return campaign.daily_budget_micros * elapsed_ms // (day.end_ms - day.start_ms)


def decide(
    campaign: Campaign | None, campaign_id: str, *, day: LocalDay, spent: Spent, event_ms: int, version: int
) -> PacingDecision:
    """The decision for a campaign at an instant of its local day. Pure; `campaign` is None when nobody announced it."""
    measures = spent.measures
    planned = plan_micros(campaign, day, event_ms) if campaign else 0
    state, admit = _admission(campaign, day=day, spent=spent, event_ms=event_ms)
    return PacingDecision(
        campaign_id=campaign_id,
        version=version,
        event_ms=event_ms,
        day_start=day.start_ms,
        state=state,
        admit=round(admit, _ADMIT_DIGITS),
        budget_micros=campaign.daily_budget_micros if campaign else 0,
        spend_micros=measures.spend_micros,
        plan_micros=planned,
        impressions=measures.impressions,
        clicks=measures.clicks,
    )


def differs(before: PacingDecision | None, after: PacingDecision) -> bool:
    """Whether bidders or readers should be told: state, day, budget, counters, or admission by more than a hair."""
    if before is None:
        return True
    told = (before.state, before.day_start, before.budget_micros, before.spend_micros, before.impressions)
    if told != (after.state, after.day_start, after.budget_micros, after.spend_micros, after.impressions):
        return True
    reached_an_end = before.admit != after.admit and after.admit in (0.0, 1.0)
    return before.clicks != after.clicks or reached_an_end or abs(before.admit - after.admit) >= _ADMIT_STEP


def _admission(campaign: Campaign | None, *, day: LocalDay, spent: Spent, event_ms: int) -> tuple[PacingState, float]:
    if campaign is None:
        return "unknown", 0.0
    if campaign.status == "paused":
        return "paused", 0.0
    before_start = campaign.start is not None and event_ms < campaign.start
    if before_start or (campaign.end is not None and event_ms >= campaign.end):
        return "outside_flight", 0.0
    if spent.measures.spend_micros >= campaign.daily_budget_micros:
        return "exhausted", 0.0
    exposure = spent.measures.spend_micros + spent.in_flight_micros
    now = plan_micros(campaign, day, event_ms)
    ahead = plan_micros(campaign, day, event_ms + LOOK_AHEAD_MS)
    if exposure >= campaign.daily_budget_micros or exposure > max(now, ahead - 1):
        return "ahead", 0.0
    if exposure <= now:
        return ("on_plan" if campaign.pacing == "asap" or exposure == now else "behind"), 1.0
    return "on_plan", (ahead - exposure) / (ahead - now)

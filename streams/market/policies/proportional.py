"""The control law of version 0.1, kept to compare with: a share proportional to spend against a plan.

The even plan spends the budget in proportion to the part of the local day that has passed. Admission is 1 while spend
is at or below the plan of now, 0 at or above the plan of now plus the look-ahead, and a straight line between. So spend
is never more than one look-ahead's worth of budget above the plan. The law depends on the present alone: a crash loses
no memory of it, it gives the same answer however often it is asked, and it cannot wind up, as a law that multiplies its
own last answer would. Spend that impressions already shown may still cause counts as spent, because clicks follow with
a delay of up to the attribution window and would otherwise exceed the budget.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.events import Campaign
from schemas.pacing import PacingState
from streams.pacing.counters import PacedMeasures
from streams.pacing.local_day import LocalDay

# 2 % of a day: the budget of this time may be spent before admission reaches 0. Shorter ones oscillate when clicks are
# delayed by minutes.
LOOK_AHEAD_MS: Final = 30 * 60_000


class Spent(NamedTuple):
    """The counters of a campaign's local day, and the spend that impressions already shown may still cause."""

    measures: PacedMeasures
    in_flight_micros: int = 0


def plan_micros(campaign: Campaign, day: LocalDay, ts_ms: int) -> int:
    """What the plan has spent of the day's budget by then; an instant outside the day counts as its nearer end."""
    if campaign.pacing == "asap":
        return campaign.daily_budget_micros
    elapsed_ms = min(max(ts_ms, day.start_ms), day.end_ms) - day.start_ms
    return campaign.daily_budget_micros * elapsed_ms // (day.end_ms - day.start_ms)


def admission(campaign: Campaign | None, *, day: LocalDay, spent: Spent, event_ms: int) -> tuple[PacingState, float]:
    """State and admission of a campaign at an instant of its local day. `campaign` is None for an unannounced one."""
    if campaign is None:
        return "unknown", 0.0
    if campaign.status == "paused":
        return "paused", 0.0
    before_start = campaign.start is not None and event_ms < campaign.start
    if before_start or (campaign.end is not None and event_ms >= campaign.end):
        return "outside_flight", 0.0
    if spent.measures.spend_micros >= campaign.daily_budget_micros:
        return "exhausted", 0.0
    exposure_micros = spent.measures.spend_micros + spent.in_flight_micros
    now_micros = plan_micros(campaign, day, event_ms)
    ahead_micros = plan_micros(campaign, day, event_ms + LOOK_AHEAD_MS)
    if exposure_micros >= campaign.daily_budget_micros or exposure_micros > max(now_micros, ahead_micros - 1):
        return "ahead", 0.0
    if exposure_micros <= now_micros:
        return ("on_plan" if campaign.pacing == "asap" or exposure_micros == now_micros else "behind"), 1.0
    return "on_plan", (ahead_micros - exposure_micros) / (ahead_micros - now_micros)

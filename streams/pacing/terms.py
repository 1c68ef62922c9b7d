"""What a campaign may spend in one of its local days, and when: what the pacing law is given of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.events import Campaign
from streams.pacing.law import ASAP, EVEN, FLAT
from streams.pacing.local_day import LocalDay
from streams.pacing.open_hours import closed_halves, open_ms

LEAST_MULTIPLIER: Final = 0.05
MOST_MULTIPLIER: Final = 1.0
_PLANS: Final = {"even": EVEN, "flat": FLAT, "asap": ASAP}


class DayTerms(NamedTuple):
    """`budget_micros` may be spent from `start_ms` up to, not including, `end_ms`. A curve comes in place of `plan`.

    `hour_cap_micros` of 0 is no bound; `closed` has a bit for each half-hour of the day without auctions. `is_last`: no
    day of the flight follows. `frequency` is a cap and its period in seconds, 0 without one.
    """

    budget_micros: int
    start_ms: int
    end_ms: int
    day_start_ms: int
    plan: float = EVEN
    curve: Sequence[float] | None = None
    least_multiplier: float = LEAST_MULTIPLIER
    most_multiplier: float = MOST_MULTIPLIER
    is_last: bool = False
    hour_cap_micros: int = 0
    closed: int = 0
    frequency: tuple[int, int] = (0, 0)


def day_terms(campaign: Campaign | None, day: LocalDay, *, spent_before_micros: int = 0) -> DayTerms:
    """The terms of a campaign in a day: its budget from the beginning of the day or the flight to the end of either.

    `spent_before_micros` is what the flight spent before the day; it matters where there is a lifetime budget. None is
    for a campaign that is not announced: like a paused one it may spend nothing.
    """
    if campaign is None:
        return DayTerms(0, day.start_ms, day.end_ms, day.start_ms)
    start_ms = day.start_ms if campaign.start is None else max(day.start_ms, campaign.start)
    end_ms = day.end_ms if campaign.end is None else min(day.end_ms, campaign.end)
    budget_micros = campaign.daily_budget_micros
    if campaign.lifetime_budget_micros is not None:
        left_micros = max(campaign.lifetime_budget_micros - spent_before_micros, 0)
        if campaign.pacing != "asap" and campaign.end is not None and campaign.end > start_ms:
            # An even part of what is left for each moment that is left in which it serves.
            left_ms = open_ms(campaign, start_ms, campaign.end)
            left_micros = left_micros * open_ms(campaign, start_ms, end_ms) // left_ms if left_ms else 0
        budget_micros = min(budget_micros, left_micros)
    return DayTerms(
        budget_micros if campaign.status == "active" else 0,
        start_ms,
        end_ms,
        day.start_ms,
        _PLANS.get(campaign.pacing, EVEN),
        campaign.curve,
        LEAST_MULTIPLIER if campaign.min_bid_multiplier is None else campaign.min_bid_multiplier,
        MOST_MULTIPLIER if campaign.max_bid_multiplier is None else campaign.max_bid_multiplier,
        campaign.end is not None and campaign.end <= day.end_ms,
        campaign.hourly_cap_micros or 0,
        closed_halves(campaign, day),
        (campaign.frequency_cap or 0, campaign.frequency_period_s or 0),
    )

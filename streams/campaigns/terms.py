"""Whether the terms of a campaign agree with each other. Types and bounds of single fields are checked before."""

from __future__ import annotations

from math import isclose, isfinite
from typing import Final

from schemas.dayparts import hours_of_week
from schemas.events import Campaign
from schemas.topics import DAY_MS

CURVE_PARTS: Final = (24, 96)
# Pacing keeps the spend of two months.
_LIFETIME_DAYS: Final = 60


def contradiction_of(campaign: Campaign) -> str | None:
    """What is wrong, in one sentence with the remedy; None where nothing is."""
    start, end = campaign.start, campaign.end
    if start is not None and end is not None and start >= end:
        return f"end is {end}, not after start, {start}; give a later one"
    low = 0.05 if campaign.min_bid_multiplier is None else campaign.min_bid_multiplier
    high = 1.0 if campaign.max_bid_multiplier is None else campaign.max_bid_multiplier
    if low > high:
        return f"min_bid_multiplier is {low}, above max_bid_multiplier, {high}; give a lower one"
    if campaign.lifetime_budget_micros is not None:
        if start is None or end is None:
            return "lifetime_budget_micros needs a flight; give start and end too"
        if end - start > _LIFETIME_DAYS * DAY_MS:
            return f"lifetime_budget_micros needs a flight of at most {_LIFETIME_DAYS} days; give an earlier end"
    return _of_curve(campaign) or _of_dayparts(campaign) or _of_shared_budget(campaign) or _of_frequency(campaign)


def _of_curve(campaign: Campaign) -> str | None:
    curve = campaign.curve
    if (campaign.pacing == "curve") != (curve is not None):
        return "pacing 'curve' and the field curve belong together; give both or neither"
    if curve is None:
        return None
    if len(curve) not in CURVE_PARTS:
        return f"curve has {len(curve)} shares; give 24, one for each hour of the day, or 96"
    negative = next((share for share in curve if not isfinite(share) or share < 0), None)
    if negative is not None:
        return f"curve has a share of {negative}; give shares from 0 on"
    if not isclose(sum(curve), 1.0, abs_tol=1e-6):
        return f"curve sums to {sum(curve):.6g}; give shares of the day's budget that sum to 1"
    return None


def _of_dayparts(campaign: Campaign) -> str | None:
    if campaign.dayparts is not None:
        try:
            hours_of_week(campaign.dayparts)
        except ValueError as error:
            return str(error)
    return None


def _of_shared_budget(campaign: Campaign) -> str | None:
    if (campaign.budget_id is None) != (campaign.shared_budget_micros is None):
        return "budget_id and shared_budget_micros belong together; give both or neither"
    if campaign.priority is not None and campaign.budget_id is None:
        return "priority needs a shared budget; give budget_id and shared_budget_micros too"
    return None


def _of_frequency(campaign: Campaign) -> str | None:
    if (campaign.frequency_cap is None) != (campaign.frequency_period_s is None):
        return "frequency_cap and frequency_period_s belong together; give both or neither"
    return None

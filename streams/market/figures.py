"""Figures of a judged day: how near to its budget each campaign ended, how far over, how near to its plan."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from streams.market.run import Day, Reference
from streams.market.world import Floats

# What is in flight when a budget is cut may be the rest.
_SPENT: Final = 0.95


class Figures(NamedTuple):
    """Of one run. Shares are counts, so that seeds can be pooled."""

    feasible: int
    within_2: int
    within_5: int
    within_click: int
    """Within one click price."""
    over: float
    """The worst campaign: billed above its budget, in click prices."""
    rmse: float
    value: float
    """Clicks a unit of money, against unpaced prices."""
    delivered: float
    """Billed over budget, of feasible campaigns."""
    told_per_s: float
    oracle_rmse: float
    """What chance alone makes of an oracle that knows all rates, shows impressions by plan and ends on the budget."""
    back_on_plan: int
    """Feasible campaigns within 4 % of their budget of the plan at the minute asked for."""
    over_hour: float = 0.0
    """The worst hour of a campaign: billed above the hourly cap, in click prices; 0 without one."""


def click_prices(billed: Floats, clicks: Floats, reference: Reference) -> Floats:
    """What a click cost each campaign on the day; the unpaced price where none came."""
    return np.where(clicks > 0, billed / np.maximum(clicks, 1), reference.prices)


def figures(day: Day, reference: Reference, *, asked_minute: int = 1439) -> Figures:
    """The figures of a day. Campaigns that cannot spend their budget count only for `over`, `value` and decisions."""
    billed, clicks = day.spend.sum(1), day.clicks.sum(1)
    prices = click_prices(billed, clicks, reference)
    # A budget that is cut below what was spent already cannot be kept by anyone.
    kept = day.spent_at_change < _SPENT * day.budgets
    can, off = reference.feasible & kept, np.abs(billed - day.budgets)
    path = np.cumsum(day.spend, 1) / day.budgets[:, None]
    plan = day.plan / day.budgets[:, None]
    apart: Floats = path - plan
    return Figures(
        feasible=int(can.sum()),
        within_2=int((can & (off <= np.maximum(0.02 * day.budgets, prices))).sum()),
        within_5=int((can & (off <= np.maximum(0.05 * day.budgets, prices))).sum()),
        within_click=int((can & (off <= prices)).sum()),
        over=float(((billed - day.budgets) / prices)[kept].max()),
        rmse=float(np.sqrt((apart[can] ** 2).mean(1)).mean()) if can.any() else 0.0,
        # A Poisson process of n clicks that ends on its plan is a bridge: variance u (1 - u) / n, 1 / (6 n) on average.
        oracle_rmse=float(np.sqrt(1 / (6 * np.maximum(clicks[can], 1))).mean()) if can.any() else 0.0,
        value=float((clicks * reference.prices).sum() / max(billed.sum(), 1.0)),
        delivered=float(billed[can].sum() / max(day.budgets[can].sum(), 1.0)),
        told_per_s=day.told / 86_400,
        back_on_plan=int((can & (np.abs(apart[:, asked_minute]) <= 0.04)).sum()),
        over_hour=_over_hour(day, prices),
    )


def _over_hour(day: Day, prices: Floats) -> float:
    if day.hour_caps is None:
        return 0.0
    by_hour = day.spend.reshape(len(day.spend), 24, 60).sum(2)
    return float(((by_hour.max(1) - day.hour_caps) / prices).max())

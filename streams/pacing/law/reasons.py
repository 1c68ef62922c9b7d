"""Why a campaign is admitted as it is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.kernels import pacing_columns as columns

REASONS: Final[Mapping[int, str]] = {
    columns.BY_PLAN: "on plan: the share spends what is left by the plan until the period ends",
    columns.ALL_ADMITTED: "enters every auction: the forecast says that less can be spent than is left",
    columns.NOT_BEGUN: "the period has not begun",
    columns.ENDED: "the period has ended",
    columns.SPENT: "the budget is spent",
    columns.IN_FLIGHT_FULL: "what is still expected costs what is left of the budget, or half a click is left",
    columns.CHANCE: "near the budget: only as much as chance allows",
    columns.BLIND: "totals are behind: a safe share, because spend is reckoned and not seen",
    columns.NO_BUDGET: "there is no budget",
    columns.CLOSED_NOW: "outside the hours in which the campaign serves",
    columns.HOUR_FULL: "the cap of this hour is spent, or what is still expected takes what is left of it",
}

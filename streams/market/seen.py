"""What a policy is told of the market: the market's budgets, and totals as they are seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streams.market.scenario import Scenario
from streams.market.world import Floats
from streams.pacing.law.arrays import Totals


@dataclass(slots=True)
class Budgets:
    """What may be spent between two seconds; policies read it at every tick, because it changes."""

    micros: Floats
    start_s: int
    end_s: int
    asap: bool


class Policy(Protocol):
    """Something that paces: it is asked every `tick_s`, and answers with a table of decisions or None."""

    tick_s: int
    told: int
    """Decisions so far."""

    def begin(self, scenario: Scenario, predicted: Floats) -> None:
        """Comes before all ticks. `predicted` are click rates as they were predicted for each before."""

    def tick(self, now_s: int, budgets: Budgets, totals: Totals) -> Floats | None:
        """Rows of `streams.kernels.auctions.HELD` columns with times in seconds, or None: nothing changed."""

    def plan(self, budgets: Budgets, times_s: Floats) -> Floats:
        """Spend planned by each of the times, of each campaign, as it is planned now."""


def by_clock(budgets: Budgets, times_s: Floats) -> Floats:
    """The plan of policies that spend evenly by the clock."""
    if budgets.asap:
        return np.tile(budgets.micros[:, None], (1, len(times_s)))
    share = np.clip((times_s - budgets.start_s) / (budgets.end_s - budgets.start_s), 0.0, 1.0)
    return budgets.micros[:, None] * share

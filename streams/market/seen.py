"""What a policy is told of the market: the market's budgets, and totals as they are seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from schemas.dayparts import hours_of_week
from streams.market.scenario import DAY_S, Scenario
from streams.market.world import Floats
from streams.pacing.law.arrays import Totals
from streams.pacing.local_day import day_of
from streams.pacing.open_hours import closed_on

_UTC: Final = ZoneInfo("UTC")


@dataclass(slots=True)
class Budgets:
    """What may be spent between two seconds; policies read it at every tick, because it changes."""

    micros: Floats
    start_s: int
    end_s: int
    asap: bool
    hour_caps: Floats | None = None
    """What each campaign may spend in an hour; None: no bound."""
    closed: int = 0
    """A bit for each half-hour of the day in which no campaign serves."""

    @classmethod
    def of(cls, scenario: Scenario, micros: Floats, start_s: int, end_s: int) -> Budgets:
        """The budgets of a day, or of the part of it from `start_s` on."""
        day = day_of(_UTC, start_s * 1_000)
        closed = closed_on(_UTC, hours_of_week(scenario.dayparts), day) if scenario.dayparts else 0
        caps = scenario.hourly_cap * micros if scenario.hourly_cap else None
        return cls(micros, start_s, end_s, scenario.asap, caps, closed)

    def open_minutes(self) -> npt.NDArray[np.bool_]:
        """Which minutes of the day are open."""
        return np.array([not self.closed >> minute // 30 & 1 for minute in range(DAY_S // 60)])


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

"""What policies have in common that know nothing of spend in flight: a table without leases that is never stale."""

from __future__ import annotations

import numpy as np

from streams.kernels.auctions import (
    ADMIT,
    HELD,
    LEASE,
    LEAST_RATE,
    MULTIPLIER,
    SAFE_ADMIT,
    VALID_UNTIL,
    VERSION,
)
from streams.market.scenario import Scenario
from streams.market.seen import Budgets, by_clock
from streams.market.world import Floats
from streams.pacing.law import Totals

# A change that is worth a decision.
_STEP = 0.01


class Plain:
    """Decides by `step` on `admit`, `multiplier` and `least_rate`; a spent budget and a flight not begun close it."""

    tick_s = 4

    def __init__(self) -> None:
        self.told = 0

    def begin(self, scenario: Scenario, predicted: Floats) -> None:  # noqa: ARG002  # some know it
        """All campaigns enter every auction."""
        self.scenario = scenario
        rows = scenario.campaigns
        self.admit, self.multiplier, self.least_rate = np.ones(rows), np.ones(rows), np.zeros(rows)
        self._table = np.zeros((rows, HELD))
        self._table[:, LEASE] = self._table[:, VALID_UNTIL] = np.inf
        self._table[:, VERSION] = -1.0

    def step(self, now_s: int, budgets: Budgets, totals: Totals) -> None:
        """Changes the arrays."""

    def tick(self, now_s: int, budgets: Budgets, totals: Totals) -> Floats | None:
        """The table, where a campaign's row changed by a hundredth."""
        self.step(now_s, budgets, totals)
        is_open = (totals.spend_micros < budgets.micros) & (now_s >= budgets.start_s)
        wanted = np.stack([np.where(is_open, self.admit, 0.0), self.multiplier, self.least_rate], 1)
        held = self._table[:, [ADMIT, MULTIPLIER, LEAST_RATE]]
        changed = (np.abs(wanted - held) >= _STEP * np.maximum(held, _STEP)).any(1)
        changed |= ((wanted[:, 0] == 0) != (held[:, 0] == 0)) | (self._table[:, VERSION] < 0)
        if not changed.any():
            return None
        self.told += int(changed.sum())
        self._table[changed, VERSION] += 1.0
        self._table[np.ix_(changed, [ADMIT, MULTIPLIER, LEAST_RATE])] = wanted[changed]
        self._table[:, SAFE_ADMIT] = self._table[:, ADMIT]
        return self._table

    def plan(self, budgets: Budgets, times_s: Floats) -> Floats:
        """Evenly by the clock."""
        return by_clock(budgets, times_s)


class Rate:
    """Spend of the last quarter-hour, from totals that grow."""

    def __init__(self, rows: int, tick_s: int, span_s: int = 900) -> None:
        self._kept = np.zeros((span_s // tick_s, rows))
        self._span_s = span_s
        self._number = 0

    def a_second(self, spend: Floats) -> Floats:
        """Takes the spend so far; a spend that has begun anew counts from 0."""
        place = self._number % len(self._kept)
        before = self._kept[place].copy()
        self._kept[place] = spend
        self._number += 1
        return np.maximum(spend - np.where(before > spend, 0.0, before), 0.0) / self._span_s

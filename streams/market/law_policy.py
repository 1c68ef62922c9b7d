"""The pacing law in the market, driven as a worker drives it."""

from __future__ import annotations

import numpy as np

from streams.kernels.auctions import HELD
from streams.market.scenario import Scenario
from streams.market.seen import Budgets
from streams.market.world import Floats
from streams.pacing.law import ASAP, EVEN, LawSettings, Pacer, Totals


class LawPolicy:
    """`streams.pacing.law` with a version that grows by one with each decision."""

    tick_s = 4

    def __init__(self, settings: LawSettings) -> None:
        self.told = 0
        self._settings = settings

    def begin(self, scenario: Scenario) -> None:
        """A new pacer that knows nothing."""
        from dataclasses import replace

        self.pacer = Pacer(scenario.campaigns, replace(self._settings, window_s=scenario.window_s))
        self._table = np.zeros((scenario.campaigns, HELD))

    def tick(self, now_s: int, budgets: Budgets, totals: Totals) -> Floats | None:
        """Terms in, decisions out."""
        self._set(budgets)
        made = self.pacer.tick(now_s, totals)
        count = int(made.told.sum())
        if not count:
            return None
        self.told += count
        rows = made.told
        self._table[rows, 0] += 1
        for column, values in enumerate((made.admit, made.bid_multiplier, made.allowance_micros), 1):
            self._table[rows, column] = values[rows]
        self._table[rows, 4], self._table[rows, 5] = made.valid_until_s, made.safe_admit[rows]
        return self._table

    def plan(self, budgets: Budgets, times_s: Floats) -> Floats:
        """The law's own plan."""
        self._set(budgets)
        return self.pacer.planned_micros(times_s)

    def _set(self, budgets: Budgets) -> None:
        terms = self.pacer.terms
        terms.budget_micros[:], terms.start_s[:], terms.end_s[:] = budgets.micros, budgets.start_s, budgets.end_s
        terms.plan[:] = ASAP if budgets.asap else EVEN

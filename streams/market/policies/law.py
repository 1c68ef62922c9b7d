"""The pacing law in the market, driven as a worker drives it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streams.kernels.auctions import ADMIT, HELD, LEASE, SAFE_ADMIT, VALID_UNTIL, VERSION
from streams.market.scenario import DAY_S, Scenario
from streams.market.seen import Budgets
from streams.market.world import Floats
from streams.pacing.law import ASAP, EVEN, LawSettings, Pacer, Totals


class LawPolicy:
    """`streams.pacing.law` with a version that grows by one with each decision."""

    tick_s = 4

    def __init__(self, settings: LawSettings) -> None:
        self.told = 0
        self._settings = settings
        self._budgets: Budgets | None = None

    def begin(self, scenario: Scenario, predicted: Floats) -> None:  # noqa: ARG002  # others know the world
        """A new pacer that knows nothing."""
        self.pacer = Pacer(scenario.campaigns, replace(self._settings, window_s=scenario.window_s))
        self._table = np.zeros((scenario.campaigns, HELD))

    def tick(self, now_s: int, budgets: Budgets, totals: Totals) -> Floats | None:
        """Terms in, decisions out."""
        if budgets is not self._budgets:
            self._set(budgets)
        made = self.pacer.tick(now_s, totals)
        if not made.count:
            return None
        self.told += made.count
        rows = made.told
        self._table[rows, VERSION] += 1
        self._table[rows, ADMIT : LEASE + 1] = made.table[rows, :3]
        self._table[rows, VALID_UNTIL], self._table[rows, SAFE_ADMIT] = made.valid_until_s[rows], made.safe_admit[rows]
        return self._table

    def plan(self, budgets: Budgets, times_s: Floats) -> Floats:
        """The law's own plan."""
        self._set(budgets)
        return self.pacer.planned_micros(times_s)

    def _set(self, budgets: Budgets) -> None:
        terms = self.pacer.terms
        terms.budget_micros[:], terms.start_s[:], terms.end_s[:] = budgets.micros, budgets.start_s, budgets.end_s
        terms.day_start_s[:], terms.closed[:] = budgets.start_s // DAY_S * DAY_S, budgets.closed
        terms.hour_cap_micros[:] = 0.0 if budgets.hour_caps is None else budgets.hour_caps
        self._budgets = budgets
        terms.plan[:] = ASAP if budgets.asap else EVEN

"""Dual descent on bids: the price of a budget goes up where it is spent too fast, and shades bids."""

from __future__ import annotations

import numpy as np

from streams.market.policies.plain import Plain
from streams.market.scenario import Scenario
from streams.market.seen import Budgets
from streams.market.world import Floats
from streams.pacing.law import Totals


class DualDescent(Plain):
    """Balseiro and Gur, "Learning in Repeated Auctions with Budgets" (2019): bid = value / (1 + mu), and
    mu <- max(0, mu - step * (target - spend)), here with spend as a part of the target."""

    _RATE = 0.004
    _MOST = 19.0

    def begin(self, scenario: Scenario, predicted: Floats) -> None:
        """Without a price of budgets."""
        super().begin(scenario, predicted)
        self._price = np.ones(scenario.campaigns)
        self._before = np.zeros(scenario.campaigns)

    def step(self, now_s: int, budgets: Budgets, totals: Totals) -> None:
        """At every tick."""
        spend = totals.spend_micros
        spent = np.where(spend < self._before, spend, spend - self._before)
        self._before = spend.copy()
        if budgets.asap or now_s < budgets.start_s:
            return
        target = budgets.micros / (budgets.end_s - budgets.start_s) * self.tick_s
        self._price = np.clip(self._price - self._RATE * (1 - spent / np.maximum(target, 1e-9)), 0.0, self._MOST)
        self.multiplier = 1 / (1 + self._price)

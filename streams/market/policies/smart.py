"""Smart pacing: the least promising impressions are left out first."""

from __future__ import annotations

import numpy as np

from streams.market.policies.plain import Plain, Rate
from streams.market.scenario import Scenario
from streams.market.seen import Budgets
from streams.market.world import Floats
from streams.pacing.law import Totals


class SmartPacing(Plain):
    """Xu, Lee, Li, Qi, Lu (KDD 2015): layers of predicted click rate, of which the best are open.

    Their layers at 1, one between and the rest at 0 are, with many layers, a threshold. It is moved every minute by
    spend of the last quarter-hour against what is left over the time that is left.
    """

    def begin(self, scenario: Scenario, predicted: Floats) -> None:
        """The distribution of a campaign's predictions is known, as it is after weeks."""
        super().begin(scenario, predicted)
        self._open = np.full(scenario.campaigns, 0.1)
        self._rate = Rate(scenario.campaigns, self.tick_s)
        self._predicted = np.sort(predicted, 1)

    def step(self, now_s: int, budgets: Budgets, totals: Totals) -> None:
        """Once a minute."""
        rate = self._rate.a_second(totals.spend_micros)
        if now_s % 60 >= self.tick_s or now_s < budgets.start_s:
            return
        if budgets.asap:
            self._open[:] = 1.0
        else:
            target = np.maximum(budgets.micros - totals.spend_micros, 0.0) / max(budgets.end_s - now_s, 300)
            ratio = np.clip(target / np.maximum(rate, 1e-9), 0.2, 2.0)
            self._open = np.clip(self._open * ratio**0.05, 0.002, 1.0)
        places = ((1 - self._open) * (self._predicted.shape[1] - 1)).astype(np.int64)
        self.least_rate = np.where(self._open >= 1, 0.0, np.take_along_axis(self._predicted, places[:, None], 1)[:, 0])

"""Ordinary ways to throttle: stop when billed, hourly budgets, a PID controller, LinkedIn's."""

from __future__ import annotations

import numpy as np

from streams.market.policies.plain import Plain, Rate
from streams.market.scenario import DAY_S, HOUR_S, Scenario
from streams.market.seen import Budgets
from streams.market.world import Floats, diurnal
from streams.pacing.law import Totals


class StopWhenBilled(Plain):
    """Every auction until the budget is billed."""


class Hourly(Plain):
    """A 24th of the budget becomes free with each hour."""

    def step(self, now_s: int, budgets: Budgets, totals: Totals) -> None:
        """Closed while the free part is billed."""
        length = budgets.end_s - budgets.start_s
        hours = np.ceil(max(now_s + 1 - budgets.start_s, 0) / HOUR_S) * HOUR_S
        free = budgets.micros * (1.0 if budgets.asap else min(hours / length, 1.0))
        self.admit = np.where(totals.spend_micros < free, 1.0, 0.0)


class Pid(Plain):
    """A PID controller (velocity form) on the rate of spend against what is left over the time that is left."""

    _GAINS = (0.10, 0.02, 0.05)

    def begin(self, scenario: Scenario, predicted: Floats) -> None:
        """Starts with a small share."""
        super().begin(scenario, predicted)
        self.admit[:] = 0.05
        self._rate = Rate(scenario.campaigns, self.tick_s)
        self._errors = np.zeros((2, scenario.campaigns))

    def step(self, now_s: int, budgets: Budgets, totals: Totals) -> None:
        """Once a minute."""
        rate = self._rate.a_second(totals.spend_micros)
        if now_s % 60 >= self.tick_s or now_s < budgets.start_s:
            return
        if budgets.asap:
            self.admit[:] = 1.0
            return
        target = np.maximum(budgets.micros - totals.spend_micros, 0.0) / max(budgets.end_s - now_s, 300)
        error = np.clip((target - rate) / np.maximum(target, 1e-9), -2.0, 1.0)
        proportional, integral, derivative = self._GAINS
        last, before = self._errors
        change = proportional * (error - last) + integral * error + derivative * (error - 2 * last + before)
        self._errors = np.stack([error, last])
        self.admit = np.clip(self.admit + np.maximum(self.admit, 0.02) * change, 0.0, 1.0)


class LinkedIn(Plain):
    """Agarwal, Ghosh, Wei, You (KDD 2014): the share goes up or down by a tenth, by spend against forecast traffic."""

    _STEP = 0.1

    def begin(self, scenario: Scenario, predicted: Floats) -> None:
        """The forecast is the market's mean day, as one has it after weeks."""
        super().begin(scenario, predicted)
        self.admit[:] = 0.1
        self._traffic = np.concatenate(([0.0], np.cumsum(diurnal()))) / diurnal().sum()

    def step(self, now_s: int, budgets: Budgets, totals: Totals) -> None:
        """Once a minute."""
        if now_s % 60 >= self.tick_s or now_s < budgets.start_s:
            return
        if budgets.asap:
            self.admit[:] = 1.0
            return
        planned = self.plan(budgets, np.array([float(now_s)]))[:, 0]
        factor = np.where(totals.spend_micros > planned, 1 - self._STEP, 1 + self._STEP)
        self.admit = np.clip(self.admit * factor, 0.005, 1.0)

    def plan(self, budgets: Budgets, times_s: Floats) -> Floats:
        """By forecast traffic."""
        if budgets.asap:
            return super().plan(budgets, times_s)

        def passed(at_s: Floats) -> Floats:
            return np.asarray(np.interp(at_s - (budgets.end_s - DAY_S), np.arange(1441) * 60.0, self._traffic))

        begun = float(passed(np.array([float(budgets.start_s)]))[0])
        return np.asarray(budgets.micros[:, None] * np.clip((passed(times_s) - begun) / (1 - begun), 0.0, 1.0))

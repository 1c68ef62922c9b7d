"""How traffic spreads over the week: learnt for all campaigns by day of week, and for each by quarter-hour beside that.

A campaign's value (expected spend) of a quarter-hour over the full seconds in which it was open says how dense its
traffic was. Each estimate is shrunk to the coarser one, as in Stein's method, with a prior of some seconds of traffic:
by day of week to all days, all days to uniform, a campaign to all campaigns. So a cold start is uniform.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streams.kernels.pacing_columns import QUARTER_FULL, QUARTER_VALUE
from streams.pacing.law.arrays import Floats

QUARTERS: Final = 96
WEEK: Final = 7 * QUARTERS
_PRIOR_S: Final = 450.0
_POOLED_PRIOR_S: Final = 900.0
# A day's measurement counts half on the next day of the same kind.
_KEPT: Final = 0.5


class TrafficShape:
    """`pooled` by quarter-hour of the week and `relative` by campaign and quarter-hour of the day, both of mean 1."""

    def __init__(self, rows: int) -> None:
        self.pooled: Floats = np.ones(WEEK)
        self.relative: npt.NDArray[np.float32] = np.ones((rows, QUARTERS), np.float32)
        self.value: npt.NDArray[np.float32] = np.zeros((rows, QUARTERS), np.float32)
        self.full: npt.NDArray[np.float32] = np.zeros((rows, QUARTERS), np.float32)
        self.week_value: Floats = np.zeros(WEEK)
        self.week_full: Floats = np.zeros(WEEK)

    def fold(self, quarter: int, state: Floats, level: Floats) -> None:
        """Takes the quarter-hour that ended (number since 1970) from the state. `level` is value a full second."""
        value, full = state[:, QUARTER_VALUE], state[:, QUARTER_FULL]
        at = quarter % QUARTERS
        self.value[:, at] = _KEPT * self.value[:, at] + value
        self.full[:, at] = _KEPT * self.full[:, at] + full
        known = level > 0
        at = quarter % WEEK
        self.week_value[at] = _KEPT * self.week_value[at] + (value[known] / level[known]).sum()
        self.week_full[at] = _KEPT * self.week_full[at] + full[known].sum()
        state[:, QUARTER_VALUE] = state[:, QUARTER_FULL] = 0.0

    def learn(self) -> None:
        """Uses what was folded from now on. Called at midnight UTC."""
        if not self.week_full.any():
            return
        week_value, week_full = self.week_value.reshape(7, QUARTERS), self.week_full.reshape(7, QUARTERS)
        value, full = week_value.sum(0), week_full.sum(0)
        prior_s = _POOLED_PRIOR_S
        whole = (value + prior_s * value.sum() / full.sum()) / (full + prior_s)
        whole /= whole.mean()
        level = value.sum() / max(float((full * whole).sum()), 1e-12)
        pooled = (week_value / max(level, 1e-12) + prior_s * whole) / (week_full + prior_s)
        self.pooled = (pooled / pooled.mean()).ravel()
        self._learn_relative(whole)

    def _learn_relative(self, whole: Floats) -> None:
        """Each campaign beside all of them: its value over what it would be by the shape of all, shrunk to 1."""
        own = (self.full * whole).sum(1)
        level = np.where(own > 0, self.value.sum(1) / np.maximum(own, 1e-12), 0.0)
        usual = self.full * whole
        relative = (self.value / np.maximum(level, 1e-12)[:, None] + _PRIOR_S) / (usual + _PRIOR_S)
        relative = 0.25 * np.roll(relative, 1, 1) + 0.5 * relative + 0.25 * np.roll(relative, -1, 1)
        mean = (relative * whole).mean(1, keepdims=True)
        relative = np.where(level[:, None] > 0, relative / np.maximum(mean, 1e-12), 1.0)
        self.relative = np.ascontiguousarray(relative, np.float32)

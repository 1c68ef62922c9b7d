"""How long clicks take, learnt over all campaigns from totals."""

from __future__ import annotations

from math import erf, log, sqrt
from typing import Final

import numpy as np

from streams.kernels.pacing_delays import learn_delays
from streams.pacing.law.arrays import Float32s, Floats

# Before anything is learnt: log-normal with a median of a minute and a half; worth this many clicks.
_PRIOR_MEDIAN_S: Final = 90.0
_PRIOR_SIGMA: Final = 1.5
_PRIOR_CLICKS: Final = 50.0
_BINS: Final = 48
# Ages that are all one are spread over so much.
_MOMENT_S: Final = 0.001
# What was learnt counts half after so many quarter-hours: a week, and then less the more comes.
_KEPT_A_QUARTER: Final = 0.5 ** (1 / 96)


class ClickDelay:
    """`landing[a]` is the share of clicks that have come by age `a` s, of those that come inside the window.

    Counts stand in bins whose edges grow in proportion, because delays spread over four orders of magnitude; within a
    bin ages are uniform.
    """

    def __init__(self, window_s: int) -> None:
        self.edges: Floats = np.concatenate(([0.0], np.geomspace(2.0, float(window_s), _BINS)))
        share = [0.5 * (1 + erf(log(max(age, 1e-9) / _PRIOR_MEDIAN_S) / _PRIOR_SIGMA / sqrt(2))) for age in self.edges]
        self.histogram: Floats = _PRIOR_CLICKS * np.diff(share) / share[-1]
        self._window_s = window_s
        self.landing = self._landing()

    def learn(
        self, clock: Floats, attributed: Floats, clicks_by_minute: Float32s, attributed_before: Floats, state: Floats
    ) -> None:
        """Counts clicks that have come since the last call; see the kernel."""
        learn_delays(
            clock, attributed, clicks_by_minute, self.landing, self.edges, attributed_before, state, self.histogram
        )

    def mean_landed(self, low_s: Floats, high_s: Floats) -> Floats:
        """The mean of `landing` over ages that are spread evenly from the first, or 0, to the second.

        As the kernels reckon it, see `streams.kernels.pacing_hours`.
        """
        low_s, end_s = np.maximum(low_s, 0.0), float(len(self.landing))
        high_s = np.maximum(high_s, low_s + _MOMENT_S)
        passed = np.concatenate(([0.0], np.cumsum(self.landing)))
        areas = [
            np.interp(ages, np.arange(end_s + 1), passed) + np.maximum(ages - end_s, 0.0) * self.landing[-1]
            for ages in (low_s, high_s)
        ]
        return np.asarray((areas[1] - areas[0]) / (high_s - low_s))

    def refresh(self) -> None:
        """Uses what was learnt from now on. Called once a quarter-hour."""
        self.landing = self._landing()
        self.histogram *= _KEPT_A_QUARTER

    def _landing(self) -> Floats:
        came = np.concatenate(([0.0], np.cumsum(self.histogram)))
        return np.asarray(np.interp(np.arange(self._window_s + 1.0), self.edges, came / came[-1]))

"""The arithmetic of a soak: how fast each measured quantity grows after the warm-up, and whether that is too fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# Quantities that must not grow at all. The others may grow by this share of their warm level in an hour.
COUNTS = ("descriptors", "threads")
MOST_GROWTH = 0.05
# Copies that merges leave, deleted after a minute. They are more as tables grow, by the logarithm of their rows, and
# when the machine is busy. Copies that were never deleted would be ten times as many after an hour.
MOST_GROWTH_OF = {"old parts": 1.0}
# Files and heaps fill and are emptied again. So what is compared are the highest and the lowest values of so many spans
# of time, each longer than one filling.
SPANS = 6
# What grows, by steps or steadily, hardly ever falls from a span to a later one: at most in so many of fifteen pairs.
FALLING_PAIRS = 3
# Without this many readings after the warm-up nothing can be said.
FEWEST = 12


@dataclass(frozen=True)
class Trend:
    """How one quantity of one process went. `slope` is per hour: that of its highest or of its lowest values, whichever
    is smaller, as a leak raises both. `level` is the median of the first third.
    """

    who: str
    what: str
    level: float
    last: float
    highest: float
    slope: float
    grows: bool

    @property
    def share(self) -> float:
        """The slope as a share of the level."""
        return self.slope / self.level if self.level else 0.0


def trend(who: str, what: str, readings: Sequence[tuple[float, float]]) -> Trend:
    """The trend of (seconds, value) after the warm-up. Raises ValueError for fewer than `FEWEST`."""
    if len(readings) < FEWEST:
        raise ValueError(f"{who} {what}: {len(readings)} readings after the warm-up; at least {FEWEST} are needed")
    at_h, values = np.array([at_s for at_s, _ in readings]) / 3_600, np.array([value for _, value in readings], float)
    third = len(values) // 3
    first, last = values[:third], values[-third:]
    rises = [_rise(at_h, values, extreme) for extreme in (np.max, np.min)]
    slope, level = min(rise.slope for rise in rises), float(np.median(first))
    if what in COUNTS:
        # A count goes up and down by a few. What leaks raises the lowest value, too.
        grows = bool(last.min() > first.min() and np.median(last) > level)
    else:
        steady = all(rise.falling <= FALLING_PAIRS for rise in rises)
        grows = steady and slope > MOST_GROWTH_OF.get(what, MOST_GROWTH) * level
    return Trend(who, what, level, float(np.median(last)), float(values.max()), slope, grows)


class _Rise(NamedTuple):
    """The median slope of all pairs of spans' extremes (Theil and Sen), and how many pairs fall (Kendall)."""

    slope: float
    falling: int


def _rise(at_h: Floats, values: Floats, extreme: Callable[[Floats], float]) -> _Rise:
    middle = np.array([span.mean() for span in np.array_split(at_h, SPANS)])
    extremes = np.array([extreme(span) for span in np.array_split(values, SPANS)])
    earlier, later = np.triu_indices(SPANS, 1)
    steps = extremes[later] - extremes[earlier]
    return _Rise(float(np.median(steps / (middle[later] - middle[earlier]))), int((steps < 0).sum()))

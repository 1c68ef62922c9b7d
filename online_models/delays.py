"""How long after its impression a click comes, learned from the clicks of the log."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.topics import DAY_MS

# No join waits longer than 31 days for a click, so one day more is enough for everything that waits for one.
LONGEST_WAIT_MS: Final = 32 * DAY_MS
# Each click makes all before it count so much less: a window of about 2,000 clicks, so that a share is known to a
# hundredth.
_KEPT: Final = 1.0 - 1.0 / 2_000.0
# Before the first click: as if so many had come, spread evenly over the logarithm of these delays.
_PRIOR_CLICKS: Final = 2.0
_PRIOR_MS: Final = (1_000, 1_800_000)


def part_of(delay_ms: int) -> int:
    """The part a delay belongs to: four to each power of two, each of whole ms, as in an HDR histogram (G. Tene)."""
    power = max(0, delay_ms.bit_length() - 3)
    return 4 * power + (delay_ms >> power)


def least_of(part: int) -> int:
    """The shortest delay of a part."""
    return part if part < 4 else (4 + part % 4) << (part // 4 - 1)


PARTS: Final = part_of(LONGEST_WAIT_MS) + 1


class Delays:
    """A histogram that forgets. The same delays in the same order give the same draws, to the bit."""

    def __init__(self) -> None:
        self.clicks: NDArray[np.float64] = np.zeros(PARTS)
        first, last = map(part_of, _PRIOR_MS)
        self.clicks[first : last + 1] = _PRIOR_CLICKS / (last + 1 - first)
        self._sums: list[float] = []

    def add(self, delay_ms: int) -> None:
        """A click came so long after its impression."""
        self.clicks *= _KEPT
        self.clicks[part_of(min(max(delay_ms, 0), LONGEST_WAIT_MS))] += 1.0
        self._sums = []

    def take(self, clicks: NDArray[np.float64]) -> None:
        """Takes the clicks of another one."""
        self.clicks = clicks.copy()
        self._sums = []

    def draw(self, share: float) -> int:
        """The delay that this share of clicks, from 0 to below 1, comes before."""
        if not self._sums:
            self._sums = np.cumsum(self.clicks).tolist()
        wanted = share * self._sums[-1]
        part = min(bisect_right(self._sums, wanted), PARTS - 1)
        before = self._sums[part - 1] if part else 0.0
        least, within = least_of(part), (wanted - before) / max(float(self.clicks[part]), 1e-300)
        return min(least + int(within * (least_of(part + 1) - least)), LONGEST_WAIT_MS)

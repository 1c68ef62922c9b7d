"""How far the labels of one join partition are known.

A join that works through a backlog reads impressions ahead of clicks, or decides a partition later than others. So the
latest impression time does not say which clicks have come: the times of the clicks do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.events import MIN_TS_MS

# A lag that was seen fades by 1 ms in so many ms of impression time. A join reads its inputs in turns of half a window
# at most: between two turns it fades by a sixteenth of that, a minute. Faster, negatives would be learned before the
# clicks of their time; slower, a lag that is over would be waited for longer.
_FADES: Final = 16
# Before the first click of a partition: its lag may be any.
_ANY: Final = 2**62


class LabelClock:
    """The time up to which clicks are taken to have come: `reached_ms`. It follows the log alone and never goes back.

    It is the latest click time, or the latest impression time less the *lag*, if that is later. The lag is how far a
    click was behind the latest impression when it came: the greatest, each faded. Where clicks are rare, impressions
    carry the clock on, and where a join is behind with its clicks, they do not carry it past them. Before the first
    click an impression that ended unclicked is all that says something: clicks of its time have come.
    """

    __slots__ = ("_fades_at_ms", "labelled", "latest_ms", "reached_ms")

    def __init__(self) -> None:
        self.latest_ms = self.reached_ms = MIN_TS_MS
        # The lag is gone when impressions have come so far.
        self._fades_at_ms = _ANY
        self.labelled = False

    def shown(self, ts_ms: int) -> None:
        """An impression was shown."""
        if ts_ms > self.latest_ms:
            self.latest_ms = ts_ms
            self._carry()

    def clicked(self, ts_ms: int, clicked_ms: int) -> None:
        """The click on an impression came."""
        self.labelled = True
        self.latest_ms = max(self.latest_ms, ts_ms)
        self.reached_ms = max(self.reached_ms, clicked_ms)
        fades_at_ms = self.latest_ms + _FADES * max(0, self.latest_ms - clicked_ms)
        self._fades_at_ms = fades_at_ms if self._fades_at_ms == _ANY else max(self._fades_at_ms, fades_at_ms)
        self._carry()

    def unclicked(self, ts_ms: int) -> None:
        """An impression ended without a click."""
        self.labelled = True
        self.latest_ms = max(self.latest_ms, ts_ms)
        self.reached_ms = max(self.reached_ms, ts_ms)
        self._carry()

    def _carry(self) -> None:
        lag_ms = max(0, self._fades_at_ms - self.latest_ms) // _FADES
        self.reached_ms = max(self.reached_ms, self.latest_ms - lag_ms)

    def state(self) -> tuple[int, int, int, int]:
        """All of it, for `restore`."""
        return self.latest_ms, self.reached_ms, self._fades_at_ms, self.labelled

    def restore(self, state: Sequence[int]) -> None:
        """Takes what `state` gave."""
        self.latest_ms, self.reached_ms, self._fades_at_ms, labelled = state
        self.labelled = bool(labelled)

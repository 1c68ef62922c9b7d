"""Event time now, told by the totals and carried on by the wall clock."""

from __future__ import annotations

from typing import Final, NamedTuple

# A quarter's first total arrives up to a quarter-hour after its start on a thin feed, plus what the join lags: nearer
# to the wall than this is live, and then the wall itself is the better clock.
LIVE_MS: Final = 30 * 60_000


class Anchor(NamedTuple):
    """The newest quarter-hour a total was seen of, and how far event time was behind the wall then."""

    quarter: int
    lag_ms: int


class EventClock:
    """How far event time is behind the wall: nothing in live work, years in a replay, shrinking while a backlog drains.

    Totals alone would be no clock. They tell the quarter-hour, not the minute, and when every campaign has spent its
    budget there are no impressions, so no totals: time would never reach the midnight that ends this. Before the first
    total it is the wall's time.
    """

    def __init__(self) -> None:
        self.anchor: Anchor | None = None
        self._last_ms = 0

    @property
    def lag_ms(self) -> int:
        """Wall time less event time."""
        return self.anchor.lag_ms if self.anchor else 0

    def seen(self, quarter: int, *, written_ms: int) -> None:
        """A total of that quarter was written to Kafka at `written_ms` (its record timestamp)."""
        if self.anchor is None or quarter > self.anchor.quarter:
            lag_ms = written_ms - quarter
            self._take(Anchor(quarter, 0 if 0 <= lag_ms <= LIVE_MS else lag_ms))

    def resumed(self, anchor: Anchor) -> None:
        """The clock stood at `anchor` when a decision was made before a restart."""
        if self.anchor is None or anchor.quarter > self.anchor.quarter:
            self._take(anchor)

    def now_ms(self, *, wall_ms: int) -> int:
        """Event time; never lower than told before, once there was a total."""
        self._last_ms = max(self._last_ms, wall_ms - self.lag_ms)
        return self._last_ms

    def _take(self, anchor: Anchor) -> None:
        if self.anchor is None:
            self._last_ms = 0  # told by the wall alone
        self.anchor = anchor

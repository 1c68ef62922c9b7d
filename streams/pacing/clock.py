"""Event time now, told by the totals and carried on by the wall clock."""

from __future__ import annotations

from typing import Final

# A quarter's first total arrives up to a quarter-hour after its start on a thin feed, plus what the join lags: nearer
# to the wall than this is live, and then the wall itself is the better clock.
LIVE_MS: Final = 30 * 60_000


class EventClock:
    """How far event time is behind the wall: nothing in live work, years in a replay, shrinking while a backlog drains.

    Totals alone would be no clock. They tell the quarter-hour, not the minute, and when every campaign has spent its
    budget there are no impressions, so no totals: time would never reach the midnight that ends this.
    """

    def __init__(self) -> None:
        self.newest_quarter: int | None = None
        self.lag_ms = 0
        self._last_ms = 0

    def seen(self, quarter: int, *, written_ms: int) -> None:
        """A total of that quarter was written to Kafka at `written_ms` (its record timestamp)."""
        if self.newest_quarter is None:
            # What was told before came from the wall alone.
            self._last_ms = 0
        elif quarter <= self.newest_quarter:
            return
        self.newest_quarter = quarter
        lag_ms = written_ms - quarter
        self.lag_ms = 0 if 0 <= lag_ms <= LIVE_MS else lag_ms

    def resumed(self, *, event_ms: int, lag_ms: int) -> None:
        """A decision was made at `event_ms` with that lag, before a restart."""
        if event_ms > self._last_ms:
            self._last_ms, self.lag_ms = event_ms, lag_ms
            self.newest_quarter = event_ms

    def now_ms(self, *, wall_ms: int) -> int:
        """Event time; never lower than told before."""
        self._last_ms = max(self._last_ms, wall_ms - self.lag_ms)
        return self._last_ms

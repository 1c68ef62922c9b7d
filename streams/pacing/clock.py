"""Event time now: read from the totals, and carried on by the wall clock between them."""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.totals import QUARTER_MS

# With few impressions, the first total of a quarter-hour arrives up to a quarter-hour after its start, plus the lag of
# the join. A total that is at most this old is live, and then the wall clock itself is the better clock.
LIVE_MS: Final = 30 * 60_000


class Anchor(NamedTuple):
    """The newest quarter-hour (ms UTC) of any total so far, and how far event time was behind the wall clock then."""

    quarter: int
    lag_ms: int


class EventClock:
    """How far event time is behind the wall clock: not at all in live work, by years in a replay, less in a backlog.

    Totals alone are not enough for a clock. They give the quarter-hour and not the minute. And once every campaign has
    spent its budget there are no impressions and so no totals: time would never reach midnight, when budgets are
    renewed. Before the first total, event time is the wall clock's.
    """

    def __init__(self) -> None:
        self.anchor: Anchor | None = None
        self._last_ms = 0
        self._newest_written_ms: int | None = None

    @property
    def lag_ms(self) -> int:
        """Wall time minus event time."""
        return self.anchor.lag_ms if self.anchor else 0

    def seen(self, quarter_ms: int, *, written_ms: int) -> None:
        """A total of that quarter-hour was written to Kafka at `written_ms` (the timestamp of its record)."""
        self._newest_written_ms = max(written_ms, self._newest_written_ms or written_ms)
        if self.anchor is None or quarter_ms > self.anchor.quarter:
            lag_ms = written_ms - quarter_ms
            self._take(Anchor(quarter_ms, 0 if 0 <= lag_ms <= LIVE_MS else lag_ms))

    def resumed(self, anchor: Anchor) -> None:
        """Before a restart a decision was made when the clock had this anchor."""
        if self.anchor is None or anchor.quarter > self.anchor.quarter:
            self._take(anchor)

    def now_ms(self, *, wall_ms: int) -> int:
        """Event time. After the first total it never goes back."""
        self._last_ms = max(self._last_ms, wall_ms - self.lag_ms)
        return self._last_ms

    def behind_ms(self, *, wall_ms: int) -> int | None:
        """Wall time minus the event time of the newest total; None before the first.

        It grows while no total comes, although `now_ms` goes on by the wall clock. After a restart it is at least that
        of the end of the newest quarter-hour, until a total comes.
        """
        if self.anchor is None:
            return None
        if self._newest_written_ms is None:
            return max(self.lag_ms, wall_ms - self.anchor.quarter - QUARTER_MS)
        return self.lag_ms + max(0, wall_ms - self._newest_written_ms)

    def _take(self, anchor: Anchor) -> None:
        if self.anchor is None:
            self._last_ms = 0  # until now it was the wall clock's time, which may be years ahead
        self.anchor = anchor

"""Accepted clicks: their ids, to find duplicates, and the clicks that wait for their impression.

Clicks are about a hundredth of the traffic, so plain dicts and heaps are fast enough.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from schemas.bounds import JoinBounds
from schemas.events import Click, Impression

# A click with two ids of 32 characters, with its entries in dict and heap: measured with 100,000 of them.
_CLICK_BYTES = 480


class Clicks:
    """Accepted clicks of one partition that can still matter."""

    def __init__(self, bounds: JoinBounds) -> None:
        self._bounds = bounds
        self._seen: dict[str, Click] = {}
        self._seen_by_ts: list[tuple[int, str]] = []
        # Clicks of one impression id in log order: the first that matches is the billable one.
        self._waiting: dict[str, list[Click]] = {}
        self._waiting_by_ts: list[tuple[int, str, str]] = []
        self.pending = 0

    def __len__(self) -> int:
        return len(self._seen) + self.pending

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return len(self) * _CLICK_BYTES

    def twin(self, click: Click, bound_ms: int) -> Click | None:
        """The accepted click of the same id within the dedupe horizon below `bound_ms`."""
        # Two clicks of one id are accepted only when more than the horizon apart, so the latest decides.
        seen = self._seen.get(click.click_id)
        return seen if seen is not None and seen.ts >= bound_ms - self._bounds.dedupe_ms else None

    def accept(self, click: Click) -> None:
        """Remembers the id."""
        self._seen[click.click_id] = click
        heapq.heappush(self._seen_by_ts, (click.ts, click.click_id))

    def wait(self, click: Click) -> None:
        """Keeps an accepted click until its impression comes, or no impression can match it any more."""
        self._waiting.setdefault(click.impression_id, []).append(click)
        heapq.heappush(self._waiting_by_ts, (click.ts, click.impression_id, click.click_id))
        self.pending += 1

    def awaited(self, impressions: Sequence[Impression]) -> list[int]:
        """The places of those impressions that some click waits for."""
        if not self._waiting:
            return []
        return [place for place, impression in enumerate(impressions) if impression.impression_id in self._waiting]

    def take(self, impression: Impression) -> list[Click]:
        """Removes and returns, in log order, the waiting clicks that this impression matches."""
        waiting = self._waiting.get(impression.impression_id, [])
        taken = [click for click in waiting if matches(impression.ts, click.ts, self._bounds)]
        if taken:
            self._keep(impression.impression_id, [click for click in waiting if click not in taken])
            self.pending -= len(taken)
        return taken

    def orphans_below(self, ts_ms: int, limit: int) -> tuple[list[Click], int]:
        """Removes waiting clicks with `ts < ts_ms`, oldest first, about `limit` of them.

        Returns them and the bound reached: no click below it waits any more.
        """
        orphans: list[Click] = []
        while self._waiting_by_ts and self._waiting_by_ts[0][0] < ts_ms:
            oldest_ms = self._waiting_by_ts[0][0]
            if len(orphans) >= limit and orphans[-1].ts < oldest_ms:
                return orphans, oldest_ms
            _, impression_id, click_id = heapq.heappop(self._waiting_by_ts)
            waiting = self._waiting.get(impression_id, [])
            orphan = next((click for click in waiting if click.click_id == click_id and click.ts == oldest_ms), None)
            if orphan is not None:
                self._keep(impression_id, [click for click in waiting if click is not orphan])
                self.pending -= 1
                orphans.append(orphan)
        return orphans, ts_ms

    def forget_below(self, ts_ms: int) -> None:
        """Drops ids of clicks with `ts < ts_ms`: no acceptable click can be their duplicate."""
        while self._seen_by_ts and self._seen_by_ts[0][0] < ts_ms:
            oldest_ms, click_id = heapq.heappop(self._seen_by_ts)
            seen = self._seen.get(click_id)
            if seen is not None and seen.ts == oldest_ms:
                del self._seen[click_id]

    def snapshot(self) -> tuple[list[Click], list[Click]]:
        """Every click whose id is remembered, and the waiting clicks, in log order within an impression."""
        return list(self._seen.values()), [click for clicks in self._waiting.values() for click in clicks]

    def restore(self, seen: Sequence[Click], waiting: Sequence[Click]) -> None:
        """Takes the state of a snapshot."""
        for click in seen:
            self.accept(click)
        for click in waiting:
            self.wait(click)

    def _keep(self, impression_id: str, clicks: list[Click]) -> None:
        if clicks:
            self._waiting[impression_id] = clicks
        else:
            del self._waiting[impression_id]


def matches(impression_ts: int, click_ts: int, bounds: JoinBounds) -> bool:
    """Whether a click at this time can belong to an impression at that time; both ends count."""
    return -bounds.skew_ms <= click_ts - impression_ts <= bounds.window_ms

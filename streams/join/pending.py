"""Accepted clicks: their ids, to find duplicates, and the clicks that wait for their impression.

Clicks are about a hundredth of the traffic, so plain dicts and heaps are fast enough.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from schemas.bounds import JoinBounds
from schemas.events import Click, Impression
from streams.join.index import Hashes
from streams.join.judge import Fate
from streams.join.seen import Seen, fate_beside

# A click with two ids of 32 characters, with its entries in dict, list and heap: measured with 100,000 of them.
_CLICK_BYTES = 550
# 16,384 buckets: with a thousand clicks waiting, one impression in sixteen is looked at.
_LOW_BITS = np.uint64(0x3FFF)
_hash = xxhash.xxh3_64_intdigest


class Clicks:
    """Clicks of one partition that can still matter: on-time ones as twins of later ones, accepted ones that wait."""

    def __init__(self, bounds: JoinBounds) -> None:
        self._bounds = bounds
        self._seen: Seen[Click] = Seen()
        # Clicks of one impression id in log order: the first that matches is the billable one.
        self._waiting: dict[str, list[Click]] = {}
        self._waiting_by_ts: list[tuple[int, str, str]] = []
        # The hashes of these ids, each with how many ids have it, and how many have the same low bits: most impressions
        # need no more than that.
        self._waiting_hashes: Counter[int] = Counter()
        self._waited: npt.NDArray[np.int32] = np.zeros(int(_LOW_BITS) + 1, np.int32)
        self.pending = 0

    def __len__(self) -> int:
        return len(self._seen) + self.pending

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return len(self) * _CLICK_BYTES

    def judge(self, click: Click) -> Fate:
        """The fate of an on-time click. It is remembered unless it is a duplicate, which would add nothing."""
        fate = fate_beside(click, self._seen.of(click.click_id), self._bounds.dedupe_ms)
        if fate != Fate.DUPLICATE:
            self.remember(click)
        return fate

    def same_id(self, click: Click) -> Iterable[Click]:
        """The remembered clicks with the id of this one."""
        return self._seen.of(click.click_id)

    def remember(self, click: Click) -> None:
        """Later clicks are judged beside this one."""
        self._seen.remember(click.click_id, click)

    def wait(self, click: Click) -> None:
        """Keeps an accepted click until its impression comes, or no impression can match it any more."""
        if click.impression_id not in self._waiting:
            self._expect(click.impression_id, 1)
        self._waiting.setdefault(click.impression_id, []).append(click)
        heapq.heappush(self._waiting_by_ts, (click.ts, click.impression_id, click.click_id))
        self.pending += 1

    def awaited(self, hashes: Hashes) -> list[int]:
        """Which of the impressions with these hashes of their ids some click may wait for; as indexes.

        Two ids may have one hash; `take` compares the ids.
        """
        if not self._waiting:
            return []
        near = np.flatnonzero(self._waited[hashes & _LOW_BITS])
        pairs = zip(near.tolist(), hashes[near].tolist(), strict=True)
        return [index for index, hash_ in pairs if hash_ in self._waiting_hashes]

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
        """Drops ids of clicks with `ts < ts_ms`: no on-time click can be their twin."""
        self._seen.forget_below(ts_ms)

    def snapshot(self) -> tuple[list[Click], list[Click]]:
        """Every click whose id is remembered, and the waiting clicks, in log order within an impression."""
        return self._seen.events(), [click for clicks in self._waiting.values() for click in clicks]

    def restore(self, seen: Sequence[Click], waiting: Sequence[Click]) -> None:
        """Takes the state of a snapshot."""
        for click in seen:
            self.remember(click)
        for click in waiting:
            self.wait(click)

    def _keep(self, impression_id: str, clicks: list[Click]) -> None:
        if clicks:
            self._waiting[impression_id] = clicks
        else:
            del self._waiting[impression_id]
            self._expect(impression_id, -1)

    def _expect(self, impression_id: str, more: int) -> None:
        """One id more that a click waits for, or one less."""
        hash_ = _hash(impression_id.encode())
        self._waited[hash_ & int(_LOW_BITS)] += more
        self._waiting_hashes[hash_] += more
        if not self._waiting_hashes[hash_]:
            del self._waiting_hashes[hash_]


def matches(impression_ts: int, click_ts: int, bounds: JoinBounds) -> bool:
    """Whether a click at this time can belong to an impression at that time; both ends count."""
    return -bounds.skew_ms <= click_ts - impression_ts <= bounds.window_ms

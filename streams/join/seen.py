"""Events whose ids are remembered: a later event of the same id is a duplicate or a conflict beside them.

*Twins* are two on-time records of one log with the same id whose `ts` are at most the dedupe horizon apart. The later
of two in log order is a duplicate if it equals any earlier twin, else a conflict if it has one, else accepted. It makes
no difference whether the earlier twin was accepted itself. So what a record is follows from the records within one
horizon below the watermark, and a replay that begins in the middle of a log comes to the same fates.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

from schemas.events import Click, Impression
from streams.join.judge import Fate

Event = TypeVar("Event", Impression, Click)


class Seen(Generic[Event]):
    """Events by id, oldest forgotten first."""

    def __init__(self) -> None:
        self._by_id: dict[str, list[Event]] = {}
        self._by_ts: list[tuple[int, str]] = []
        # The hashes of the ids, ascending; None when they are to be computed again.
        self._hashes: npt.NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self._by_ts)

    def places(self, hashes: npt.NDArray[np.uint64]) -> list[int]:
        """Which of these hashes are those of remembered ids; as indexes."""
        if not self._by_id:
            return []
        if self._hashes is None:
            made = (xxhash.xxh3_64_intdigest(event_id.encode()) for event_id in self._by_id)
            self._hashes = np.sort(np.fromiter(made, np.uint64, len(self._by_id)))
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        places: list[int] = np.flatnonzero(self._hashes[at] == hashes).tolist()
        return places

    def of(self, event_id: str) -> Iterable[Event]:
        """The remembered events of an id, in log order."""
        return self._by_id.get(event_id, ())

    def remember(self, event_id: str, event: Event) -> None:
        """Adds an event."""
        self._hashes = None
        self._by_id.setdefault(event_id, []).append(event)
        heapq.heappush(self._by_ts, (event.ts, event_id))

    def forget_below(self, ts_ms: int) -> None:
        """Drops events with a lower `ts`: no later record can be their twin."""
        while self._by_ts and self._by_ts[0][0] < ts_ms:
            self._hashes = None
            _, event_id = heapq.heappop(self._by_ts)
            kept = [event for event in self._by_id.get(event_id, ()) if event.ts >= ts_ms]
            if kept:
                self._by_id[event_id] = kept
            else:
                self._by_id.pop(event_id, None)

    def events(self) -> list[Event]:
        """All of them, in log order within an id."""
        return [event for events in self._by_id.values() for event in events]


def fate_beside(event: Event, others: Iterable[Event], dedupe_ms: int) -> Fate:
    """The fate of an on-time event beside earlier ones of its id. Equal fields count, even if the bytes differ."""
    twins = [other for other in others if abs(other.ts - event.ts) <= dedupe_ms]
    if not twins:
        return Fate.ACCEPTED
    return Fate.DUPLICATE if event in twins else Fate.CONFLICT

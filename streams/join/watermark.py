"""The watermark of one log, from that log and its seals alone."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.bounds import NO_BOUND_MS
from schemas.records import Records

Int64s = npt.NDArray[np.int64]


class Floor(NamedTuple):
    """What a seal says of one log: from `next_offset` on, its watermark is at least `floor_ms`.

    Held records up to `confirmed_ms` need no confirmation.
    """

    next_offset: int
    floor_ms: int
    confirmed_ms: int = 0


class Watermark:
    """The bound of one log at its next offset: `max(highest on-time ts - lateness, floors of seals reached)`."""

    def __init__(self, lateness_ms: int) -> None:
        self.lateness_ms = lateness_ms
        self.highest_ms = NO_BOUND_MS + lateness_ms
        self.floor_ms = NO_BOUND_MS
        # Seals not reached yet, as (next offset, floor ms, confirmed ms), ascending.
        self._scheduled: list[Floor] = []

    @property
    def ms(self) -> int:
        """The bound: from here on, a record with a lower `ts` is late."""
        return max(self.highest_ms - self.lateness_ms, self.floor_ms)

    def schedule(self, floors: Iterable[Floor]) -> None:
        """Adds seals. Each holds once its offset is reached."""
        self._scheduled = sorted([*self._scheduled, *floors])

    def next_seal(self, next_offset: int) -> Floor | None:
        """The first seal not reached yet at or below this next offset."""
        return self._scheduled[0] if self._scheduled and self._scheduled[0].next_offset <= next_offset else None

    def reach_seal(self) -> None:
        """The next seal's floor holds."""
        self.floor_ms = max(self.floor_ms, self._scheduled.pop(0).floor_ms)

    def pieces(self, records: Records, also_at: int = 0) -> list[Records]:
        """The records, split at `also_at` and where a seal begins to apply: within a piece the floor is constant."""
        starts = [0]
        for next_offset in sorted({also_at, *(floor.next_offset for floor in self._scheduled)}):
            row = bisect_left(records.offsets, next_offset)
            if starts[-1] < row < len(records):
                starts.append(row)
        return [records.slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(records)], strict=True)]

    def highest_before(self, ts: Int64s) -> Int64s:
        """The highest `ts` before each record of a batch. Late ones may be counted: they are below it anyway."""
        before = np.empty_like(ts)
        before[:1] = self.highest_ms
        before[1:] = np.maximum(np.maximum.accumulate(ts[:-1]), self.highest_ms)
        return before

    def accept(self, ts_ms: int) -> None:
        """Raises the maximum to the `ts` of an on-time record, or to the highest of several."""
        self.highest_ms = max(self.highest_ms, ts_ms)

"""The watermark of one log, from that log and its seals alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.bounds import NO_BOUND_MS
from schemas.records import Records

Int64s = npt.NDArray[np.int64]


class Watermark:
    """The watermark of one log at its next offset: `max(highest accepted ts - lateness, floors of seals reached)`."""

    def __init__(self, lateness_ms: int) -> None:
        self._lateness_ms = lateness_ms
        self.highest_ms = NO_BOUND_MS + lateness_ms
        self.floor_ms = NO_BOUND_MS
        # Seals not reached yet, as (next offset, floor ms), ascending.
        self._scheduled: list[tuple[int, int]] = []

    @property
    def ms(self) -> int:
        """The watermark: a record with a lower `ts` is late from here on."""
        return max(self.highest_ms - self._lateness_ms, self.floor_ms)

    def schedule(self, floors: list[tuple[int, int]], next_offset: int) -> None:
        """Adds seals as (next offset, floor ms). Those up to `next_offset` apply at once, the rest when reached."""
        self._scheduled = sorted([*self._scheduled, *floors])
        self.reach(next_offset)

    def reach(self, next_offset: int) -> None:
        """Moves to this next offset: the floors of seals up to it apply."""
        while self._scheduled and self._scheduled[0][0] <= next_offset:
            self.floor_ms = max(self.floor_ms, self._scheduled.pop(0)[1])

    def pieces(self, records: Records) -> list[Records]:
        """The records, split where a seal begins to apply: within one piece the floor is constant."""
        starts = [0]
        for next_offset, _ in self._scheduled:
            row = int(np.searchsorted(np.asarray(records.offsets), next_offset))
            if starts[-1] < row < len(records):
                starts.append(row)
        return [records.slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(records)], strict=True)]

    def before_each(self, ts: Int64s) -> Int64s:
        """The watermark at each record of a batch, if all that are not late are accepted.

        Exact as long as no refused record is above the maximum before it (`highest_before`). Late records and
        duplicates never are. A conflict may be, and then the caller goes one by one.
        """
        bound: Int64s = np.maximum(self.highest_before(ts) - self._lateness_ms, self.floor_ms)
        return bound

    def highest_before(self, ts: Int64s) -> Int64s:
        """The highest `ts` before each record, counting all of the batch and of the log so far."""
        before = np.empty_like(ts)
        before[:1] = self.highest_ms
        before[1:] = np.maximum(np.maximum.accumulate(ts[:-1]), self.highest_ms)
        return before

    def accept(self, ts_ms: int) -> None:
        """Raises the maximum to an accepted `ts`, or to the highest of several."""
        self.highest_ms = max(self.highest_ms, ts_ms)

"""Where an id's hash was seen: sorted runs of (64-bit hash, position), merged in tiers by a background thread.

Built for appends: a batch becomes a run by one sort, equal-sized runs merge (numpy's stable sort takes two sorted runs
in linear time and releases the GIL). Ordered by arrival, not by time: probing one large run costs a fraction of
probing one per time bucket. What a look-up returns does not depend on when a merge ends.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
# A day at 50,000 impressions a second does not fit 32 bits, and four bytes a row are not worth a moving base.
Positions = npt.NDArray[np.int64]
Run = tuple[Hashes, Positions]

# Below this a merge costs less than handing it to a thread.
SMALL_RUN = 65_536
_MOST_RUNS = 40


class Index:
    """Every position of a hash, over all runs. Positions only grow; those below `base` are forgotten at merges."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="index-merge")
        self._merging: tuple[int, Future[Run]] | None = None

    def add(self, hashes: Hashes, positions: Positions, *, base: int) -> None:
        """One more run; `hashes` ascend. `base` is the lowest position anybody still asks for."""
        if not len(hashes):
            return
        self._runs.append((hashes, positions))
        self._take_merged()
        while self._merging is None and (at := self._next_merge()) is not None:
            older, newer = self._runs[at], self._runs[at + 1]
            if len(older[0]) + len(newer[0]) <= SMALL_RUN:
                self._replace(at, _merge(older, newer, base))
            else:
                self._merging = at, self._pool.submit(_merge, older, newer, base)

    def find(self, hashes: Hashes) -> tuple[npt.NDArray[np.int64], Positions]:
        """All hits, as (index into `hashes`, position), in no order. Ascending `hashes` are found fastest."""
        asked: list[npt.NDArray[np.int64]] = []
        found: list[Positions] = []
        for run_hashes, run_positions in self._runs:
            low = np.searchsorted(run_hashes, hashes)
            # An index behind the end reads the last entry, which then is not equal.
            hit = np.flatnonzero(run_hashes[np.minimum(low, len(run_hashes) - 1)] == hashes)
            while len(hit):
                at = low[hit]
                asked.append(hit)
                found.append(run_positions[at])
                # Ids can be reused and hashes collide: go on to the equal neighbours.
                low[hit] += 1
                hit = hit[at + 1 < len(run_hashes)]
                hit = hit[run_hashes[low[hit]] == hashes[hit]]
        if not asked:
            none = np.empty(0, np.int64)
            return none, none
        return np.concatenate(asked), np.concatenate(found)

    def close(self) -> None:
        """Ends the merge thread."""
        self._pool.shutdown()

    def _next_merge(self) -> int | None:
        """The newest pair of neighbours of which the older is at most twice as long."""
        for at in range(len(self._runs) - 2, -1, -1):
            if len(self._runs[at][0]) <= 2 * len(self._runs[at + 1][0]):
                return at
        return None

    def _take_merged(self) -> None:
        if self._merging is None:
            return
        at, merged = self._merging
        # Runs pile up while a large merge lags, and each makes every look-up slower: past a bound, wait for it.
        if not merged.done() and len(self._runs) < _MOST_RUNS:
            return
        self._replace(at, merged.result())
        self._merging = None

    def _replace(self, at: int, merged: Run) -> None:
        """The run made of two in their place; one that is empty cannot be searched, and goes."""
        self._runs[at : at + 2] = [merged] if len(merged[0]) else []


def _merge(older: Run, newer: Run, base: int) -> Run:
    hashes = np.concatenate((older[0], newer[0]))
    positions = np.concatenate((older[1], newer[1]))
    if len(older[1]) and older[1].min() < base:
        kept = positions >= base
        hashes, positions = hashes[kept], positions[kept]
    order = np.argsort(hashes, kind="stable")
    return hashes[order], positions[order]

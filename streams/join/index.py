"""The positions of each hash of an id: sorted runs of (64-bit hash, position), merged by a background thread.

The index is built for appends: one sort makes a run of a batch, and runs of about equal size are merged (numpy releases
the GIL for that). "Run" means here what it means in a merge sort, not a run of clickfold. Runs are ordered by arrival,
not by event time: to search one large run costs a fraction of searching one run for each span of time. What a look-up
returns does not depend on when a merge ends.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
# 64 bits, because 50,000 impressions a second fill 32 bits in a day. Renumbering would save only four bytes a row.
Positions = npt.NDArray[np.int64]


class Run(NamedTuple):
    """Hashes in ascending order, the position of each, and the highest position."""

    hashes: Hashes
    positions: Positions
    newest: int


# A merge of this many rows or fewer costs less than handing it to a thread.
SMALL_RUN = 65_536
# A merge holds both runs and the merged one: 130 MB at this size. Each further run costs a look-up 0.1 µs a key.
LARGEST_RUN = 1 << 22
# At 0.1 µs a run and key, 40 runs cost 4 µs a key: more than waiting for the merge.
_MOST_RUNS = 40


class Index:
    """Every position of a hash, over all runs. Positions only grow; merges drop those below `base`."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="index-merge")
        self._merging: tuple[int, Future[Run]] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return sum(run.hashes.nbytes + run.positions.nbytes for run in self._runs)

    def add(self, hashes: Hashes, positions: Positions, *, base: int) -> None:
        """Adds a run; `hashes` ascend. `base` is the lowest position that is still in use."""
        if not len(hashes):
            return
        self._runs.append(Run(hashes, positions, int(positions.max())))
        self._take_merged()
        # The largest runs are not merged any more. They are dropped when all their positions are below `base`.
        while self._merging is None and self._runs and self._runs[0].newest < base:
            del self._runs[0]
        while self._merging is None and (older_index := self._next_merge()) is not None:
            older, newer = self._runs[older_index], self._runs[older_index + 1]
            if len(older.hashes) + len(newer.hashes) <= SMALL_RUN:
                self._replace(older_index, _merge(older, newer, base))
            else:
                self._merging = older_index, self._pool.submit(_merge, older, newer, base)

    def load(self, hashes: Hashes, positions: Positions) -> None:
        """Fills an empty index with rows read back from disk, in ascending order of position."""
        for start in range(0, len(hashes), LARGEST_RUN):
            part = hashes[start : start + LARGEST_RUN]
            order = np.argsort(part)
            own = positions[start : start + LARGEST_RUN]
            self._runs.append(Run(part[order], own[order], int(own[-1])))

    def find(self, hashes: Hashes) -> tuple[npt.NDArray[np.int64], Positions]:
        """All hits as (place in `hashes`, position), in no order. Ascending `hashes` are found fastest."""
        places: list[npt.NDArray[np.int64]] = []
        positions: list[Positions] = []
        for run_hashes, run_positions, _ in self._runs:
            low = np.searchsorted(run_hashes, hashes)
            # A place behind the end reads the last entry instead, which is not equal.
            hit = np.flatnonzero(run_hashes[np.minimum(low, len(run_hashes) - 1)] == hashes)
            while len(hit):
                entries = low[hit]
                places.append(hit)
                positions.append(run_positions[entries])
                # An id can be used again and hashes can collide: go on to the equal neighbours.
                low[hit] += 1
                hit = hit[entries + 1 < len(run_hashes)]
                hit = hit[run_hashes[low[hit]] == hashes[hit]]
        if not places:
            none = np.empty(0, np.int64)
            return none, none
        return np.concatenate(places), np.concatenate(positions)

    def close(self) -> None:
        """Ends the merge thread."""
        self._pool.shutdown()

    def _next_merge(self) -> int | None:
        """The index of the older run of the next merge: the newest pair in which it is at most twice as long.

        None if there is no such pair whose merged run is small enough.
        """
        for index in range(len(self._runs) - 2, -1, -1):
            older, newer = len(self._runs[index].hashes), len(self._runs[index + 1].hashes)
            if older <= 2 * newer and older + newer <= LARGEST_RUN:
                return index
        return None

    def _take_merged(self) -> None:
        if self._merging is None:
            return
        older_index, merged = self._merging
        # During a large merge the number of runs grows, and with it the cost of a look-up. Above a bound, wait for the
        # merge.
        if not merged.done() and len(self._runs) < _MOST_RUNS:
            return
        self._replace(older_index, merged.result())
        self._merging = None

    def _replace(self, older_index: int, merged: Run) -> None:
        """Replaces two runs by the merged one, or by none if it is empty: an empty run cannot be searched."""
        self._runs[older_index : older_index + 2] = [merged] if len(merged.hashes) else []


def _merge(older: Run, newer: Run, base: int) -> Run:
    """One run made of two, without positions below `base`. Four times as fast as sorting both, with half the memory."""
    old_hashes, old_positions = _above(older, base)
    new_hashes, new_positions = _above(newer, base)
    places = np.searchsorted(old_hashes, new_hashes) + np.arange(len(new_hashes))
    old = np.ones(len(old_hashes) + len(new_hashes), np.bool_)
    old[places] = False
    hashes, positions = np.empty(len(old), np.uint64), np.empty(len(old), np.int64)
    hashes[places], positions[places] = new_hashes, new_positions
    hashes[old], positions[old] = old_hashes, old_positions
    return Run(hashes, positions, newer.newest)


def _above(run: Run, base: int) -> tuple[Hashes, Positions]:
    hashes, positions, _ = run
    if not len(positions) or positions.min() >= base:
        return hashes, positions
    kept = positions >= base
    return hashes[kept], positions[kept]

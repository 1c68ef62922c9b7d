"""Clicks that wait until a non-click of the same time or later arrives; `learner` says why."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

import numpy as np


class WaitingClicks:
    """Click outcomes as raw bytes, released by impression time and then by offset. About 300 bytes of memory each."""

    column_count: Final = 4

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, bytes]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def hold(self, ts_ms: int, *, offset: int, value: bytes) -> None:
        """Adds a click on an impression of `ts_ms`."""
        heapq.heappush(self._heap, (ts_ms, offset, value))

    def release(self, until_ms: int, *, limit: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Removes clicks on impressions up to and including `until_ms`, at most `limit`; yields offset and bytes."""
        heap = self._heap
        while heap and heap[0][0] <= until_ms and limit != 0:
            _, offset, value = heapq.heappop(heap)
            limit = None if limit is None else limit - 1
            yield offset, value

    def columns(self) -> list[bytes]:
        """Times, offsets and lengths as little-endian 64-bit integers, then all bytes; in order of release."""
        held = sorted(self._heap)
        numbers = ([entry[0] for entry in held], [entry[1] for entry in held], [len(entry[2]) for entry in held])
        return [*(np.array(column, "<i8").tobytes() for column in numbers), b"".join(entry[2] for entry in held)]

    def restore(self, columns: Sequence[bytes]) -> None:
        """Takes `columns`, in place of what is held."""
        times, offsets, lengths = (np.frombuffer(column, "<i8").tolist() for column in columns[:3])
        bounds = pairwise(accumulate(lengths, initial=0))
        values = [columns[3][start:stop] for start, stop in bounds]
        # Columns are sorted by time and offset; a sorted list is a heap.
        self._heap = list(zip(times, offsets, values, strict=True))

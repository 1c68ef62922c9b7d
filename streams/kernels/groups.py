"""Places of equal things in a batch: of times in one span, of hashes that come more than once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.compiled import INT64, inlined, kernel, read, written
from streams.kernels.machine import Int

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


@inlined
def _span_of(time: Int, span: Int, starts: Int, count: Int, at: Int) -> Int:
    """Which of the ascending `starts` is the first that is not below that of the span of a time. `at` is a guess."""
    if at < count and starts[at] <= time and time - starts[at] < span:
        return at
    start = time - time % span
    low, high = np.int64(0), count
    while low < high:
        middle = (low + high) >> 1
        if starts[middle] < start:
            low = middle + 1
        else:
            high = middle
    return low


@kernel(read("i8"), INT64, written("i8"), written("i8"), written("i8"))
def group_times(times: Int64s, span: int, starts: Int64s, ends: Int64s, places: Int64s) -> int:
    """Writes the starts of the spans that have times, ascending, and the places of the times, span by span, those of
    one in order; `ends` says where each span's places end. Returns how many spans there are.

    Times follow each other closely, so nearly every one is in the span of the one before, and costs no division.
    """
    if span < 1 or len(starts) < len(times) or len(ends) < len(times) or len(places) < len(times):
        raise IndexError("a span has no length, or an array is shorter than the times are many")
    count, at = np.int64(0), np.int64(0)
    for number in range(len(times)):
        time = times[number]
        at = _span_of(time, span, starts, count, at)
        if at == count or time < starts[at]:
            for later in range(count, at, -1):
                starts[later] = starts[later - 1]
            starts[at] = time - time % span
            count += 1
    ends[:count] = 0
    for number in range(len(times)):
        at = _span_of(times[number], span, starts, count, at)
        ends[at] += 1
    before = np.int64(0)
    for number in range(count):
        before, ends[number] = before + ends[number], before
    for number in range(len(times)):
        at = _span_of(times[number], span, starts, count, at)
        places[ends[at]] = number
        ends[at] += 1
    return int(count)


@kernel(read("u8"), written("i4"), written("?"))
def find_repeated(hashes: npt.NDArray[np.uint64], slots: Int32s, repeated: npt.NDArray[np.bool_]) -> None:
    """Says of each hash whether it comes more than once. The number of `slots` is a power of two; they are 0 at first.

    Raises IndexError when there are not more slots than hashes.
    """
    mask = len(slots) - 1
    if len(hashes) > mask or len(slots) & mask != 0 or len(repeated) < len(hashes):
        raise IndexError("there are too few slots, or the array is shorter than the hashes are many")
    for number in range(len(hashes)):
        repeated[number] = False
        place = np.int64(hashes[number] & np.uint64(mask))
        while slots[place] != 0:
            earlier = slots[place] - 1
            if earlier < 0 or earlier >= number:
                raise IndexError("the slots were not free")
            if hashes[earlier] == hashes[number]:
                repeated[earlier] = repeated[number] = True
                break
            place = (place + 1) & mask
        if slots[place] == 0:
            slots[place] = number + 1

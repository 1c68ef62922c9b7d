"""Decides whether a decoded record is late, a duplicate, a conflict or accepted, given the earlier ones of its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streams.join.watermark import Watermark

Int64s = npt.NDArray[np.int64]
Fates = npt.NDArray[np.int8]


class Fate(IntEnum):
    """What became of a good record."""

    ACCEPTED = 0
    LATE = 1
    DUPLICATE = 2
    CONFLICT = 3


class Judged(NamedTuple):
    """The fate of each record of a batch, and how many are late only because of a seal."""

    fates: Fates
    late_by_seal: int


def judge(watermark: Watermark, ts: Int64s, suspects: Iterable[int], fate_of: Callable[[int], Fate]) -> Judged:
    """Judges a batch and moves the watermark. Only `suspects`, ascending, can have a twin.

    `fate_of(place)` is called for each suspect that is on time, in order. Every on-time record counts for the
    watermark, whatever its fate, so the bound of each record is known before any of them is looked up.
    """
    if not len(ts):
        return Judged(np.zeros(0, np.int8), 0)
    late_by_order = ts < watermark.highest_before(ts) - watermark.lateness_ms
    late = late_by_order | (ts < watermark.floor_ms)
    fates = np.where(late, Fate.LATE, Fate.ACCEPTED).astype(np.int8)
    for place in suspects:
        if not late[place]:
            fates[place] = fate_of(place)
    # A late record is below the maximum or below the floor: it cannot raise the bound.
    watermark.accept(int(ts.max()))
    return Judged(fates, int(np.count_nonzero(late & ~late_by_order)))

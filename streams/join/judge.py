"""Decides whether a decoded record is late, a duplicate, a conflict or accepted, given the earlier ones of its log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from schemas.events import Click, Impression
from streams.join.watermark import Watermark

Event = TypeVar("Event", Impression, Click)
Int64s = npt.NDArray[np.int64]
Fates = npt.NDArray[np.int8]


class Fate(IntEnum):
    """What became of a good record."""

    ACCEPTED = 0
    LATE = 1
    DUPLICATE = 2
    CONFLICT = 3


def judge_each(
    watermark: Watermark,
    events: Sequence[Event],
    twin_of: Callable[[int, int], Event | None],
    accept: Callable[[int], None],
) -> Fates:
    """The fate of each event, judged one by one as the rules are defined. Moves the watermark.

    `twin_of(place, bound_ms)` finds the accepted event of the same id; `accept(place)` is called for each accepted one.
    """
    fates = np.zeros(len(events), np.int8)
    for place, event in enumerate(events):
        bound_ms = watermark.ms
        if event.ts < bound_ms:
            fates[place] = Fate.LATE
            continue
        fates[place] = fate_beside(event, twin_of(place, bound_ms))
        if fates[place] == Fate.ACCEPTED:
            watermark.accept(event.ts)
            accept(place)
    return fates


def fate_beside(event: Event, twin: Event | None) -> Fate:
    """The fate of an event beside its accepted twin. Duplicates have equal fields, even if their bytes differ."""
    if twin is None:
        return Fate.ACCEPTED
    return Fate.DUPLICATE if twin == event else Fate.CONFLICT


def judge_batch(
    watermark: Watermark,
    events: Sequence[Event],
    ts: Int64s,
    suspects: Sequence[int],
    twin_of: Callable[[int, int], Event | None],
    accept: Callable[[int], None],
) -> Fates | None:
    """A whole batch at once: only `suspects`, ascending, can have a twin. Moves the watermark.

    Returns None, and moves nothing, if a refused record is above the maximum before it. Then the bounds of the records
    after it were computed with a maximum that it must not raise, and the batch has to go one by one.
    """
    bounds = watermark.before_each(ts)
    fates = np.where(ts < bounds, Fate.LATE, Fate.ACCEPTED).astype(np.int8)
    if len(suspects):
        highest = watermark.highest_before(ts)
        for place in suspects:
            if fates[place] == Fate.LATE:
                continue
            fates[place] = fate_beside(events[place], twin_of(place, int(bounds[place])))
            if fates[place] == Fate.ACCEPTED:
                accept(place)
            elif ts[place] > highest[place]:
                return None
    if len(ts):
        # Late and refused records are at or below the maximum of the accepted ones here.
        watermark.accept(int(ts.max()))
    return fates

"""Late, duplicate, conflict or accepted: what a record is beside the earlier ones of its own log."""

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
    """One by one, as the definition has it. `twin_of(at, bound_ms)` finds the accepted twin; moves the watermark."""
    fates = np.zeros(len(events), np.int8)
    for at, event in enumerate(events):
        bound_ms = watermark.ms
        if event.ts < bound_ms:
            fates[at] = Fate.LATE
            continue
        fates[at] = fate_beside(event, twin_of(at, bound_ms))
        if fates[at] == Fate.ACCEPTED:
            watermark.accept(event.ts)
            accept(at)
    return fates


def fate_beside(event: Event, twin: Event | None) -> Fate:
    """Duplicates are equal in all they say, whatever bytes said it."""
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
    """All at once: only `suspects`, ascending, can have a twin. Moves the watermark.

    None, and nothing moved, if a refused record stands above the maximum before it: then the bounds of those behind it
    were computed with a maximum it must not raise, and the batch has to go one by one.
    """
    bounds = watermark.before_each(ts)
    fates = np.where(ts < bounds, Fate.LATE, Fate.ACCEPTED).astype(np.int8)
    if len(suspects):
        highest = watermark.highest_before(ts)
        for at in suspects:
            if fates[at] == Fate.LATE:
                continue
            fates[at] = fate_beside(events[at], twin_of(at, int(bounds[at])))
            if fates[at] == Fate.ACCEPTED:
                accept(at)
            elif ts[at] > highest[at]:
                return None
    if len(ts):
        # Late and refused ones are at or below the maximum of the accepted here.
        watermark.accept(int(ts.max()))
    return fates

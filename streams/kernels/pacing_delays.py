"""How long clicks take: the loop over campaigns that learns it from totals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.compiled import kernel, read, written
from streams.kernels.pacing_columns import (
    CAME_CLICKS,
    FULL_TICKS,
    MINUTE_S,
    QUARTER_S,
    QUARTERS_KEPT,
    SEEN_BEFORE,
    SEEN_TO,
    STATE,
)
from streams.kernels.pacing_hours import landed

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]


@kernel(
    *(read("f8"), read("f8", 2), read("f4", 2), read("f8"), read("f8")),
    *(written("f8", 2), written("f8", 2), written("f8")),
    floats=True,
)
def learn_delays(
    clock: Floats,
    attributed: Floats,
    clicks_by_minute: Float32s,
    landing: Floats,
    edges: Floats,
    attributed_before: Floats,
    state: Floats,
    histogram: Floats,
) -> None:
    """Counts the clicks that came since the last call, and divides each among the ages that it may have.

    Totals say the quarter-hour of a click's impression, and when they show the click, but not its impression. So one
    step of expectation maximisation: of the quarter's impressions each is the one with the probability of its
    expected clicks times that of its age, by what was learnt before (Dempster, Laird and Rubin 1977; in its online form
    Cappé and Moulines 2009).
    """
    minutes, rows = clicks_by_minute.shape[1], len(attributed)
    if (
        len(clock) <= FULL_TICKS
        or min(len(clicks_by_minute), len(attributed_before), len(state)) < rows
        or min(attributed.shape[1], attributed_before.shape[1]) < QUARTERS_KEPT
        or state.shape[1] < STATE
        or len(histogram) + 1 < len(edges)
    ):
        raise IndexError("an array is shorter than the campaigns are many, or has too few columns")
    seen_to, seen_before = clock[SEEN_TO], clock[SEEN_BEFORE]
    if seen_to <= seen_before:
        return
    came = (seen_to + seen_before) / 2
    # After a gap it is not known when they came.
    is_timed = seen_to - seen_before < 45.0
    quarter_now = np.int64(seen_to // QUARTER_S)
    weights = np.zeros(61)
    for row in range(rows):
        for slot in range(QUARTERS_KEPT):
            clicks = attributed[row, slot] - attributed_before[row, slot]
            if clicks < 0.0:
                clicks = attributed[row, slot]  # the slot has a new quarter
            attributed_before[row, slot] = attributed[row, slot]
            if clicks <= 0.0:
                continue
            state[row, CAME_CLICKS] += clicks
            quarter = quarter_now - (quarter_now - slot) % QUARTERS_KEPT
            if not is_timed or np.int64(came // MINUTE_S) - quarter * 15 >= minutes - 1:
                continue
            total = 0.0
            for slice_ in range(60):  # of a quarter of a minute
                minute = quarter * 15 + slice_ // 4
                age = came - (minute * MINUTE_S + (slice_ % 4) * 15.0 + 7.5)
                weights[slice_] = 0.0
                if age > -7.5:
                    shown = clicks_by_minute[row, minute % minutes]
                    weights[slice_] = shown * (landed(landing, age + 7.5) - landed(landing, age - 7.5))
                    total += weights[slice_]
            if total <= 0.0:
                continue
            for slice_ in range(60):
                if weights[slice_] > 0.0:
                    age = came - (quarter * 900.0 + slice_ * 15.0 + 7.5)
                    # The part of the slice may lie in several bins: it is divided by what was learnt before.
                    low, high = max(age - 7.5, 0.0), age + 7.5
                    whole = landed(landing, high) - landed(landing, low)
                    if whole <= 0.0:
                        continue
                    place = max(np.searchsorted(edges, low, side="right") - 1, 0)
                    while place < len(histogram) and edges[place] < high:
                        from_, to = max(low, edges[place]), min(high, edges[place + 1])
                        part_ = landed(landing, to) - landed(landing, from_)
                        histogram[place] += clicks * weights[slice_] / total * part_ / whole
                        place += 1

"""The plan of a campaign in kernels: its share of spend at each time, and what of it is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.compiled import inlined, kernel, read, written
from streams.kernels.pacing_columns import (
    AHEAD,
    CLOSED,
    CURVE_PARTS,
    DAY_START,
    END,
    EVEN,
    FIRST_CURVE,
    FLAT,
    IS_LAST,
    NEVER_S,
    PLAN,
    QUARTER_S,
    START,
    STATE,
    TERMS,
)
from streams.kernels.pacing_hours import is_closed, landed, part_of_period

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]


@inlined
def density_of(pooled: Any, relative: Any, row: int, quarter: Any) -> float:
    """Traffic of a quarter-hour, by its number since 1970, against its mean.

    That of all campaigns by day of week, times the campaign's by quarter.
    """
    # 1970 began on a Thursday; the week here begins there too.
    return pooled[quarter % 672] * relative[row, quarter % 96]  # type: ignore[no-any-return]


@inlined
def density_at(pooled: Any, relative: Any, row: int, t: float) -> float:
    """The same at a time."""
    return density_of(pooled, relative, row, np.int64(t // QUARTER_S))


@inlined
def wanted(terms: Any, curves: Any, pooled: Any, relative: Any, row: int, t: float) -> float:
    """The plan's share of spend a second, up to a factor that is the same all the time; 0 in hours that are closed."""
    if is_closed(terms[row, CLOSED], t - terms[row, DAY_START]):
        return 0.0
    plan = np.int64(terms[row, PLAN])
    if plan == FLAT:
        return 1.0
    if plan >= FIRST_CURVE:
        part = np.int64(part_of_period(terms[row, START], terms[row, END], terms[row, DAY_START], t) * CURVE_PARTS)
        return curves[plan - FIRST_CURVE, max(0, min(part, CURVE_PARTS - 1))]  # type: ignore[no-any-return]
    return density_at(pooled, relative, row, t)


@kernel(
    *(read("f8"), read("i8"), read("f8", 2), read("f8", 2), read("f8"), read("f4", 2), read("f8")),
    written("f8", 2),
    floats=True,
)
def look_ahead(
    now: Floats,
    rows: npt.NDArray[np.int64],
    terms: Floats,
    curves: Floats,
    pooled: Floats,
    relative: Float32s,
    landing: Floats,
    state: Floats,
) -> None:
    """What the plans of these rows have left after this quarter-hour, in seconds; each by the share of clicks in time.

    The impressions of a quarter cost within the period only what of their clicks comes before its end.
    """
    if len(now) < 1 or len(state) < len(terms) or len(relative) < len(terms) or len(pooled) < 672:
        raise IndexError("an array is shorter than the campaigns are many")
    if terms.shape[1] < TERMS or state.shape[1] < STATE or curves.shape[1] < CURVE_PARTS or relative.shape[1] < 96:
        raise IndexError("an array has too few columns")
    if len(rows) and (rows.min() < 0 or rows.max() >= len(terms)):
        raise IndexError("there is no such row")
    for number in range(len(rows)):
        row = rows[number]
        end = terms[row, END]
        billed_until = end + terms[row, IS_LAST] * NEVER_S
        by_traffic = terms[row, PLAN] == EVEN and terms[row, CLOSED] == 0.0
        ahead = 0.0
        start = max(now[0] // QUARTER_S * QUARTER_S + QUARTER_S, terms[row, START] // QUARTER_S * QUARTER_S)
        quarter = np.int64(start // QUARTER_S)
        while start < end:
            low, high = max(start, terms[row, START]), min(start + QUARTER_S, end)
            if by_traffic:
                share = density_of(pooled, relative, row, quarter)
            else:
                share = wanted(terms, curves, pooled, relative, row, start)
            if high > low and share > 0.0:
                ahead += share * (high - low) * landed(landing, billed_until - (low + high) / 2)
            start += QUARTER_S
            quarter += 1
        state[row, AHEAD] = ahead

"""Clock hours in the pacing law's loops: those that are closed, and what is taken of an hour's cap."""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas.compiled import inlined

HOUR_S = 3600.0
DAY_S = 86400.0
HALF_S = 1800.0
# Half-hours of a day of 25 hours, a bit for each: a double holds so many bits exactly.
HALVES = 50
_MINUTE_S = 60.0
_MOMENT_S = 0.001


@inlined
def landed(landing: Any, age: float) -> float:
    """The share of clicks that have come by an age; it is 1 from the end of the window on."""
    if age <= 0.0:
        return 0.0
    return landing[min(np.int64(age), len(landing) - 1)]  # type: ignore[no-any-return]


@inlined
def area(areas: Any, age: float) -> float:
    """What `landed` adds up to from age 0 to this one; `areas` has it for whole seconds, to the end of the window."""
    if age <= 0.0:
        return 0.0
    at = min(np.int64(age), np.int64(len(areas) - 2))
    return areas[at] + (age - at) * (areas[at + 1] - areas[at])  # type: ignore[no-any-return]


@inlined
def mean_landed(areas: Any, low: float, high: float) -> float:
    """The mean of `landed` over impressions whose ages are spread evenly from the first to the second.

    The share at the middle is wrong by half a minute of spend where clicks come all at one age.
    """
    high = max(high, low + _MOMENT_S)
    return (area(areas, high) - area(areas, low)) / (high - low)


@inlined
def part_of_period(start: float, end: float, day_start: float, t: float) -> float:
    """How much of what a curve is over has passed: of the local day where its midnight is known, else of the period.

    So a flight that begins at noon has the afternoon of the curve. A day of 25 hours is stretched over it, and one
    of 23 hours goes without the share of its last hour.
    """
    if day_start <= 0.0:
        return (t - start) / (end - start)
    return (t - day_start) / max(end - day_start, DAY_S)


@inlined
def is_closed(closed: float, since_midnight_s: float) -> bool:
    """Whether the half-hour is one of those that have a bit."""
    half = np.int64(since_midnight_s // HALF_S)
    return bool(0 <= half < HALVES and (np.int64(closed) >> half) & 1)


@inlined
def hour_taken(
    spend_by_minute: Any,
    areas: Any,
    row: int,
    oldest_minute: Any,
    newest_minute: Any,
    hour_start: float,
    seen_to: float,
    kappa: float,
    hour_spend: float,
) -> float:
    """Of the cap of a clock hour: what is billed in it and in flight to it, or what comes after it, if that is more.

    What is shown late in an hour is paid in the next one, whose cap holds as well.
    """
    hour_end = hour_start + HOUR_S
    within, after = 0.0, 0.0
    for minute in range(oldest_minute, newest_minute + 1):
        value = spend_by_minute[row, minute % spend_by_minute.shape[1]]
        if value > 0.0:
            # Of the newest minute only a part is shown.
            first, last = minute * _MINUTE_S, min((minute + 1) * _MINUTE_S, seen_to)
            by_end = mean_landed(areas, hour_end - last, hour_end - first)
            since = max(seen_to, hour_start)
            within += value * max(by_end - mean_landed(areas, since - last, since - first), 0.0)
            after += value * (1.0 - by_end)
    return max(hour_spend + within * kappa, after * kappa)

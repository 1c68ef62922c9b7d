"""Plans under an hourly cap, and decisions that end before hours that are closed: loops over all campaigns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.compiled import kernel, part, read, written
from streams.kernels.pacing_columns import (
    AHEAD,
    ASAP,
    BUDGET,
    CLOSED,
    CURVE_PARTS,
    DAY_START,
    DECIDED,
    END,
    HOUR_CAP,
    HOUR_SPEND,
    IS_LAST,
    NEVER_S,
    PLAN,
    PLANNED_FROM,
    PLANNED_NEXT,
    PLANNED_RATE,
    PLANNED_SPEND,
    QUARTER_S,
    SAFE_ADMIT,
    SEEN,
    START,
    STATE,
    TERMS,
    VALID_UNTIL,
)
from streams.kernels.pacing_hours import HALF_S, HALVES, HOUR_S, is_closed, landed
from streams.kernels.pacing_plan import wanted

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]


@part
def level_of(weights: Any, rooms: Any, amount: float) -> float:
    """Money for each unit of weight, so that hours spend `amount` and none more than its room.

    An hour that its room keeps below its part leaves the rest to the others, as water that rises in vessels of unequal
    height. Where all rooms together are smaller than the amount, each hour is full.
    """
    level = 0.0
    for _ in range(len(weights) + 1):
        left, open_weight = amount, 0.0
        for hour in range(len(weights)):
            if weights[hour] > 0.0 and weights[hour] * level >= rooms[hour]:
                left -= rooms[hour]
            else:
                open_weight += weights[hour]
        if open_weight <= 0.0:
            break
        risen = max(left, 0.0) / open_weight
        if risen <= level:
            break
        level = risen
    return level


@kernel(read("f8"), read("f8"), read("f8"), written("f8"), floats=True)
def find_level(amount: Floats, weights: Floats, rooms: Floats, level: Floats) -> None:
    """`level_of`, for callers outside kernels; each but weights and rooms has one number."""
    if min(len(amount), len(level)) < 1 or len(rooms) < len(weights):
        raise IndexError("an array is too short")
    level[0] = level_of(weights, rooms, amount[0])


@kernel(
    *(read("f8"), read("f8"), read("f8", 2), read("f8", 2), read("f8", 2), read("f8"), read("f4", 2), read("f8")),
    written("f8", 2),
    floats=True,
)
def plan_under_caps(
    now_: Floats,
    left: Floats,
    terms: Floats,
    seen: Floats,
    curves: Floats,
    pooled: Floats,
    relative: Float32s,
    landing: Floats,
    state: Floats,
) -> None:
    """For campaigns with an hourly cap: what the plan has left after this quarter-hour, and what it has spent by then.

    Comes after `look_ahead`, whose plan moves from hours that the cap fills to the others. `left` is money.
    """
    rows = len(terms)
    if (
        len(now_) < 1
        or min(len(left), len(seen), len(state), len(relative)) < rows
        or terms.shape[1] < TERMS
        or seen.shape[1] < SEEN
        or state.shape[1] < STATE
        or curves.shape[1] < CURVE_PARTS
        or relative.shape[1] < 96
        or len(pooled) < 672
    ):
        raise IndexError("an array is shorter than the campaigns are many, or has too few columns")
    quarter = now_[0] // QUARTER_S * QUARTER_S
    for row in range(rows):
        cap, day, start, end = terms[row, HOUR_CAP], terms[row, DAY_START], terms[row, START], terms[row, END]
        if cap <= 0.0 or terms[row, PLAN] == ASAP or end <= start or start < day:
            continue
        now = min(max(now_[0], start), end)
        begun = state[row, PLANNED_FROM] > 0.0
        from_ = max(state[row, PLANNED_FROM], start) if begun else now
        spent = state[row, PLANNED_SPEND] if begun else terms[row, BUDGET] - left[row]
        hours = np.int64((end - day) // HOUR_S) + 1
        whole, ahead, here = np.zeros(hours), np.zeros(hours), 0.0
        first = min(from_, now) // QUARTER_S * QUARTER_S
        billed_until = end + terms[row, IS_LAST] * NEVER_S
        at = first
        while at < end:
            low, high = max(at, start), min(at + QUARTER_S, end)
            hour = np.int64((at - day) // HOUR_S)
            share = wanted(terms, curves, pooled, relative, row, at)
            if high > low and share > 0.0 and hour >= 0:
                share *= landed(landing, billed_until - (low + high) / 2)
                whole[hour] += share * max(high - max(low, from_), 0.0)
                if high > now:
                    ahead[hour] += share * (high - max(low, now))
                    if at <= now:
                        here = share * (high - max(low, now))
            at += QUARTER_S
        # -- what is left, from now on: weight that the cap forbids is not ahead
        rooms = np.full(hours, cap)
        hour_now = np.int64((now - day) // HOUR_S)
        if hour_now < hours:
            rooms[hour_now] = max(cap - seen[row, HOUR_SPEND], 0.0)
        level = level_of(ahead, rooms, max(left[row], 0.0))
        if level > 0.0:
            rest = 0.0
            for each in range(hours):
                kept = min(ahead[each], rooms[each] / level)
                if each == hour_now and ahead[each] > 0.0:
                    kept *= 1.0 - here / ahead[each]  # this quarter-hour is not ahead
                rest += kept
            state[row, AHEAD] = rest
        # -- the plan as it began
        level = level_of(whole, np.full(hours, cap), max(terms[row, BUDGET] - spent, 0.0))
        planned, rate = spent, 0.0
        at = first
        while at < min(quarter + QUARTER_S, end):
            low, high = max(at, max(start, from_)), min(at + QUARTER_S, end)
            hour = np.int64((at - day) // HOUR_S)
            share = wanted(terms, curves, pooled, relative, row, at)
            rate = 0.0
            if high > low and share > 0.0 and hour >= 0:
                share *= landed(landing, billed_until - (max(at, start) + high) / 2)
                rate = share * min(level, cap / whole[hour])
                planned += rate * (high - low)
            at += QUARTER_S
        state[row, PLANNED_NEXT], state[row, PLANNED_RATE] = planned, rate


@kernel(read("f8"), read("f8", 2), written("f8", 2), floats=True)
def end_in_time(times: Floats, terms: Floats, decided: Floats) -> None:
    """Says until when each decision holds: a moment of closed hours or the end of a flight ends it, and no share after.

    So ad servers leave the auctions by their own clocks, however late the next decision comes. `times`: now, and until
    when a decision holds otherwise.
    """
    if len(times) < 2 or len(decided) < len(terms) or terms.shape[1] < TERMS or decided.shape[1] < DECIDED:
        raise IndexError("an array is shorter than the campaigns are many, or has too few columns")
    now, until = times[0], times[1]
    for row in range(len(terms)):
        ends = until
        if terms[row, IS_LAST] > 0.0 and now < terms[row, END] < ends:
            ends = terms[row, END]
        if terms[row, CLOSED] > 0.0:
            half = np.int64((now - terms[row, DAY_START]) // HALF_S) + 1
            while half < HALVES:
                at = terms[row, DAY_START] + half * HALF_S
                if at >= ends:
                    break
                if is_closed(terms[row, CLOSED], half * HALF_S):
                    ends = at
                    break
                half += 1
        decided[row, VALID_UNTIL] = ends
        if ends < until:
            decided[row, SAFE_ADMIT] = 0.0

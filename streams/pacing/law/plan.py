"""The plan of a period as a curve: for figures and plots; the law itself needs only what is left of it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streams.kernels import pacing_columns as columns
from streams.kernels.pacing_caps import find_level
from streams.kernels.pacing_hours import DAY_S, HALF_S, HALVES, HOUR_S
from streams.pacing.law.arrays import Floats, Terms
from streams.pacing.law.shape import QUARTERS, WEEK, TrafficShape

_STEP_S: Final = 900


def planned(
    terms: Terms, state: Floats, curves: Floats, shape: TrafficShape, landing: Floats, times_s: Floats
) -> Floats:
    """Spend of each campaign's plan by each of the times, from where the plan last began anew."""
    found = np.zeros((len(terms.table), len(times_s)))
    for row, (budget, start, end, plan, _, _, is_last, day, cap, closed) in enumerate(terms.table):
        if plan == columns.ASAP or end <= start:
            found[row] = budget
            continue
        from_s, spent = min(max(state[row, columns.PLANNED_FROM], start), end), state[row, columns.PLANNED_SPEND]
        steps = np.arange(start // _STEP_S + 1, end // _STEP_S + 1) * _STEP_S
        edges = np.unique(np.concatenate(([start, from_s], steps, [end])))
        lengths, middles = np.diff(edges), (edges[1:] + edges[:-1]) / 2
        quarters = (edges[:-1] // _STEP_S).astype(np.int64)
        if plan == columns.FLAT:
            weights = np.ones(len(quarters))
        elif plan >= columns.FIRST_CURVE:
            # As `streams.kernels.pacing_hours.part_of_period` has it, which only kernels call.
            passed = (edges[:-1] - day) / max(end - day, DAY_S) if day > 0 else (edges[:-1] - start) / (end - start)
            part = (passed * columns.CURVE_PARTS).astype(np.int64)
            weights = curves[int(plan) - columns.FIRST_CURVE, np.minimum(part, columns.CURVE_PARTS - 1)]
        else:
            weights = shape.pooled[quarters % WEEK] * shape.relative[row, quarters % QUARTERS]
        weights = weights * ~_closed(closed, edges[:-1] - day)
        ages = np.minimum((end - middles).astype(np.int64), len(landing) - 1)
        weights = weights * lengths * (np.ones(len(ages)) if is_last else landing[ages])
        weights[edges[:-1] < from_s] = 0.0
        amount = budget - spent
        if cap > 0:
            hours = ((edges[:-1] - day) // HOUR_S).astype(np.int64)
            whole = np.bincount(hours, weights).astype(np.float64)
            level = np.zeros(1)
            find_level(np.array([max(amount, 0.0)]), whole, np.full(len(whole), cap), level)
            weights *= np.minimum(level, cap / np.maximum(whole, 1e-12))[hours]
            amount = weights.sum()
        passed = np.concatenate(([0.0], np.cumsum(weights)))
        found[row] = spent + amount * np.interp(times_s, edges, passed) / max(passed[-1], 1e-12)
    return found


def open_s(table: Floats) -> Floats:
    """Seconds of each period in which the campaign serves; `table` are rows of terms."""
    start, end = table[:, columns.START], table[:, columns.END]
    seconds = np.asarray(end - start)
    for row in np.flatnonzero(table[:, columns.CLOSED]):
        halves = table[row, columns.DAY_START] + HALF_S * np.arange(HALVES + 1)
        overlap = np.diff(np.clip(halves, start[row], end[row]))
        seconds[row] -= overlap[_closed(table[row, columns.CLOSED], halves[:-1] - halves[0])].sum()
    return seconds


def _closed(closed: float, since_midnight_s: Floats) -> npt.NDArray[np.bool_]:
    half = (since_midnight_s // HALF_S).astype(np.int64)
    known = (half >= 0) & (half < HALVES)
    return known & ((np.int64(closed) >> np.where(known, half, 0) & 1) > 0)

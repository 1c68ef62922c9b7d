"""The plan of a period as a curve: for figures and plots; the law itself needs only what is left of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from streams.kernels import pacing as columns
from streams.pacing.law.arrays import Floats, Terms
from streams.pacing.law.shape import QUARTERS, WEEK, TrafficShape

_STEP_S: Final = 900


def planned(
    terms: Terms, state: Floats, curves: Floats, shape: TrafficShape, landing: Floats, times_s: Floats
) -> Floats:
    """Spend of each campaign's plan by each of the times, from where the plan last began anew."""
    found = np.zeros((len(terms.table), len(times_s)))
    for row, (budget, start, end, plan, *_, is_last) in enumerate(terms.table):
        if plan == columns.ASAP or end <= start:
            found[row] = budget
            continue
        edges = np.unique(
            np.concatenate(([start], np.arange(start // _STEP_S + 1, end // _STEP_S + 1) * _STEP_S, [end]))
        )
        lengths, middles = np.diff(edges), (edges[1:] + edges[:-1]) / 2
        quarters = (edges[:-1] // _STEP_S).astype(np.int64)
        if plan == columns.FLAT:
            weights = np.ones(len(quarters))
        elif plan >= columns.FIRST_CURVE:
            part = ((edges[:-1] - start) / (end - start) * columns.CURVE_PARTS).astype(np.int64)
            weights = curves[int(plan) - columns.FIRST_CURVE, np.minimum(part, columns.CURVE_PARTS - 1)]
        else:
            weights = shape.pooled[quarters % WEEK] * shape.relative[row, quarters % QUARTERS]
        ages = np.minimum((end - middles).astype(np.int64), len(landing) - 1)
        landed = np.ones(len(ages)) if is_last else landing[ages]
        passed = np.concatenate(([0.0], np.cumsum(weights * lengths * landed)))
        from_s, spent = max(state[row, columns.PLANNED_FROM], start), state[row, columns.PLANNED_SPEND]
        begun = np.interp(from_s, edges, passed)
        done = (np.interp(times_s, edges, passed) - begun) / max(passed[-1] - begun, 1e-12)
        found[row] = spent + (budget - spent) * np.clip(done, 0.0, 1.0)
    return found

"""Counts of pairs of categories, shrunk to what their two parents say together, with a learned weight for each cross.

A pair's input is how far its log odds lie from the sum of its parents' log odds. Which pairs of fields are counted is
in `crosses`. Loops over a row's pairs either reach into tables or compute, so that the latter do several at once. Where
two pairs of a row share a line or a cross, each adds its own to what was there before the row.
"""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.counts import COUNT_RATE
from online_models.mixture.entries import PAIRS, fetch_some
from online_models.mixture.layout import (
    COUNT_ERROR,
    CROSS_CURVE,
    CROSS_GRADIENT,
    CROSS_ROWS,
    CROSS_SINCE,
    CROSS_SLOPE,
    CROSS_WEIGHT,
    LEARNED_EPOCH,
    PAIR_CLICKED,
    PAIR_GRADIENT,
    PAIR_SHOWN,
    PAIR_WEIGHT,
    PARENT_ERROR,
)
from online_models.mixture.logarithms import take_logarithms
from schemas.compiled import inlined
from schemas.instructions import root

# The prior of a pair: rows, and clicks.
_ROWS, _CLICKS = 20.0, 0.2
# Of each pair of a row, in `pair_values`: what its line has, the odds its parents give it, and its input.
SHOWN, CLICKED, WEIGHT, GRADIENT, PARENTS, DELTA, STEP, POWER = range(8)
PAIR_VALUES = 8


@inlined
def pair_inputs(
    turn: int,
    rate: float,
    pairs: np.ndarray,
    counted: np.ndarray,
    odds: np.ndarray,
    pair_at: np.ndarray,
    pair_cross: np.ndarray,
    pair_one: np.ndarray,
    pair_other: np.ndarray,
    sizes: np.ndarray,
    pair_values: np.ndarray,
    ratios: np.ndarray,
    bits: np.ndarray,
    sums: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """Fills what there is of each pair of the row, and its input. Sums weighted inputs, and AdaGrad's weights."""
    many = sizes[turn, PAIRS]
    prior = _ROWS + _CLICKS / rate
    by_base = (1.0 - rate) / rate
    for pair in range(many):
        line = pair_at[turn, pair]
        pair_values[SHOWN, pair] = pairs[line, PAIR_SHOWN]
        pair_values[CLICKED, pair] = pairs[line, PAIR_CLICKED]
        pair_values[WEIGHT, pair] = pairs[line, PAIR_WEIGHT]
        pair_values[GRADIENT, pair] = pairs[line, PAIR_GRADIENT]
        pair_values[PARENTS, pair] = odds[pair_one[turn, pair]] * odds[pair_other[turn, pair]]
    fetch_some(ahead)
    for pair in range(many):
        rows, clicks = pair_values[SHOWN, pair], pair_values[CLICKED, pair]
        parents = pair_values[PARENTS, pair] * by_base
        rest = prior / (1.0 + parents)
        ratio = (clicks + parents * rest) / ((rows - clicks + rest) * parents)
        ratios[pair] = ratio if rows > 0.0 else 1.0
    fetch_some(ahead)
    take_logarithms(many, ratios, bits, pair_values[POWER], pair_values[DELTA])
    fetch_some(ahead)
    total = raw = 0.0
    for pair in range(many):
        total += counted[CROSS_WEIGHT, pair_cross[turn, pair]] * pair_values[DELTA, pair]
        raw += pair_values[WEIGHT, pair]
    sums[2], sums[3] = total, raw


@inlined
def learn_pairs(
    turn: int,
    error: float,
    residual: float,
    curve: float,
    label: int,
    weight: float,
    pairs: np.ndarray,
    counted: np.ndarray,
    pair_at: np.ndarray,
    pair_cross: np.ndarray,
    sizes: np.ndarray,
    pair_values: np.ndarray,
) -> None:
    """One AdaGrad step of the crosses' weights; their evidence by what the parents left; then the row is counted."""
    many, clicks = sizes[turn, PAIRS], label * weight
    for pair in range(many):
        pair_values[STEP, pair] = counted[CROSS_GRADIENT, pair_cross[turn, pair]]
    for pair in range(many):
        gradient = error * pair_values[DELTA, pair]
        pair_values[STEP, pair] = COUNT_RATE * gradient / root(pair_values[STEP, pair] + gradient * gradient)
    for pair in range(many):
        cross, delta = pair_cross[turn, pair], pair_values[DELTA, pair]
        gradient = error * delta
        counted[CROSS_WEIGHT, cross] -= pair_values[STEP, pair]
        counted[CROSS_GRADIENT, cross] += gradient * gradient
        counted[CROSS_SLOPE, cross] += residual * delta
        counted[CROSS_CURVE, cross] += curve * delta * delta
        counted[CROSS_ROWS, cross] += 1.0
    for pair in range(many):
        line = pair_at[turn, pair]
        pairs[line, PAIR_SHOWN] += weight
        pairs[line, PAIR_CLICKED] += clicks


@inlined
def reverse_pairs(
    turn: int,
    weight: float,
    pairs: np.ndarray,
    counted: np.ndarray,
    pair_at: np.ndarray,
    pair_cross: np.ndarray,
    sizes: np.ndarray,
    pair_values: np.ndarray,
    taken: np.ndarray,
) -> None:
    """Takes a row that was learned without a click back, but not from pairs that were not counted then."""
    for pair in range(sizes[turn, PAIRS]):
        cross, delta = pair_cross[turn, pair], pair_values[DELTA, pair]
        if counted[CROSS_SINCE, cross] <= taken[LEARNED_EPOCH]:
            gradient = taken[COUNT_ERROR] * delta
            counted[CROSS_SLOPE, cross] -= taken[PARENT_ERROR] * delta
            counted[CROSS_WEIGHT, cross] += COUNT_RATE * gradient / math.sqrt(counted[CROSS_GRADIENT, cross])
            # Of a row with more pairs than are counted, others may have been: clicks are never more than rows.
            line = pair_at[turn, pair]
            pairs[line, PAIR_SHOWN] = max(pairs[line, PAIR_CLICKED], pairs[line, PAIR_SHOWN] - weight)

"""Counts of pairs of categories, shrunk to what their two parents say together; the pairs of fields are chosen.

A pair's input is how far its log odds lie from the sum of its parents' log odds. The number of pairs grows with the
square of the fields, so only a number from the settings is counted, 100 by default: those whose input explained most of
what the parents left. They are chosen every `EPOCH` rows, and `TRIED` others are tried until the next choice. In the
first `EARLY_ROWS` more are kept, 256 by default, because many pairs together then say what no single one has shown: 100
cost .1 points on Avazu and Criteo (2026-11-30).
"""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.counts import COUNT_RATE
from online_models.mixture.descent import adagrad_back, adagrad_step
from online_models.mixture.entries import CATEGORIES, PAIRS
from online_models.mixture.hashing import paired
from online_models.mixture.layout import (
    ACTIVE,
    COUNT_ERROR,
    CROSS_CURVE,
    CROSS_GRADIENT,
    CROSS_ROWS,
    CROSS_SINCE,
    CROSS_SLOPE,
    CROSS_WEIGHT,
    EPOCHS,
    FIELDS,
    IDLE,
    LEARNED,
    LEARNED_EPOCH,
    MOST_CROSSES,
    MOST_EARLY,
    NEXT_CROSS,
    PAIR_CLICKED,
    PAIR_SHOWN,
    PARENT_ERROR,
    ROW_PAIRS,
    UNSEEN,
)
from schemas.compiled import inlined, part

TRIED = 16
EARLY_ROWS = 10_000
EPOCH = 2_000
# The prior of a pair: rows, and clicks.
_ROWS, _CLICKS = 20.0, 0.2
FIRST_CROSS_WEIGHT = 0.05
# What evidence of an epoch counts in the next: a window of about five epochs.
_KEPT_EVIDENCE = 0.8
# Standard errors that an input must exceed to count as evidence: one tried for a single epoch is mostly noise.
_NOISE = 1.0


@inlined
def pair_inputs(
    rate: float,
    options: np.ndarray,
    pairs: np.ndarray,
    crosses: np.ndarray,
    choices: np.ndarray,
    totals: np.ndarray,
    category_key: np.ndarray,
    category_field: np.ndarray,
    sizes: np.ndarray,
    odds: np.ndarray,
    pair_at: np.ndarray,
    pair_cross: np.ndarray,
    pair_odds: np.ndarray,
    pair_delta: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Fills the active pairs of the row with their inputs, and the weighted sum of these."""
    prior = _ROWS + _CLICKS / rate
    base_odds = rate / (1.0 - rate)
    mask = np.uint64(len(pairs) - 1)
    found, total = 0, 0.0
    # First all lines are found and touched: they are far apart in memory, and these loads wait for it together.
    for one in range(sizes[CATEGORIES] if options[MOST_CROSSES] > 0 else 0):
        for other in range(one + 1, sizes[CATEGORIES]):
            cross = category_field[one] * FIELDS + category_field[other]
            if category_field[one] == category_field[other]:
                continue
            if choices[cross] == UNSEEN:
                choices[cross] = ACTIVE if totals[EPOCHS] == 0.0 else IDLE
            if choices[cross] == ACTIVE and found < ROW_PAIRS:
                line = np.int64(paired(category_key[one], category_key[other]) & mask)
                pair_at[found], pair_cross[found], pair_delta[found] = line, cross, pairs[line, PAIR_SHOWN]
                pair_odds[found] = odds[one] * odds[other] / base_odds
                found += 1
    for pair in range(found):
        rows, delta = pair_delta[pair], 0.0
        if rows > 0.0:
            clicks, parents = pairs[pair_at[pair], PAIR_CLICKED], pair_odds[pair]
            rest = prior / (1.0 + parents)
            delta = math.log((clicks + parents * rest) / ((rows - clicks + rest) * parents))
        pair_delta[pair] = delta
        total += crosses[pair_cross[pair], CROSS_WEIGHT] * delta
    sizes[PAIRS] = found
    sums[2] = total


@inlined
def learn_pairs(
    error: float,
    residual: float,
    curve: float,
    label: int,
    weight: float,
    pairs: np.ndarray,
    crosses: np.ndarray,
    sizes: np.ndarray,
    pair_at: np.ndarray,
    pair_cross: np.ndarray,
    pair_delta: np.ndarray,
) -> None:
    """One AdaGrad step of the crosses' weights; their evidence by what the parents left; then the row is counted."""
    clicks = label * weight
    for pair in range(sizes[PAIRS]):
        cross, line, delta = pair_cross[pair], pair_at[pair], pair_delta[pair]
        crosses[cross, CROSS_ROWS] += 1.0
        if delta != 0.0:
            crosses[cross, CROSS_SLOPE] += residual * delta
            crosses[cross, CROSS_CURVE] += curve * delta * delta
            adagrad_step(crosses, cross, CROSS_WEIGHT, CROSS_GRADIENT, COUNT_RATE, error * delta)
        pairs[line, PAIR_SHOWN] += weight
        pairs[line, PAIR_CLICKED] += clicks


@inlined
def reverse_pairs(
    weight: float,
    pairs: np.ndarray,
    crosses: np.ndarray,
    sizes: np.ndarray,
    pair_at: np.ndarray,
    pair_cross: np.ndarray,
    pair_delta: np.ndarray,
    taken: np.ndarray,
) -> None:
    """Takes a row that was learned without a click back, but not from pairs that were not counted then."""
    for pair in range(sizes[PAIRS]):
        cross, delta = pair_cross[pair], pair_delta[pair]
        if crosses[cross, CROSS_SINCE] <= taken[LEARNED_EPOCH]:
            crosses[cross, CROSS_SLOPE] -= taken[PARENT_ERROR] * delta
            adagrad_back(crosses, cross, CROSS_WEIGHT, CROSS_GRADIENT, COUNT_RATE, taken[COUNT_ERROR] * delta)
            # Of a row with more pairs than are counted, others may have been: clicks are never more than rows.
            line = pair_at[pair]
            pairs[line, PAIR_SHOWN] = max(pairs[line, PAIR_CLICKED], pairs[line, PAIR_SHOWN] - weight)


@part
def evidence(slope: float, curve: float, rows: float) -> float:
    """How much loss an input saves in a row, less what noise would seem to save; 0 or more."""
    if rows == 0.0 or slope <= 0.0 or curve <= 0.0:
        return 0.0
    surplus = slope / math.sqrt(curve) - _NOISE
    return surplus * surplus / rows if surplus > 0.0 else 0.0


@inlined
def choose_crosses(options: np.ndarray, crosses: np.ndarray, choices: np.ndarray, totals: np.ndarray) -> None:
    """Keeps the crosses with most evidence active, and gives the next ones a trial. At least one is kept."""
    totals[EPOCHS] += 1.0
    most = max(1, options[MOST_EARLY] if totals[LEARNED] < EARLY_ROWS else options[MOST_CROSSES])
    present = 0
    for cross in range(len(crosses)):
        present += int(choices[cross] != UNSEEN)
    worth = np.zeros(len(crosses))
    for cross in range(len(crosses)):
        if choices[cross] == ACTIVE:
            worth[cross] = evidence(
                crosses[cross, CROSS_SLOPE], crosses[cross, CROSS_CURVE], crosses[cross, CROSS_ROWS]
            )
    # The lowest worth that stays; of equal ones those with the lowest numbers stay.
    least = np.sort(worth)[len(worth) - most]
    kept = 0
    for cross in range(len(crosses)):
        if present <= most + TRIED:
            if choices[cross] == IDLE:
                choices[cross], crosses[cross, CROSS_SINCE] = ACTIVE, totals[EPOCHS]
        else:
            stays = worth[cross] > 0.0 and worth[cross] >= least and kept < most
            kept += int(stays)
            if choices[cross] != UNSEEN:
                choices[cross] = ACTIVE if stays else IDLE
        for column in (CROSS_SLOPE, CROSS_CURVE, CROSS_ROWS):
            crosses[cross, column] *= _KEPT_EVIDENCE
    tried, cross = 0, int(totals[NEXT_CROSS])
    for _ in range(len(crosses)):
        if present <= most + TRIED or tried == TRIED:
            break
        if choices[cross] == IDLE:
            choices[cross], crosses[cross, CROSS_SINCE] = ACTIVE, totals[EPOCHS]
            for column in (CROSS_SLOPE, CROSS_CURVE, CROSS_ROWS):
                crosses[cross, column] = 0.0
            tried += 1
        cross = (cross + 1) % len(crosses)
    totals[NEXT_CROSS] = cross

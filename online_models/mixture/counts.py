"""Counts of each category, and of each novelty, as log odds beyond the base rate; a learned weight for each field.

A category with few rows says little: its rate is shrunk to the base rate by a prior of so many rows. The rows grow as
clicks get rare, so that the prior holds at least a part of a click.
"""

from __future__ import annotations

import numpy as np

from online_models.mixture.descent import adagrad_back, adagrad_step
from online_models.mixture.entries import CATEGORIES, PLAIN, fetch_some
from online_models.mixture.layout import (
    CLICKED,
    COUNT_ERROR,
    COUNT_GRADIENT,
    COUNT_WEIGHT,
    NOVELTY_GRADIENT,
    NOVELTY_WEIGHT,
    SEEN,
    SHOWN,
)
from online_models.mixture.logarithms import take_logarithms
from schemas.compiled import inlined

# Prior of a category: rows, and clicks. Pairs have a weaker one (`pairs`), because their parent is nearer.
_ROWS, _CLICKS = 80.0, 0.2
# Rates of the weights' AdaGrad steps, and the sum of squared gradients they begin with.
COUNT_RATE = 0.03
BIAS_RATE = 0.01
FIRST_GRADIENT = 0.01
FIRST_COUNT_WEIGHT = 0.2


@inlined
def shrunk_odds(clicks: float, rows: float, rate: float, prior: float) -> float:
    """Odds of a click with `prior` further rows of this rate."""
    return (clicks + prior * rate) / (rows - clicks + prior * (1.0 - rate))


@inlined
def count_inputs(
    turn: int,
    rate: float,
    counts: bool,
    novelties: bool,
    slots: np.ndarray,
    fields: np.ndarray,
    entry_at: np.ndarray,
    category_at: np.ndarray,
    category_field: np.ndarray,
    sizes: np.ndarray,
    odds: np.ndarray,
    count_delta: np.ndarray,
    novelty_delta: np.ndarray,
    powers: np.ndarray,
    ratios: np.ndarray,
    bits: np.ndarray,
    sums: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """Fills the odds and log odds beyond the base of each category and novelty, and their two weighted sums.

    The log odds are 0 of what is off, so its weights stay as they are; pairs need the odds in any case.
    """
    prior, by_base = _ROWS + _CLICKS / rate, (1.0 - rate) / rate
    many = sizes[turn, CATEGORIES]
    for category in range(many):
        line = category_at[turn, category]
        odds[category] = shrunk_odds(slots[line, CLICKED], slots[line, SHOWN], rate, prior)
        count_delta[category] = novelty_delta[category] = 0.0
    if counts:
        for category in range(many):
            ratios[category] = odds[category] * by_base
        fetch_some(ahead)
        take_logarithms(many, ratios, bits, powers, count_delta)
    if novelties:
        for category in range(many):
            line = entry_at[turn, sizes[turn, PLAIN] + category]
            ratios[category] = shrunk_odds(slots[line, CLICKED], slots[line, SHOWN], rate, prior) * by_base
        fetch_some(ahead)
        take_logarithms(many, ratios, bits, powers, novelty_delta)
    main = new = 0.0
    for category in range(many):
        field = category_field[turn, category]
        main += fields[field, COUNT_WEIGHT] * count_delta[category]
        new += fields[field, NOVELTY_WEIGHT] * novelty_delta[category]
    sums[0], sums[1] = main, new


@inlined
def learn_counts(
    turn: int,
    error: float,
    label: int,
    weight: float,
    slots: np.ndarray,
    fields: np.ndarray,
    entry_at: np.ndarray,
    category_at: np.ndarray,
    category_field: np.ndarray,
    sizes: np.ndarray,
    count_delta: np.ndarray,
    novelty_delta: np.ndarray,
) -> None:
    """One AdaGrad step of the fields' weights by `error`, the weighted residual; then the row is counted."""
    clicks = label * weight
    for category in range(sizes[turn, CATEGORIES]):
        field = category_field[turn, category]
        gradient = error * count_delta[category]
        if gradient != 0.0:
            adagrad_step(fields, field, COUNT_WEIGHT, COUNT_GRADIENT, COUNT_RATE, gradient)
        gradient = error * novelty_delta[category]
        if gradient != 0.0:
            adagrad_step(fields, field, NOVELTY_WEIGHT, NOVELTY_GRADIENT, COUNT_RATE, gradient)
        line = category_at[turn, category]
        slots[line, SEEN] += 1.0
        slots[line, SHOWN] += weight
        slots[line, CLICKED] += clicks
        line = entry_at[turn, sizes[turn, PLAIN] + category]
        slots[line, SHOWN] += weight
        slots[line, CLICKED] += clicks


@inlined
def reverse_counts(
    turn: int,
    weight: float,
    slots: np.ndarray,
    fields: np.ndarray,
    entry_at: np.ndarray,
    category_at: np.ndarray,
    category_field: np.ndarray,
    sizes: np.ndarray,
    count_delta: np.ndarray,
    novelty_delta: np.ndarray,
    taken: np.ndarray,
) -> None:
    """Takes the gradients of a row that was learned without a click back, and does not count it any more."""
    error = taken[COUNT_ERROR]
    for category in range(sizes[turn, CATEGORIES]):
        field = category_field[turn, category]
        adagrad_back(fields, field, COUNT_WEIGHT, COUNT_GRADIENT, COUNT_RATE, error * count_delta[category])
        adagrad_back(fields, field, NOVELTY_WEIGHT, NOVELTY_GRADIENT, COUNT_RATE, error * novelty_delta[category])
        line = category_at[turn, category]
        slots[line, SEEN] -= 1.0
        slots[line, SHOWN] -= weight
        slots[entry_at[turn, sizes[turn, PLAIN] + category], SHOWN] -= weight

"""A linear expert that also sees raw pairs, by AdaGrad, as Vowpal Wabbit with `-q ::`.

J. Duchi, E. Hazan, Y. Singer, JMLR 12, 2011. Its rate is divided by the root of the mean number of inputs in a row, as
Vowpal Wabbit's normalized updates are (S. Ross, P. Mineiro, J. Langford, UAI 2013): a row with 250 inputs then moves
the log odds no further than one with ten. It is good early, when counts of pairs are still shrunk: .1 to .2 points on
Avazu, Criteo and a generated stream, nothing lost elsewhere (2026-11-30).
"""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.descent import adagrad_back, adagrad_step
from online_models.mixture.entries import PAIRS, PLAIN, fetch_some
from online_models.mixture.hashing import probability
from online_models.mixture.layout import (
    ADA_ERROR,
    ADA_GRADIENT,
    ADA_WEIGHT,
    CROSS_SINCE,
    INPUTS_SEEN,
    LEARNED,
    LEARNED_EPOCH,
    PAIR_GRADIENT,
    PAIR_WEIGHT,
)
from online_models.mixture.pairs import GRADIENT, STEP
from schemas.compiled import inlined
from schemas.instructions import root

RATE = 0.05


@inlined
def predict_adagrad(
    turn: int, slots: np.ndarray, entry_at: np.ndarray, entry_x: np.ndarray, sizes: np.ndarray, sums: np.ndarray
) -> float:
    """Log odds beyond the base rate; the sum of the pairs' weights is in `sums`."""
    total: float = sums[3]
    for entry in range(sizes[turn, PLAIN]):
        total += slots[entry_at[turn, entry], ADA_WEIGHT] * entry_x[entry]
    return total


@inlined
def learn_adagrad(
    turn: int,
    log_odds: float,
    label: int,
    weight: float,
    slots: np.ndarray,
    pairs: np.ndarray,
    totals: np.ndarray,
    entry_at: np.ndarray,
    entry_x: np.ndarray,
    pair_at: np.ndarray,
    sizes: np.ndarray,
    pair_values: np.ndarray,
    taken: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """One step from the log odds that the expert gave."""
    many = sizes[turn, PAIRS]
    totals[INPUTS_SEEN] += sizes[turn, PLAIN] + many
    rate = RATE * math.sqrt(totals[LEARNED] / totals[INPUTS_SEEN])
    error = (probability(log_odds) - label) * weight
    taken[ADA_ERROR] = error
    for entry in range(sizes[turn, PLAIN]):
        line = entry_at[turn, entry]
        gradient = error * entry_x[entry]
        if gradient != 0.0:
            adagrad_step(slots, line, ADA_WEIGHT, ADA_GRADIENT, rate, gradient)
    square, pace = error * error, rate * error
    # The square of an error below 1e-162 is 0.
    if square > 0.0:
        for pair in range(many):
            pair_values[STEP, pair] = pace / root(pair_values[GRADIENT, pair] + square)
        fetch_some(ahead)
        for pair in range(many):
            line = pair_at[turn, pair]
            pairs[line, PAIR_WEIGHT] -= pair_values[STEP, pair]
            pairs[line, PAIR_GRADIENT] += square


@inlined
def reverse_adagrad(
    turn: int,
    slots: np.ndarray,
    pairs: np.ndarray,
    counted: np.ndarray,
    totals: np.ndarray,
    entry_at: np.ndarray,
    entry_x: np.ndarray,
    pair_at: np.ndarray,
    pair_cross: np.ndarray,
    sizes: np.ndarray,
    taken: np.ndarray,
) -> None:
    """Takes the gradients of a row back, but not of pairs that were not counted when it was learned."""
    rate, error = RATE * math.sqrt(totals[LEARNED] / totals[INPUTS_SEEN]), taken[ADA_ERROR]
    for entry in range(sizes[turn, PLAIN]):
        adagrad_back(slots, entry_at[turn, entry], ADA_WEIGHT, ADA_GRADIENT, rate, error * entry_x[entry])
    for pair in range(sizes[turn, PAIRS]):
        if counted[CROSS_SINCE, pair_cross[turn, pair]] <= taken[LEARNED_EPOCH]:
            adagrad_back(pairs, pair_at[turn, pair], PAIR_WEIGHT, PAIR_GRADIENT, rate, error)

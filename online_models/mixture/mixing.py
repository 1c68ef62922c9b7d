"""Mixes the experts: stacks by Newton's method with a full covariance, then a fixed share of all opinions.

A stack is a logistic regression on what each expert adds to the base rate. Its inputs agree with each other, so it
keeps the whole covariance of its weights (online Newton, as in the extended Kalman filter); three prior variances. The
last mixture weighs opinions by how well they predicted, and lets each come back (fixed share; M. Herbster and
M. Warmuth, Machine Learning 32, 1998). Both learn from what the experts say when the label comes.
"""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.entries import fetch_some
from online_models.mixture.hashing import probability
from online_models.mixture.layout import (
    ADA_INPUT,
    CARRIED,
    FIRST_STACK,
    INPUTS,
    MIXED,
    OPINIONS,
    SERVED_INPUTS,
    SERVED_OPINIONS,
    SHARE,
    SHARE_WEIGHT,
    STACK_STEP,
    STACKS,
    WEIGHTS,
)
from schemas.compiled import inlined

STACK_VARIANCES = (0.01, 0.03, 0.1)
# Weights that a stack begins with, by input: half for the five linear experts together, half for the counts, which are
# three parts of one expert.
FIRST_STACK_WEIGHTS = (0.1, 0.1, 0.1, 0.1, 0.1, 0.45, 0.45, 0.45)
# What uncertainty returns with each row, of the prior variance: a stack can follow a change after 100,000 rows.
_FADE = 1e-6
_RATE, _SHARED = 0.3, 1e-4


@inlined
def predict_mixture(
    base: float,
    counts: float,
    stacks: np.ndarray,
    totals: np.ndarray,
    served: np.ndarray,
    row: int,
    chances: np.ndarray,
) -> float:
    """The mixture's probability from the inputs in `served`; leaves the opinions there, what they say in `chances`."""
    served[row, SERVED_OPINIONS] = base
    served[row, SERVED_OPINIONS + 1] = base + served[row, SERVED_INPUTS]
    served[row, SERVED_OPINIONS + 2] = base + served[row, SERVED_INPUTS + ADA_INPUT]
    served[row, SERVED_OPINIONS + 3] = counts
    for stack in range(STACKS):
        log_odds = base + stacks[stack, INPUTS]
        for each in range(INPUTS):
            log_odds += stacks[stack, each] * served[row, SERVED_INPUTS + each]
        served[row, SERVED_OPINIONS + FIRST_STACK + stack] = log_odds
    mean = 0.0
    for opinion in range(OPINIONS):
        chances[opinion] = probability(served[row, SERVED_OPINIONS + opinion])
        mean += totals[SHARE + opinion] * chances[opinion]
    return mean


@inlined
def learn_stacks(
    base: float,
    label: int,
    weight: float,
    stacks: np.ndarray,
    spreads: np.ndarray,
    served: np.ndarray,
    row: int,
    moved: np.ndarray,
    taken: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """One Newton step of each stack, from the inputs in `served`."""
    for stack in range(STACKS):
        log_odds = base + stacks[stack, INPUTS]
        for each in range(INPUTS):
            log_odds += stacks[stack, each] * served[row, SERVED_INPUTS + each]
        fetch_some(ahead)
        chance = probability(log_odds)
        curve = chance * (1.0 - chance) * weight
        spread = 0.0
        for one in range(WEIGHTS):
            total = spreads[stack, one, INPUTS]
            for other in range(INPUTS):
                total += spreads[stack, one, other] * served[row, SERVED_INPUTS + other]
            moved[one] = total
            spread += total * (served[row, SERVED_INPUTS + one] if one < INPUTS else 1.0)
        shrink = 1.0 / (1.0 + curve * spread)
        step = (label - chance) * weight * shrink
        taken[STACK_STEP + stack] = step
        for one in range(WEIGHTS):
            stacks[stack, one] += moved[one] * step
            for other in range(WEIGHTS):
                spreads[stack, one, other] -= moved[one] * moved[other] * curve * shrink
            spreads[stack, one, one] += _FADE * STACK_VARIANCES[stack]


@inlined
def learn_shares(label: int, weight: float, options: np.ndarray, totals: np.ndarray, chances: np.ndarray) -> None:
    """The next share of each opinion, by the likelihood it gave the label. One that is not mixed stays at 0."""
    total, opinions = 0.0, 0
    for opinion in range(OPINIONS):
        totals[CARRIED + opinion] += totals[SHARE + opinion]
        chance = chances[opinion]
        likelihood = math.exp(_RATE * weight * math.log(chance if label == 1 else 1.0 - chance))
        totals[SHARE + opinion] *= likelihood
        total += totals[SHARE + opinion]
        opinions += options[MIXED + opinion]
    for opinion in range(OPINIONS):
        if options[MIXED + opinion] != 0:
            totals[SHARE + opinion] = totals[SHARE + opinion] / total * (1.0 - _SHARED) + _SHARED / opinions


@inlined
def reverse_mixing(
    stacks: np.ndarray,
    spreads: np.ndarray,
    totals: np.ndarray,
    served: np.ndarray,
    row: int,
    taken: np.ndarray,
    chances: np.ndarray,
) -> None:
    """Takes the steps of the stacks back, by their covariance of now, and what the shares learned from `chances`."""
    for stack in range(STACKS):
        for one in range(WEIGHTS):
            total = spreads[stack, one, INPUTS]
            for other in range(INPUTS):
                total += spreads[stack, one, other] * served[row, SERVED_INPUTS + other]
            stacks[stack, one] -= total * taken[STACK_STEP + stack]
    sum_of_shares = 0.0
    for opinion in range(OPINIONS):
        chances[opinion] = probability(served[row, SERVED_OPINIONS + opinion])
        totals[SHARE + opinion] /= math.exp(_RATE * taken[SHARE_WEIGHT] * math.log(1.0 - chances[opinion]))
        sum_of_shares += totals[SHARE + opinion]
    for opinion in range(OPINIONS):
        totals[SHARE + opinion] /= sum_of_shares

"""Linear experts in log odds: Bayesian logistic regression at three prior variances, and FTRL-proximal.

Bayesian: each weight has a mean and a variance; the step falls as evidence grows. What a prediction adds to the base
rate is shrunk by how uncertain its weights are (D. J. C. MacKay, Neural Computation 4, 1992), so that a row of which
nothing is known is predicted at the base rate. Three prior variances, because a good one depends on the click rate:
FTRL's `beta` of 1 never adapts at a rate of .002. FTRL: McMahan et al., KDD 2013, without penalties, alpha .1.
"""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.descent import ALPHA, BETA, ftrl_step
from online_models.mixture.entries import PLAIN, WHOLE, fetch_some
from online_models.mixture.hashing import probability
from online_models.mixture.layout import BAYES, BAYES_STEP, FTRL_ERROR, FTRL_INPUT, FTRL_N, FTRL_Z, PRIORS
from schemas.compiled import inlined

VARIANCES = (0.05, 0.2, 1.0)
# Only the widest prior sees novelties: with narrow ones they cost .1 point on Avazu and Criteo (2026-11-30).
_NOVEL = PRIORS - 1
# pi / 8, of MacKay's approximation.
_PROBIT = math.pi / 8.0


@inlined
def predict_linear(
    turn: int,
    base: float,
    bayes: bool,
    ftrl: bool,
    slots: np.ndarray,
    entry_at: np.ndarray,
    entry_x: np.ndarray,
    sizes: np.ndarray,
    margins: np.ndarray,
    spreads: np.ndarray,
    inputs: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """Fills `margins` (log odds of the mean weights), `spreads` (their variance) and `inputs` (what each predicts).

    Of an expert that is off, `inputs` is 0.
    """
    for expert in range(PRIORS if bayes else 0):
        fetch_some(ahead)
        margin, spread = base, 0.0
        entries = sizes[turn, WHOLE] if expert == _NOVEL else sizes[turn, PLAIN]
        for entry in range(entries):
            line, x = entry_at[turn, entry], entry_x[entry]
            variance = slots[line, BAYES + 2 * expert + 1]
            if variance == 0.0:
                variance = VARIANCES[expert]
            margin += slots[line, BAYES + 2 * expert] * x
            spread += variance * x * x
        margins[expert], spreads[expert] = margin, spread
        inputs[expert] = (margin - base) / math.sqrt(1.0 + _PROBIT * spread)
    margin = base
    for entry in range(sizes[turn, PLAIN] if ftrl else 0):
        line = entry_at[turn, entry]
        margin -= slots[line, FTRL_Z] * ALPHA / (BETA + math.sqrt(slots[line, FTRL_N])) * entry_x[entry]
    margins[FTRL_INPUT] = margin
    inputs[FTRL_INPUT] = margin - base


@inlined
def learn_linear(
    turn: int,
    bayes: bool,
    ftrl: bool,
    label: int,
    weight: float,
    slots: np.ndarray,
    entry_at: np.ndarray,
    entry_x: np.ndarray,
    sizes: np.ndarray,
    margins: np.ndarray,
    spreads: np.ndarray,
    taken: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """Takes one step of each expert from what `predict_linear` found for the row."""
    for expert in range(PRIORS if bayes else 0):
        fetch_some(ahead)
        margin, spread = margins[expert], spreads[expert]
        mean = probability(margin)
        curve = mean * (1.0 - mean) * weight
        step = (label - mean) * weight / (1.0 + curve * spread)
        taken[BAYES_STEP + expert] = step
        entries = sizes[turn, WHOLE] if expert == _NOVEL else sizes[turn, PLAIN]
        for entry in range(entries):
            line, x = entry_at[turn, entry], entry_x[entry]
            variance = slots[line, BAYES + 2 * expert + 1]
            if variance == 0.0:
                variance = VARIANCES[expert]
            slots[line, BAYES + 2 * expert] += variance * x * step
            slots[line, BAYES + 2 * expert + 1] = variance / (1.0 + variance * curve * x * x)
    error = probability(margins[FTRL_INPUT]) - label
    taken[FTRL_ERROR] = weight * error
    for entry in range(sizes[turn, PLAIN] if ftrl else 0):
        line = entry_at[turn, entry]
        ftrl_step(slots, line, FTRL_Z, FTRL_N, math.sqrt(slots[line, FTRL_N]), error * entry_x[entry], weight)


@inlined
def reverse_linear(
    turn: int,
    bayes: bool,
    ftrl: bool,
    slots: np.ndarray,
    entry_at: np.ndarray,
    entry_x: np.ndarray,
    sizes: np.ndarray,
    taken: np.ndarray,
) -> None:
    """Takes the step of each expert back, by the variances of now; these and FTRL's `n` stay."""
    for expert in range(PRIORS if bayes else 0):
        entries = sizes[turn, WHOLE] if expert == _NOVEL else sizes[turn, PLAIN]
        for entry in range(entries):
            line = entry_at[turn, entry]
            variance = slots[line, BAYES + 2 * expert + 1]
            slots[line, BAYES + 2 * expert] -= variance * entry_x[entry] * taken[BAYES_STEP + expert]
    for entry in range(sizes[turn, PLAIN] if ftrl else 0):
        slots[entry_at[turn, entry], FTRL_Z] -= taken[FTRL_ERROR] * entry_x[entry]

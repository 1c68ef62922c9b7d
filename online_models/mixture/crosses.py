"""Pairs of fields: which ones are counted, kept in a short list while the kernel runs, and how they are chosen.

The number of pairs of categories grows with the square of the fields, so only a number from the settings is counted,
100 by default: those whose input explained most of what the parents left. They are chosen every `EPOCH` rows, and
`TRIED` others are tried until the next choice. In the first `EARLY_ROWS` more are kept, 256 by default, because many
pairs together then say what no single one has shown: 100 cost .1 points on Avazu and Criteo (2026-11-30).
"""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.layout import (
    ACTIVE,
    CROSS_COLUMNS,
    CROSS_CURVE,
    CROSS_ROWS,
    CROSS_SINCE,
    CROSS_SLOPE,
    EPOCHS,
    FIELDS,
    IDLE,
    LEARNED,
    MOST_CROSSES,
    MOST_EARLY,
    NEXT_CROSS,
    UNSEEN,
)
from schemas.compiled import inlined, part

TRIED = 16
EARLY_ROWS = 10_000
EPOCH = 2_000
FIRST_CROSS_WEIGHT = 0.05
# What evidence of an epoch counts in the next: a window of about five epochs.
_KEPT_EVIDENCE = 0.8
# Standard errors that an input must exceed to count as evidence: one tried for a single epoch is mostly noise.
_NOISE = 1.0
_ONE, _ALL = np.uint64(1), np.uint64((1 << 64) - 1)
# The choices of so many crosses are looked at together.
_TOGETHER = 8


@inlined
def load_crosses(
    crosses: np.ndarray, choices: np.ndarray, ids: np.ndarray, counted: np.ndarray, met: np.ndarray
) -> int:
    """Lists the crosses that are counted: their numbers in `ids`, their columns in `counted`. Returns how many.

    `met` has for each field a bit for each field behind it with which a row had it, and for all that are not behind it.
    """
    found = 0
    for field in range(FIELDS):
        met[field] = ~((_ALL << np.uint64(field)) << _ONE)
    words = choices.view(np.uint64)
    for place in range(len(words)):
        if words[place] == 0:
            continue
        for cross in range(_TOGETHER * place, _TOGETHER * (place + 1)):
            if choices[cross] != UNSEEN:
                met[cross // FIELDS] |= _ONE << np.uint64(cross % FIELDS)
            if choices[cross] == ACTIVE:
                ids[found] = cross
                for column in range(CROSS_COLUMNS):
                    counted[column, found] = crosses[cross, column]
                found += 1
    return found


@inlined
def store_crosses(many: int, crosses: np.ndarray, ids: np.ndarray, counted: np.ndarray) -> None:
    """Puts what is in the list back."""
    for place in range(many):
        for column in range(CROSS_COLUMNS):
            crosses[ids[place], column] = counted[column, place]


@inlined
def meet_fields(
    turn: int,
    category_field: np.ndarray,
    categories: int,
    met: np.ndarray,
    choices: np.ndarray,
    totals: np.ndarray,
) -> bool:
    """Notes which fields the row has together. Returns whether crosses are counted now that were not.

    In the first epoch all are.
    """
    row, grown = np.uint64(0), False
    for category in range(categories):
        row |= _ONE << np.uint64(category_field[turn, category])
    for category in range(categories):
        field = category_field[turn, category]
        new = row & ~met[field]
        if new != 0:
            grown = totals[EPOCHS] == 0.0
            for other in range(field + 1, FIELDS):
                if new & (_ONE << np.uint64(other)) != 0:
                    choices[field * FIELDS + other] = ACTIVE if grown else IDLE
            met[field] |= row
    return grown


@part
def evidence(slope: float, curve: float, rows: float) -> float:
    """How much loss an input saves in a row, less what noise would seem to save; 0 or more."""
    if rows == 0.0 or slope <= 0.0 or curve <= 0.0:
        return 0.0
    surplus = slope / math.sqrt(curve) - _NOISE
    return surplus * surplus / rows if surplus > 0.0 else 0.0


@inlined
def choose_crosses(
    options: np.ndarray,
    crosses: np.ndarray,
    choices: np.ndarray,
    totals: np.ndarray,
    many: int,
    ids: np.ndarray,
    worth: np.ndarray,
) -> None:
    """Keeps the crosses with most evidence active, and gives the next ones a trial. At least one is kept."""
    totals[EPOCHS] += 1.0
    most = max(1, options[MOST_EARLY] if totals[LEARNED] < EARLY_ROWS else options[MOST_CROSSES])
    present = 0
    for cross in range(len(crosses)):
        present += int(choices[cross] != UNSEEN)
    for cross in range(len(crosses)):
        worth[cross] = 0.0
        if choices[cross] == ACTIVE:
            worth[cross] = evidence(
                crosses[cross, CROSS_SLOPE], crosses[cross, CROSS_CURVE], crosses[cross, CROSS_ROWS]
            )
    for cross in range(len(crosses)):
        if present <= most + TRIED:
            if choices[cross] == IDLE:
                choices[cross], crosses[cross, CROSS_SINCE] = ACTIVE, totals[EPOCHS]
        else:
            stays = worth[cross] > 0.0
            if stays:
                # How many stand before it; of equal ones those with the lowest numbers.
                before = 0
                for place in range(many):
                    other = worth[ids[place]]
                    before += int(other > worth[cross] or (other == worth[cross] and ids[place] < cross))
                stays = before < most
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

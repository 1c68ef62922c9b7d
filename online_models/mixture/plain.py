"""FTRL-proximal alone, on the rows of the mixture: the cheapest model, and a baseline to compare with.

As the expert in `linear`, but over hashed categories and the numbers as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from online_models.mixture.actions import CLICKED, KEEP, LEARN, REVERSE, SHOW, Actions
from online_models.mixture.descent import ALPHA, BETA, ftrl_step
from online_models.mixture.hashing import mixed, probability
from online_models.mixture.layout import FTRL_ERROR, ROW_SLOTS, UNSAVED
from online_models.mixture.row_model import NO_GRADIENTS, PRIOR_RATE, PRIOR_ROWS, RowModel
from online_models.mixture.rows import Fields, Rows
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from schemas.compiled import kernel, read, written

_Z, _N = 0, 1
_SHOWN, _CLICKED = 0, 1


@kernel(
    *(read("i8"), read("u8"), read("f8"), written("f8"), written("f8", 2), written("f8", 2), written("f8")),
    *(written("u1"), read("i8"), read("u1"), read("f8")),
)
def plain_step(
    start: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    predicted: np.ndarray,
    gradients: np.ndarray,
    slots: np.ndarray,
    totals: np.ndarray,
    slot_marks: np.ndarray,
    action_rows: np.ndarray,
    action_kinds: np.ndarray,
    action_weights: np.ndarray,
) -> None:
    """Does all actions in their order, as `step.step` does."""
    at, x, root = np.empty(ROW_SLOTS + 1, np.int64), np.empty(ROW_SLOTS + 1), np.empty(ROW_SLOTS + 1)
    mask = np.uint64(len(slots) - 2)
    at[0], x[0] = len(slots) - 1, 1.0
    for action in range(len(action_rows)):
        row, kind, weight = action_rows[action], action_kinds[action], action_weights[action]
        rate = totals[_CLICKED] / totals[_SHOWN]
        log_odds = math.log(rate / (1.0 - rate))
        entries = start[row + 1] - start[row] + 1
        for entry in range(entries):
            if entry > 0:
                slot = start[row] + entry - 1
                at[entry], x[entry] = np.int64(mixed(keys[slot]) & mask), values[slot]
            line = at[entry]
            root[entry] = math.sqrt(slots[line, _N])
            log_odds -= slots[line, _Z] * ALPHA / (BETA + root[entry]) * x[entry]
        chance = probability(log_odds)
        if kind & SHOW != 0:
            predicted[row] = chance
        if kind & (LEARN | REVERSE) != 0:
            for entry in range(entries):
                slot_marks[at[entry]] = UNSAVED
        if kind & REVERSE != 0:
            for entry in range(entries):
                slots[at[entry], _Z] -= gradients[row, FTRL_ERROR] * x[entry]
            totals[_SHOWN] -= weight
        if kind & LEARN == 0:
            continue
        label = 1 if kind & CLICKED != 0 else 0
        if kind & KEEP != 0:
            gradients[row, FTRL_ERROR] = weight * (chance - label)
        for entry in range(entries):
            ftrl_step(slots, at[entry], _Z, _N, root[entry], (chance - label) * x[entry], weight)
        totals[_SHOWN] += weight
        totals[_CLICKED] += label * weight


class Ftrl(RowModel):
    """FTRL that has learned nothing yet."""

    kind = "ftrl"

    def __init__(self, settings: MixtureSettings = DEFAULTS, known: Fields | None = None) -> None:
        super().__init__(settings, known)
        self._slots = np.zeros(((1 << settings.slot_bits) + 1, 2))
        self._totals: Final = np.array([PRIOR_ROWS, PRIOR_ROWS * PRIOR_RATE])
        self._marks = (np.zeros(len(self._slots), np.uint8),)

    def act(self, rows: Rows, actions: Actions, gradients: np.ndarray = NO_GRADIENTS) -> None:
        (marks,) = self._marks
        plain_step(rows.start, rows.keys, rows.values, rows.predicted, gradients, *self._state(), marks, *actions)

    def _state(self) -> tuple[np.ndarray, np.ndarray]:
        return self._slots, self._totals

    def _weights(self, state: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        slots = state[0]
        return (slots[:, _Z] * ALPHA / (BETA + np.sqrt(slots[:, _N])),)

    def shares(self) -> dict[str, float]:
        return {"ftrl": 1.0}

"""FTRL-proximal alone, on the rows of the mixture: the cheapest model, and a baseline to compare with.

As the expert in `linear`, but over hashed categories and the numbers as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from online_models.mixture.actions import CLICKED, KEEP, LEARN, REVERSE, SHOW, Actions
from online_models.mixture.descent import ALPHA, BETA
from online_models.mixture.hashing import mixed, probability
from online_models.mixture.layout import FTRL_ERROR, ROW_SLOTS
from online_models.mixture.marks import Marks, mark
from online_models.mixture.row_model import NO_GRADIENTS, PRIOR_RATE, PRIOR_ROWS, RowModel
from online_models.mixture.rows import Fields, Rows
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from schemas.compiled import inlined, kernel, read, written
from schemas.instructions import prefetch, root

_Z, _N = 0, 1
_SHOWN, _CLICKED = 0, 1
_ENTRIES = ROW_SLOTS + 1
# Of each entry of a row: what it is multiplied by, what its line has, the root of `n`, its step and that of `n`.
_X, _ZS, _NS, _ROOT, _STEP, _SQUARE = range(6)
_LINE_BYTES = 16
# Lines of the next row that are fetched together; see `entries`.
_FETCHED = 12


@inlined
def _locate(
    turn: int, first: int, last: int, keys: np.ndarray, slots: np.ndarray, at: np.ndarray, ahead: np.ndarray
) -> None:
    """Fills the lines of the row with these slots, behind that of the intercept, and their addresses."""
    mask, address = np.uint64(len(slots) - 2), np.int64(slots.ctypes.data)
    at[turn, 0] = len(slots) - 1
    for slot in range(first, last):
        line = np.int64(mixed(keys[slot]) & mask)
        at[turn, slot - first + 1] = line
        ahead[slot - first] = address + line * _LINE_BYTES


@inlined
def _fetch(begin: int, end: int, ahead: np.ndarray) -> int:
    """Begins to fetch the next few lines; returns where it stopped."""
    stop = min(end, begin + _FETCHED)
    for each in range(begin, stop):
        prefetch(ahead[each])
    return stop


@kernel(
    *(read("i8"), read("u8"), read("f8"), written("f8"), written("f8", 2), written("f8", 2), written("f8")),
    *(written("u1"), read("i8"), read("u1"), read("f8"), written("i8", 2), written("f8", 2), written("i8")),
    floats=True,
    allocates=False,
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
    at: np.ndarray,
    of: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """Does all actions in their order, as `step.step` does; from `at` on the arguments are those of `_scratch`.

    Loops either reach into the table or compute. Entries that share a line each add to what was there before the row.
    """
    of[_X, 0] = 1.0
    for action in range(-1, len(action_rows)):
        turn, next_end, fetched = action & 1, 0, 0
        if action + 1 < len(action_rows):
            row = action_rows[action + 1]
            next_end = start[row + 1] - start[row]
            _locate((action + 1) & 1, start[row], start[row + 1], keys, slots, at, ahead)
        if action < 0:
            continue
        row, kind, weight = action_rows[action], action_kinds[action], action_weights[action]
        rate = totals[_CLICKED] / totals[_SHOWN]
        log_odds = math.log(rate / (1.0 - rate))
        first, entries = start[row], start[row + 1] - start[row] + 1
        fetched = _fetch(fetched, next_end, ahead)
        for entry in range(1, entries):
            of[_X, entry] = values[first + entry - 1]
        for entry in range(entries):
            line = at[turn, entry]
            of[_ZS, entry], of[_NS, entry] = slots[line, _Z], slots[line, _N]
        for entry in range(entries):
            of[_ROOT, entry] = root(of[_NS, entry])
            of[_STEP, entry] = of[_ZS, entry] * ALPHA / (BETA + of[_ROOT, entry]) * of[_X, entry]
        fetched = _fetch(fetched, next_end, ahead)
        for entry in range(entries):
            log_odds -= of[_STEP, entry]
        chance = probability(log_odds)
        fetched = _fetch(fetched, next_end, ahead)
        if kind & SHOW != 0:
            predicted[row] = chance
        if kind & (LEARN | REVERSE) != 0:
            for entry in range(entries):
                mark(slot_marks, at[turn, entry])
        if kind & REVERSE != 0:
            for entry in range(entries):
                slots[at[turn, entry], _Z] -= gradients[row, FTRL_ERROR] * of[_X, entry]
            totals[_SHOWN] -= weight
        if kind & LEARN == 0:
            continue
        label = 1 if kind & CLICKED != 0 else 0
        error = chance - label
        if kind & KEEP != 0:
            gradients[row, FTRL_ERROR] = weight * error
        for entry in range(entries):
            gradient, before = error * of[_X, entry], of[_ROOT, entry]
            square = weight * gradient * gradient
            # w = -z * alpha / (beta + sqrt(n)), so (sqrt(n') - sqrt(n)) / alpha * w = -shift * z.
            shift = (root(of[_NS, entry] + square) - before) / (BETA + before)
            of[_STEP, entry] = weight * gradient + shift * of[_ZS, entry]
            of[_SQUARE, entry] = square
        fetched = _fetch(fetched, next_end, ahead)
        for entry in range(entries):
            line = at[turn, entry]
            slots[line, _Z] += of[_STEP, entry]
            slots[line, _N] += of[_SQUARE, entry]
        while fetched < next_end:
            fetched = _fetch(fetched, next_end, ahead)
        totals[_SHOWN] += weight
        totals[_CLICKED] += label * weight


def _scratch() -> tuple[np.ndarray, ...]:
    """Arrays for one call of the kernel: lines of this row and the next one, numbers of entries, addresses."""
    return np.empty((2, _ENTRIES), np.int64), np.empty((_SQUARE + 1, _ENTRIES)), np.empty(ROW_SLOTS, np.int64)


class Ftrl(RowModel):
    """FTRL that has learned nothing yet."""

    kind = "ftrl"

    def __init__(self, settings: MixtureSettings = DEFAULTS, known: Fields | None = None) -> None:
        super().__init__(settings, known)
        self._slots = np.zeros(((1 << settings.slot_bits) + 1, 2))
        self._totals: Final = np.array([PRIOR_ROWS, PRIOR_ROWS * PRIOR_RATE])
        self._marks = (Marks(len(self._slots)),)

    def act(self, rows: Rows, actions: Actions, gradients: np.ndarray = NO_GRADIENTS) -> None:
        (marks,) = self._marks
        plain_step(
            rows.start,
            rows.keys,
            rows.values,
            rows.predicted,
            gradients,
            *self._state(),
            marks.unsaved,
            *actions,
            *_scratch(),
        )

    def _state(self) -> tuple[np.ndarray, np.ndarray]:
        return self._slots, self._totals

    def _weights(self, state: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        slots = state[0]
        return (slots[:, _Z] * ALPHA / (BETA + np.sqrt(slots[:, _N])),)

    def shares(self) -> dict[str, float]:
        return {"ftrl": 1.0}

"""FTRL-proximal alone, on the rows of the mixture: the cheapest model, and a baseline to compare with.

As the expert in `linear`, but over hashed categories and the numbers as they are.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import xxhash

from online_models.mixture.hashing import mixed, probability
from online_models.mixture.layout import ROW_SLOTS
from online_models.mixture.linear import ALPHA, BETA
from online_models.mixture.model import PRIOR_RATE, PRIOR_ROWS, settings_bytes
from online_models.mixture.rows import Fields, Rows
from online_models.mixture.selection import Selection
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from online_models.mixture.step import END, NEW, OLD
from schemas.compiled import INT64, kernel, read, written

_Z, _N = 0, 1
_SHOWN, _CLICKED = 0, 1


@kernel(
    *(read("i8"), read("u8"), read("f8"), read("i1"), read("f8"), read("i8"), written("f8")),
    *(written("f8", 2), written("f8"), written("i8"), INT64),
)
def ftrl_step(
    start: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    ts: np.ndarray,
    predicted: np.ndarray,
    slots: np.ndarray,
    totals: np.ndarray,
    cursor: np.ndarray,
    delay: int,
) -> None:
    """Predicts all rows from `cursor[NEW]`, and learns those that are due, as `step.step` does."""
    at, x, root = np.empty(ROW_SLOTS + 1, np.int64), np.empty(ROW_SLOTS + 1), np.empty(ROW_SLOTS + 1)
    mask = np.uint64(len(slots) - 2)
    at[0], x[0] = len(slots) - 1, 1.0
    while cursor[NEW] < cursor[END]:
        old, new = cursor[OLD], cursor[NEW]
        late = old < new and ts[old] + delay <= ts[new]
        row = old if late else new
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
        if not late:
            predicted[row] = chance
            cursor[NEW] += 1
            if delay > 0:
                continue
        label, weight = int(labels[row]), weights[row]
        for entry in range(entries):
            line = at[entry]
            gradient = (chance - label) * x[entry]
            after = slots[line, _N] + weight * gradient * gradient
            shift = (math.sqrt(after) - root[entry]) / (BETA + root[entry])
            slots[line, _Z] += weight * gradient + shift * slots[line, _Z]
            slots[line, _N] = after
        totals[_SHOWN] += weight
        totals[_CLICKED] += label * weight
        cursor[OLD] += 1


class Ftrl:
    """FTRL that has learned nothing yet; used as a `Mixture` is."""

    def __init__(self, settings: MixtureSettings = DEFAULTS) -> None:
        self._settings = settings
        self.known = Fields()
        self.selection = Selection(settings, self.known)
        self._slots = np.zeros(((1 << settings.slot_bits) + 1, 2))
        self._totals: Final = np.array([PRIOR_ROWS, PRIOR_ROWS * PRIOR_RATE])
        self._waiting = Rows.none()

    @property
    def waiting(self) -> int:
        """Rows that were shown and are not learned yet."""
        return len(self._waiting)

    def run(self, rows: Rows) -> np.ndarray:
        """The click probability of each row, as it was when the row was shown."""
        waiting = len(self._waiting)
        every = self._waiting.followed_by(rows)
        cursor = np.array([0, waiting, len(every)], np.int64)
        ftrl_step(
            *(every.start, every.keys, every.values, every.labels, every.weights, every.ts, every.predicted),
            *(self._slots, self._totals, cursor, self._settings.delay_ms),
        )
        self._waiting = every.behind(int(cursor[OLD]))
        return every.predicted[waiting:]

    def shares(self) -> dict[str, float]:
        """It is the only opinion."""
        return {"ftrl": 1.0}

    def digest(self) -> str:
        """A hash of the whole state and of the settings that were changed."""
        found = xxhash.xxh3_64(settings_bytes(self._settings))
        for array in (self._slots, self._totals, self.known.hashes, *self._waiting.columns()):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

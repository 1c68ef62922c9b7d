"""The mixture's arrays, and batches of rows run through its kernel."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from online_models.mixture.actions import Actions
from online_models.mixture.counts import FIRST_COUNT_WEIGHT, FIRST_GRADIENT
from online_models.mixture.crosses import FIRST_CROSS_WEIGHT
from online_models.mixture.layout import (
    ADA_WEIGHT,
    BAYES,
    BIAS_GRADIENT,
    CACHE_BYTES,
    CARRIED,
    CLICKS,
    COUNT_GRADIENT,
    COUNT_WEIGHT,
    CROSS_COLUMNS,
    CROSS_GRADIENT,
    CROSS_WEIGHT,
    FIELD_COLUMNS,
    FIELDS,
    INPUTS,
    LEARNED,
    MIXED,
    MOST_CROSSES,
    MOST_EARLY,
    NOVELTIES,
    NOVELTY_GRADIENT,
    NOVELTY_WEIGHT,
    OPINION_NAMES,
    OPINIONS,
    OPTION_COLUMNS,
    PAIR_COLUMNS,
    PAIR_WEIGHT,
    SHARE,
    SLOT_COLUMNS,
    STACKS,
    TOTAL_COLUMNS,
    WEIGHT,
    WEIGHTS,
    WITH_ADAGRAD,
    WITH_BAYES,
    WITH_COUNTS,
    WITH_FTRL,
    WITH_NOVELTY,
)
from online_models.mixture.marks import Marks
from online_models.mixture.mixing import FIRST_STACK_WEIGHTS, STACK_VARIANCES
from online_models.mixture.row_model import NO_GRADIENTS, PRIOR_RATE, PRIOR_ROWS, RowModel
from online_models.mixture.rows import Fields, Rows
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from online_models.mixture.step import scratch, step


class Mixture(RowModel):
    """A mixture of experts that has learned nothing yet."""

    kind = "mixture"

    def __init__(self, settings: MixtureSettings = DEFAULTS, known: Fields | None = None) -> None:
        super().__init__(settings, known)
        self._options = _options(settings)
        self._slots = _table((1 << settings.slot_bits) + 1 + FIELDS * NOVELTIES, SLOT_COLUMNS)
        self._pairs = _table(1 << settings.pair_bits, PAIR_COLUMNS)
        self._fields = np.zeros((FIELDS, FIELD_COLUMNS))
        self._fields[:, [COUNT_WEIGHT, NOVELTY_WEIGHT]] = FIRST_COUNT_WEIGHT
        self._fields[:, [COUNT_GRADIENT, NOVELTY_GRADIENT]] = FIRST_GRADIENT
        self._crosses = np.zeros((FIELDS * FIELDS, CROSS_COLUMNS))
        self._crosses[:, CROSS_WEIGHT] = FIRST_CROSS_WEIGHT
        self._crosses[:, CROSS_GRADIENT] = FIRST_GRADIENT
        self._choices = np.zeros(FIELDS * FIELDS, np.uint8)
        self._totals = np.zeros(TOTAL_COLUMNS)
        self._totals[WEIGHT], self._totals[CLICKS] = PRIOR_ROWS, PRIOR_ROWS * PRIOR_RATE
        self._totals[BIAS_GRADIENT] = FIRST_GRADIENT
        mixed = self._options[MIXED : MIXED + OPINIONS]
        self._totals[SHARE : SHARE + OPINIONS] = mixed / mixed.sum()
        self._stacks = np.zeros((STACKS, WEIGHTS))
        self._stacks[:, :INPUTS] = FIRST_STACK_WEIGHTS
        self._spreads = np.array([np.eye(WEIGHTS) * variance for variance in STACK_VARIANCES])
        self._marks = tuple(Marks(len(array)) for array in (self._slots, self._pairs))

    def act(self, rows: Rows, actions: Actions, gradients: np.ndarray = NO_GRADIENTS) -> None:
        columns = (rows.start, rows.keys, rows.values, rows.numbers, rows.fields, rows.seen, rows.served)
        given = (
            *columns,
            rows.predicted,
            gradients,
            *self._state(),
            *(each.unsaved for each in self._marks),
            self._options,
            *actions,
        )
        step(*given, *scratch())

    def predict(self, rows: Rows) -> np.ndarray:
        # Showing a row notes which pairs of fields there are, before it is learned. So that is done on a copy.
        apart = copy(self)
        apart._choices = self._choices.copy()
        return super(Mixture, apart).predict(rows)

    def _weights(self, state: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        slots, pairs, fields, crosses, _, _, stacks, _ = state
        return (
            slots[:, [BAYES, BAYES + 2, BAYES + 4, ADA_WEIGHT]],
            pairs[:, PAIR_WEIGHT],
            fields[:, [COUNT_WEIGHT, NOVELTY_WEIGHT]],
            crosses[:, CROSS_WEIGHT],
            stacks,
        )

    def shares(self) -> dict[str, float]:
        learned = self._totals[LEARNED]
        sums = self._totals[CARRIED : CARRIED + OPINIONS]
        return {
            name: float(total / learned) if learned else 0.0 for name, total in zip(OPINION_NAMES, sums, strict=True)
        }

    def _state(self) -> tuple[np.ndarray, ...]:
        return (
            *(self._slots, self._pairs, self._fields, self._crosses, self._choices),
            *(self._totals, self._stacks, self._spreads),
        )


def _table(lines: int, columns: int) -> np.ndarray:
    """Lines of zeros, which take no memory until they are written.

    It begins where a line of the processor's cache does, so that a line of pairs is not on two of these.
    """
    width = CACHE_BYTES // 8
    cells = np.zeros(lines * columns + width)
    first = -(cells.ctypes.data // 8) % width
    return cells[first : first + lines * columns].reshape(lines, columns)


def _options(settings: MixtureSettings) -> np.ndarray:
    """The settings as the kernel reads them. An opinion is not mixed if nothing that it is made of is on."""
    found = np.zeros(OPTION_COLUMNS, np.int64)
    found[MOST_CROSSES], found[MOST_EARLY] = settings.kept, settings.kept_early
    for column, on in (
        (WITH_BAYES, settings.bayes),
        (WITH_FTRL, settings.ftrl),
        (WITH_ADAGRAD, settings.adagrad),
        (WITH_COUNTS, settings.counts),
        (WITH_NOVELTY, settings.novelty),
    ):
        found[column] = on
    mixed = {
        "bayes": settings.bayes,
        "adagrad": settings.adagrad,
        "counts": settings.counts or settings.novelty or settings.kept > 0,
    }
    found[MIXED : MIXED + OPINIONS] = [mixed.get(name, True) for name in OPINION_NAMES]
    return found

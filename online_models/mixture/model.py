"""The mixture's arrays, and batches of rows run through its kernel."""

from __future__ import annotations

import numpy as np
import xxhash

from online_models.mixture.counts import FIRST_COUNT_WEIGHT, FIRST_GRADIENT
from online_models.mixture.layout import (
    BIAS_GRADIENT,
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
from online_models.mixture.mixing import FIRST_STACK_WEIGHTS, STACK_VARIANCES
from online_models.mixture.pairs import FIRST_CROSS_WEIGHT
from online_models.mixture.rows import Fields, Rows
from online_models.mixture.selection import Selection
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from online_models.mixture.snapshot import decode_snapshot, encode_snapshot
from online_models.mixture.step import step
from schemas.codec import encode

# The base rate before the first row, with two rows' worth of evidence, so that it is gone after a few. It matters when
# labels come late: until then .15 loses .16 nats a row at a true rate of .002, .34 at .5, and under .02 from .1 to .2.
PRIOR_ROWS, PRIOR_RATE = 2.0, 0.15


class Mixture:
    """A mixture that has learned nothing yet.

    `run` predicts a batch of rows and learns those that are due, at once or after the delay of its settings. Batches of
    any size give the same arrays, to the bit. Rows are read with `known` and `selection`.
    """

    def __init__(self, settings: MixtureSettings = DEFAULTS) -> None:
        self._settings = settings
        self._options = _options(settings)
        # Zeros take no memory until they are written.
        self._slots = np.zeros(((1 << settings.slot_bits) + 1 + FIELDS * NOVELTIES, SLOT_COLUMNS))
        self._pairs = np.zeros((1 << settings.pair_bits, PAIR_COLUMNS))
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
        self.known = Fields()
        self.selection = Selection(settings, self.known)
        self._waiting = Rows.none()

    def run(self, rows: Rows) -> np.ndarray:
        """The click probability of each row, as it was when the row was shown: in order, strictly between 0 and 1."""
        waiting = len(self._waiting)
        every = self._waiting.followed_by(rows)
        cursor = np.array([0, waiting, len(every)], np.int64)
        given = (*every.columns(), *self._state(), self._options, cursor)
        step(*given, self._settings.delay_ms)  # type: ignore[call-arg,arg-type]  # by position
        self._waiting = every.behind(int(cursor[0]))
        return every.predicted[waiting:]

    @property
    def waiting(self) -> int:
        """Rows that were shown and are not learned yet."""
        return len(self._waiting)

    def shares(self) -> dict[str, float]:
        """The mean share of each opinion in the mixture, over all rows learned; their sum is 1."""
        learned = self._totals[LEARNED]
        sums = self._totals[CARRIED : CARRIED + OPINIONS]
        return {
            name: float(total / learned) if learned else 0.0 for name, total in zip(OPINION_NAMES, sums, strict=True)
        }

    def digest(self) -> str:
        """A hash of the state and of settings other than the default: equal ones have learned the same, and will."""
        found = xxhash.xxh3_64(settings_bytes(self._settings))
        for array in (*self._state(), self.known.hashes, *self._waiting.columns()):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def snapshot(self) -> bytes:
        """The whole state, canonical: equal states give equal bytes."""
        return encode_snapshot(self._settings.as_data(), (*self._state(), self.known.hashes, *self._waiting.columns()))

    def restore(self, data: bytes) -> None:
        """Takes the state of a snapshot in place of what was learned. Raises DamagedState or StateMismatch."""
        found = decode_snapshot(data, self._settings.as_data())
        state = self._state()
        for own, kept in zip(state, found, strict=False):
            own[...] = kept
        self.known.take(found[len(state)])
        self._waiting = Rows(*found[len(state) + 1 :])

    def _state(self) -> tuple[np.ndarray, ...]:
        return (
            *(self._slots, self._pairs, self._fields, self._crosses, self._choices),
            *(self._totals, self._stacks, self._spreads),
        )


def settings_bytes(settings: MixtureSettings) -> bytes:
    """What a digest has of these settings: those that are not as by default, so none for the default."""
    changed = settings.changed()
    return encode(changed) if changed else b""


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

"""What the models of this room have in common: rows in, predictions out, and rows that wait for their label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
import xxhash

from online_models.features import Shown
from online_models.mixture.actions import Actions, after_delay, shown_only
from online_models.mixture.layout import GRADIENT_COLUMNS
from online_models.mixture.marks import Marks
from online_models.mixture.rows import Fields, Rows, rows_of
from online_models.mixture.selection import Selection
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from online_models.mixture.snapshot import decode_snapshot, encode_snapshot
from online_models.turns import EVERYTHING, Turn
from schemas.codec import encode
from schemas.errors import DamagedState

# The base rate before the first row, with two rows' worth of evidence, so that it is gone after a few. It matters when
# labels come late: until then .15 loses .16 nats a row at a true rate of .002, .34 at .5, and under .02 from .1 to .2.
PRIOR_ROWS, PRIOR_RATE = 2.0, 0.15
# The log odds of a prediction end at 35. A weight of an input near 1 that is so far beyond it has diverged.
MOST_WEIGHT: Final = 1e4
# For actions that neither keep nor reverse.
NO_GRADIENTS: Final = np.zeros((0, GRADIENT_COLUMNS))
# Lines that are looked at together: about 2 MB, which stay in the processor's cache.
_BLOCK: Final = 1 << 14


class RowModel(ABC):
    """A model that has learned nothing yet.

    `run` predicts a batch of rows and learns those that are due, at once or after the delay of its settings. Batches of
    any size give the same arrays, to the bit. Rows are read with `known` and `selection`. `kind` names it in settings
    and published models.
    """

    kind: ClassVar[str]

    def __init__(self, settings: MixtureSettings = DEFAULTS, known: Fields | None = None) -> None:
        self._settings = settings
        self.known = Fields() if known is None else known
        self.selection = Selection(settings, self.known, reserve=known is None)
        self._waiting = Rows.none()
        # Those of the first arrays of the state. A line that is not marked is zero.
        self._marks: tuple[Marks, ...] = ()

    @abstractmethod
    def act(self, rows: Rows, actions: Actions, gradients: np.ndarray = NO_GRADIENTS) -> None:
        """Does the actions on the rows, in order; fills what they have of being shown, and `gradients` that are kept.

        If it only shows rows it changes no state.
        """

    @abstractmethod
    def _state(self) -> tuple[np.ndarray, ...]:
        """The arrays of what was learned."""

    @abstractmethod
    def _weights(self, state: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
        """The weights among these lines of the arrays: numbers that stay small while all is well."""

    @abstractmethod
    def shares(self) -> dict[str, float]:
        """The mean share of each opinion in the prediction, over all rows learned; their sum is 1."""

    def run(self, rows: Rows) -> np.ndarray:
        """The click probability of each row, as it was when the row was shown: in order, strictly between 0 and 1."""
        waiting = len(self._waiting)
        every = self._waiting.followed_by(rows)
        actions, learned = after_delay(
            every.ts, every.labels, every.weights, waiting=waiting, delay_ms=self._settings.delay_ms
        )
        self.act(every, actions)
        self._waiting = every.behind(learned)
        return every.predicted[waiting:]

    def rows(self, shown: Iterable[Shown]) -> Rows:
        """The rows of impressions as this model sees them. A field that it does not know gets no number of its own."""
        known = self.known.copy()
        return self.selected(rows_of(shown, known), known)

    def selected(self, rows: Rows, known: Fields | None = None) -> Rows:
        """Rows that were not shown yet, as this model sees them; they share the columns it does not change.

        Their fields are numbered by `known`, by default the model's own.
        """
        columns = self.selection.of(known or self.known, rows.start, rows.keys, rows.values, rows.numbers, rows.fields)
        return Rows.of(*columns, rows.labels, rows.weights, rows.ts)

    def predict(self, rows: Rows) -> np.ndarray:
        """The click probability of each row, to the bit what `run` would give first. It changes nothing.

        Several threads may call it at once.
        """
        self.act(rows, shown_only(len(rows)))
        return rows.predicted

    @property
    def nbytes(self) -> int:
        """Bytes of memory the arrays take at most."""
        return sum(array.nbytes for array in self._state()) + sum(marks.nbytes for marks in self._marks)

    def fault(self) -> Literal["", "not_finite", "weights"]:
        """What is wrong with the state; empty if nothing is."""
        diverged = False
        for state in self._used():
            # The sum of a number that is not finite is not finite.
            if not all(np.isfinite(array.sum()) for array in state if array.dtype.kind == "f"):
                return "not_finite"
            found = (array for array in self._weights(state) if array.size)
            diverged |= any(max(-array.min(), array.max()) > MOST_WEIGHT for array in found)
        return "weights" if diverged else ""

    def _used(self) -> Iterator[tuple[np.ndarray, ...]]:
        """The arrays: first without those that have marks, then of these the lines in use, some at a time."""
        state, marked = self._state(), len(self._marks)
        none = tuple(array[:0] for array in state)
        yield (*none[:marked], *state[marked:])
        for number, marks in enumerate(self._marks):
            lines = marks.used()
            for start in range(0, len(lines), _BLOCK):
                yield *none[:number], state[number][lines[start : start + _BLOCK]], *none[number + 1 :]

    def config(self) -> dict[str, Any]:
        """The settings as a snapshot keeps them."""
        return self._settings.as_data()

    def snapshot(self, turn: Turn = EVERYTHING) -> bytes:
        """The whole state, canonical: equal states give equal bytes. With a turn: the lines that it selects."""
        lines = [marks.due(turn) for marks in self._marks]
        return encode_snapshot(
            {"kind": self.kind, **self.config()}, (*self._state(), self.known.hashes, *self._waiting.columns()), lines
        )

    def saved(self) -> None:
        """What `snapshot` would give now is saved."""
        for marks in self._marks:
            marks.saved()

    def restore(self, *saved: bytes) -> None:
        """Takes the state of a snapshot, or of snapshots by turns in their order, in place of what was learned.

        Raises DamagedState or StateMismatch.
        """
        every = [decode_snapshot(data, {"kind": self.kind, **self.config()}) for data in saved]
        state = (*self._state(), self.known.hashes)
        ours = [(own.dtype, own.shape) for own in state]
        if any([(kept.cells.dtype, kept.shape) for kept in found[: len(state)]] != ours for found in every):
            raise DamagedState(f"the snapshot of a {self.kind} has other arrays than this one")
        last, marked = every[-1], len(self._marks)
        for number, (own, marks) in enumerate(zip(state, self._marks, strict=False)):
            # Only what is in use, because the other lines take no memory until they are written.
            own[marks.used()] = 0.0
            marks.clear()
            for found in every:
                own[found[number].numbers] = found[number].cells
                marks.add_saved(found[number].numbers)
        for own, kept in zip(self._state()[marked:], last[marked:], strict=False):
            own[...] = kept.whole()
        self.known.take(last[len(state) - 1].whole())
        self._waiting = Rows(*(kept.whole() for kept in last[len(state) :]))

    @property
    def waiting(self) -> int:
        """Rows that were shown and are not learned yet."""
        return len(self._waiting)

    def digest(self) -> str:
        """A hash of the state and of settings other than the default: equal ones have learned the same, and will."""
        changed = self._settings.changed()
        found = xxhash.xxh3_64(encode(changed) if changed else b"")
        for array in (*self._state(), self.known.hashes, *self._waiting.columns()):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

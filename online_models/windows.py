"""Progressive validation by event time: what was predicted before it was learned, window by window.

A window holds the examples whose *impression* fell into it, so its observed and its predicted clicks are of the same
impressions. It closes when the learner's event time is `grace_ms` past its end. The log alone decides event time: the
same examples in the same order give the same windows, in batches of any size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from online_models.by_serial import extended
from online_models.metrics import Scores, score
from online_models.mixture.rows import text_hash
from online_models.turns import EVERYTHING, Turn, joined, latest

# The columns of a window and their types as they are saved.
_SAVED: Final = {"labels": "i1", "weights": "<f8", "served": "<f8", "predicted": "<f8", "codes": "<u4"}
# The same, the numbers of examples, and where each model began.
_COLUMNS: Final = len(_SAVED) + 2


@dataclass(frozen=True, slots=True)
class Measured:
    """Examples in the order of learning, as columns: all that windows keep of them.

    `served` is what the bidder sent, NaN without it. `predicted` has a column for each model, None for one that has not
    begun. `keys` has a column for each slice dimension, 0 where an example has none.
    """

    ts: NDArray[np.int64]
    labels: NDArray[np.int8]
    weights: NDArray[np.float64]
    served: NDArray[np.float64]
    predicted: Sequence[NDArray[np.float64] | None]
    keys: NDArray[np.uint64]

    def of(self, rows: NDArray[Any]) -> Measured:
        """Some of the examples."""
        predicted = [None if column is None else column[rows] for column in self.predicted]
        return Measured(
            self.ts[rows], self.labels[rows], self.weights[rows], self.served[rows], predicted, self.keys[rows]
        )


class WindowNames(msgspec.Struct, frozen=True):
    """The part of an open window that is not numbers: its start, and for each slice dimension the values by code."""

    start_ms: int
    values: tuple[tuple[str, ...], ...]


class Window:
    """The examples of one window, in columns that have room for more.

    Each slice dimension has the code of each example's value: 0, 1, … as they appeared. A model that began later has
    predictions from the example on that `firsts` says. `saved` is how many examples a checkpoint has.
    """

    __slots__ = ("_columns", "count", "firsts", "saved", "values")

    def __init__(self, *, models: int, dimensions: int) -> None:
        self.count = self.saved = 0
        self.firsts = [0] * models
        self._columns: dict[str, NDArray[Any]] = {
            "labels": np.zeros(0, np.int8),
            "weights": np.zeros(0),
            "served": np.zeros(0),
            "predicted": np.zeros((0, models)),
            "codes": np.zeros((0, dimensions), np.uint32),
        }
        # Key of a value to its code and text.
        self.values: list[dict[int, tuple[int, str]]] = [{} for _ in range(dimensions)]

    def add(self, examples: Measured, texts: Mapping[int, str]) -> None:
        """Adds examples; `texts` has the text of each key."""
        none = np.full(len(examples.labels), np.nan)
        predicted = np.stack([none if column is None else column for column in examples.predicted], axis=1)
        codes = np.zeros((len(examples.labels), len(self.values)), np.uint32)
        for dimension, (code_of, keys) in enumerate(zip(self.values, examples.keys.T, strict=True)):
            found, firsts, places = np.unique(keys, return_index=True, return_inverse=True)
            # An empty text is as none.
            named = [key if texts.get(key) else 0 for key in found.tolist()]
            for key in (named[place] for place in np.argsort(firsts)):
                code_of.setdefault(key, (len(code_of), texts.get(key, "")))
            codes[:, dimension] = np.array([code_of[key][0] for key in named], np.uint32)[places]
        self.take(examples.labels, examples.weights, examples.served, predicted, codes)
        for model, column in enumerate(examples.predicted):
            if column is None:
                self.firsts[model] = self.count

    def take(self, *columns: NDArray[Any]) -> None:
        """Adds examples as columns, in the order of those here."""
        for name, values in zip(self._columns, columns, strict=True):
            self._columns[name] = extended(self._columns[name], self.count, values)
        self.count += len(columns[0])

    def _column(self, name: str) -> NDArray[Any]:
        return self._columns[name][: self.count]

    def beside_served(self) -> Iterator[tuple[str, Scores]]:
        """Figures of the examples that came with a prediction of the bidder: of that, and of the first model."""
        labels, weights, predicted = self.columns_of(0)
        served = self._column("served")
        sent = np.flatnonzero(~np.isnan(served))
        if len(sent):
            for name, given in (("served", served), ("beside served", predicted)):
                yield name, score(given[sent], labels=labels[sent], weights=weights[sent])

    def scores(self, dimensions: Sequence[str], *, max_slices: int) -> Iterator[tuple[str, Scores]]:
        """Slice name and figures of the first model: 'all', then of each dimension the `max_slices` heaviest values."""
        labels, weights, predicted = self.columns_of(0)
        yield "all", score(predicted, labels=labels, weights=weights)
        for dimension, codes, code_of in zip(dimensions, self._column("codes").T, self.values, strict=True):
            totals = np.bincount(codes, weights=weights).tolist()
            by_weight = sorted((-totals[code], text, code) for code, text in code_of.values())
            for text, code in sorted(entry[1:] for entry in by_weight[:max_slices]):
                members = np.flatnonzero(codes == code)
                yield f"{dimension}={text}", score(predicted[members], labels=labels[members], weights=weights[members])

    def columns_of(self, model: int) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
        """Labels, weights and predictions of the examples that a model has predicted."""
        begun = slice(self.firsts[model], None)
        # Sums over numbers that are not side by side may differ in the last bit.
        predicted = np.ascontiguousarray(self._column("predicted")[begun, model])
        return self._column("labels")[begun], self._column("weights")[begun], predicted

    def columns(self, turn: Turn) -> list[bytes]:
        """The examples that the turn selects, as little-endian bytes: their numbers, each column, and `firsts`."""
        numbers = np.arange(self.count)
        chosen = np.flatnonzero(turn.has(numbers, numbers >= self.saved))
        return [
            chosen.astype("<i8").tobytes(),
            *(self._column(name)[chosen].astype(kind).tobytes() for name, kind in _SAVED.items()),
            np.array(self.firsts, "<i8").tobytes(),
        ]


class Windows:
    """The open windows. 29 bytes an example with one slice dimension; 4 more for each further one, 8 for each model.

    Room to grow takes up to a quarter more.
    """

    def __init__(self, *, window_ms: int, grace_ms: int, dimensions: Sequence[str], models: int = 1) -> None:
        self.window_ms = window_ms
        self.grace_ms = grace_ms
        self.dimensions = dimensions
        self.models = models
        # Every window that starts before this is closed; 0 while none is.
        self.closed_ms = 0
        self._open: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self._open)

    def closed_by(self, event_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """What `closed_ms` is once event time has come to each of these, which ascend."""
        bounds = event_ms - self.grace_ms
        found: NDArray[np.int64] = np.maximum(self.closed_ms, bounds - bounds % self.window_ms)
        return found

    def add(self, examples: Measured, closed_ms: NDArray[np.int64], texts: Mapping[int, str]) -> int:
        """Adds examples, each with what is closed at its time; returns how many came too late for their window."""
        starts = examples.ts - examples.ts % self.window_ms
        open_ = np.flatnonzero(starts >= closed_ms)
        for start_ms in np.unique(starts[open_]).tolist():
            window = self._open.get(start_ms)
            if window is None:
                window = self._open[start_ms] = Window(models=self.models, dimensions=len(self.dimensions))
            window.add(examples.of(open_[starts[open_] == start_ms]), texts)
        return len(starts) - len(open_)

    def close(self, closed_ms: int) -> list[tuple[int, Window]]:
        """Closes windows that start before this; returns start and window of each, sorted."""
        self.closed_ms = max(self.closed_ms, closed_ms)
        return [(start_ms, self._open.pop(start_ms)) for start_ms in sorted(self._open) if start_ms < self.closed_ms]

    def close_first(self) -> tuple[int, Window]:
        """Closes the first open window at the end of a bounded run. There must be one."""
        start_ms = min(self._open)
        self.closed_ms = max(self.closed_ms, start_ms + self.window_ms)
        return start_ms, self._open.pop(start_ms)

    def state(self, turn: Turn = EVERYTHING) -> tuple[list[WindowNames], list[bytes]]:
        """What the turn selects of all open windows, by start, as names and columns for `restore`."""
        names, columns = [], []
        for start_ms, window in sorted(self._open.items(), key=lambda item: item[0]):
            names.append(
                WindowNames(start_ms, tuple(tuple(text for _, text in values.values()) for values in window.values))
            )
            columns += window.columns(turn)
        return names, columns

    def saved(self) -> None:
        """What `state` would give now is saved."""
        for window in self._open.values():
            window.saved = window.count

    def restore(
        self,
        saved: Sequence[tuple[Sequence[WindowNames], Sequence[bytes]]],
        *,
        closed_ms: int,
        models: Sequence[int | None],
    ) -> None:
        """Takes results of `state` by turns in their order, in place of what is open.

        `models` has the number that each had, None for a new one.
        """
        self.closed_ms = closed_ms
        self._open = {}
        columns_of: dict[int, list[Sequence[bytes]]] = defaultdict(list)
        for names, columns in saved:
            for number, named in enumerate(names):
                columns_of[named.start_ms].append(columns[number * _COLUMNS : (number + 1) * _COLUMNS])
        for named in saved[-1][0]:
            window = Window(models=self.models, dimensions=len(self.dimensions))
            self._open[named.start_ms] = window
            window.take(*_examples(columns_of[named.start_ms], models, len(self.dimensions)))
            window.saved = window.count
            firsts = np.frombuffer(columns_of[named.start_ms][-1][-1], "<i8").tolist()
            window.firsts = [window.count if kept is None else firsts[kept] for kept in models]
            window.values = [
                {text_hash(name, text) if text else 0: (code, text) for code, text in enumerate(values)}
                for name, values in zip(self.dimensions, named.values, strict=True)
            ]


def _examples(
    saved: Sequence[Sequence[bytes]], models: Sequence[int | None], dimensions: int
) -> tuple[NDArray[Any], ...]:
    """The columns of a window from those that were saved by turns, with the predictions of these models."""
    numbers, labels, weights, served, predicted, codes = joined(saved, ("<i8", *_SAVED.values()))
    places = latest(numbers)
    of_models = predicted.reshape(len(labels), -1)[places]
    none = np.full(len(places), np.nan)
    chosen = np.stack([none if kept is None else of_models[:, kept] for kept in models], axis=1)
    return labels[places], weights[places], served[places], chosen, codes.reshape(len(labels), dimensions)[places]

"""Progressive validation by event time: what was predicted before it was learned, window by window.

A window holds the examples whose *impression* fell into it, so its observed and its predicted clicks are of the same
impressions. It closes when the learner's event time is `grace_ms` past its end. The log alone decides event time: the
same examples in the same order give the same windows, in batches of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from online_models.metrics import Scores, score
from online_models.mixture.rows import text_hash

# Columns of a window before those of models.
_PLAIN: Final = 3


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
    """The examples of one window. Each slice dimension has the code of each example's value: 0, 1, … as they appeared.

    A model that began later has predictions of the last examples only.
    """

    __slots__ = ("codes", "labels", "predicted", "served", "values", "weights")

    def __init__(self, *, models: int, dimensions: int) -> None:
        self.labels: list[NDArray[np.int8]] = []
        self.weights: list[NDArray[np.float64]] = []
        self.served: list[NDArray[np.float64]] = []
        self.predicted: list[list[NDArray[np.float64]]] = [[] for _ in range(models)]
        self.codes: list[list[NDArray[np.uint32]]] = [[] for _ in range(dimensions)]
        # Key of a value to its code and text.
        self.values: list[dict[int, tuple[int, str]]] = [{} for _ in range(dimensions)]

    def add(self, examples: Measured, texts: Mapping[int, str]) -> None:
        """Adds examples; `texts` has the text of each key."""
        self.labels.append(examples.labels)
        self.weights.append(examples.weights)
        self.served.append(examples.served)
        for own, predicted in zip(self.predicted, examples.predicted, strict=True):
            if predicted is not None:
                own.append(predicted)
        for codes, code_of, keys in zip(self.codes, self.values, examples.keys.T, strict=True):
            found, firsts, places = np.unique(keys, return_index=True, return_inverse=True)
            # An empty text is as none.
            named = [key if texts.get(key) else 0 for key in found.tolist()]
            for key in (named[place] for place in np.argsort(firsts)):
                code_of.setdefault(key, (len(code_of), texts.get(key, "")))
            codes.append(np.array([code_of[key][0] for key in named], np.uint32)[places])

    def beside_served(self) -> Iterator[tuple[str, Scores]]:
        """Figures of the examples that came with a prediction of the bidder: of that, and of the first model."""
        labels, weights, predicted = self.columns_of(0)
        served = np.concatenate(self.served)
        sent = np.flatnonzero(~np.isnan(served))
        if len(sent):
            for name, given in (("served", served), ("beside served", predicted)):
                yield name, score(given[sent], labels=labels[sent], weights=weights[sent])

    def scores(self, dimensions: Sequence[str], *, max_slices: int) -> Iterator[tuple[str, Scores]]:
        """Slice name and figures of the first model: 'all', then of each dimension the `max_slices` heaviest values."""
        labels, weights, predicted = self.columns_of(0)
        yield "all", score(predicted, labels=labels, weights=weights)
        for dimension, column, code_of in zip(dimensions, self.codes, self.values, strict=True):
            codes = np.concatenate(column)
            totals = np.bincount(codes, weights=weights).tolist()
            by_weight = sorted((-totals[code], text, code) for code, text in code_of.values())
            for text, code in sorted(entry[1:] for entry in by_weight[:max_slices]):
                members = np.flatnonzero(codes == code)
                yield f"{dimension}={text}", score(predicted[members], labels=labels[members], weights=weights[members])

    def columns_of(self, model: int) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
        """Labels, weights and predictions of the examples that a model has predicted."""
        predicted = np.concatenate((np.zeros(0), *self.predicted[model]))
        first = len(np.concatenate(self.labels)) - len(predicted)
        return np.concatenate(self.labels)[first:], np.concatenate(self.weights)[first:], predicted

    def columns(self) -> list[bytes]:
        """As little-endian bytes: labels, weights, served, predictions of each model, codes of each dimension."""
        return [
            np.concatenate(self.labels).tobytes(),
            np.concatenate(self.weights).astype("<f8").tobytes(),
            np.concatenate(self.served).astype("<f8").tobytes(),
            *(np.concatenate((np.zeros(0), *predicted)).astype("<f8").tobytes() for predicted in self.predicted),
            *(np.concatenate(codes).astype("<u4").tobytes() for codes in self.codes),
        ]


class Windows:
    """The open windows. 29 bytes an example with one slice dimension; 4 more for each further one, 8 for each model."""

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

    def state(self) -> tuple[list[WindowNames], list[bytes]]:
        """All open windows by start, as names and columns for `restore`."""
        names, columns = [], []
        for start_ms, window in sorted(self._open.items(), key=lambda item: item[0]):
            names.append(
                WindowNames(start_ms, tuple(tuple(text for _, text in values.values()) for values in window.values))
            )
            columns += window.columns()
        return names, columns

    def restore(
        self, *, closed_ms: int, names: Sequence[WindowNames], columns: Sequence[bytes], models: Sequence[int | None]
    ) -> None:
        """Takes the result of `state`, in place of what is open. `models`: the number each had, None for a new one."""
        self.closed_ms = closed_ms
        self._open = {}
        of_window = len(columns) // len(names) if names else 0
        predictions = of_window - _PLAIN - len(self.dimensions)
        for number, named in enumerate(names):
            own = columns[number * of_window : (number + 1) * of_window]
            window = self._open[named.start_ms] = Window(models=self.models, dimensions=len(self.dimensions))
            window.labels = [np.frombuffer(own[0], np.int8)]
            window.weights = [np.frombuffer(own[1], "<f8")]
            window.served = [np.frombuffer(own[2], "<f8")]
            window.predicted = [
                [np.frombuffer(own[_PLAIN + kept], "<f8") if kept is not None else np.zeros(0)] for kept in models
            ]
            window.codes = [[np.frombuffer(codes, "<u4")] for codes in own[_PLAIN + predictions :]]
            window.values = [
                {text_hash(name, text) if text else 0: (code, text) for code, text in enumerate(values)}
                for name, values in zip(self.dimensions, named.values, strict=True)
            ]

"""Progressive validation by event time: what was predicted before it was learned, window by window.

A window holds the examples whose *impression* fell into it, so that its observed clicks and its predicted clicks are of
the same impressions. It closes `grace_ms` behind the learner's event time, which the log alone decides: the same
examples in the same order give the same windows, whatever the batching.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from online_models.metrics import Scores, score


class WindowNames(msgspec.Struct, frozen=True):
    """The part of an open window that is not numbers: its start, and per slice dimension the values in code order."""

    start_ms: int
    values: tuple[tuple[str, ...], ...]


class Window:
    """The examples of one window as columns, with one column of value codes per slice dimension."""

    __slots__ = ("codes", "labels", "predictions", "values", "weights")

    def __init__(self, dimensions: int) -> None:
        self.predictions = array("d")
        self.labels = array("b")
        self.weights = array("d")
        self.codes = [array("I") for _ in range(dimensions)]
        # Codes count up from 0 in order of appearance.
        self.values: list[dict[str, int]] = [{} for _ in range(dimensions)]

    def add(self, prediction: float, *, label: int, weight: float, values: Sequence[str]) -> None:
        """One example; `values` has one entry per slice dimension."""
        self.predictions.append(prediction)
        self.labels.append(label)
        self.weights.append(weight)
        for codes, known, value in zip(self.codes, self.values, values, strict=True):
            codes.append(known.setdefault(value, len(known)))

    def scores(self, dimensions: Sequence[str], *, max_slices: int) -> Iterator[tuple[str, Scores]]:
        """Slice name and figures: 'all', then per dimension the `max_slices` heaviest values, by value."""
        predictions, labels = np.array(self.predictions), np.array(self.labels)
        weights = np.array(self.weights)
        yield "all", score(predictions, labels=labels, weights=weights)
        for dimension, column, known in zip(dimensions, self.codes, self.values, strict=True):
            codes = np.array(column)
            totals = np.bincount(codes, weights=weights).tolist()
            by_weight = sorted((-totals[code], value, code) for value, code in known.items())
            for value, code in sorted(entry[1:] for entry in by_weight[:max_slices]):
                members = np.flatnonzero(codes == code)
                yield (
                    f"{dimension}={value}",
                    score(predictions[members], labels=labels[members], weights=weights[members]),
                )

    def columns(self) -> list[bytes]:
        """The columns as little-endian bytes: predictions, labels, weights, then the codes of each dimension."""
        return [
            np.array(self.predictions).astype("<f8").tobytes(),
            self.labels.tobytes(),
            np.array(self.weights).astype("<f8").tobytes(),
            *(np.array(codes).astype("<u4").tobytes() for codes in self.codes),
        ]


class Windows:
    """The open windows, and up to where all are closed. Memory: 21 bytes an example and one dimension."""

    def __init__(self, *, window_ms: int, grace_ms: int, dimensions: Sequence[str]) -> None:
        self.window_ms = window_ms
        self.grace_ms = grace_ms
        self.dimensions = dimensions
        # Every window that starts below is closed; 0 before the first example's.
        self.closed_ms = 0
        self._open: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, ts_ms: int, prediction: float, *, label: int, weight: float, values: Sequence[str]) -> bool:
        """One example of an impression at `ts_ms`; False, and nothing done, when its window is closed."""
        start_ms = ts_ms - ts_ms % self.window_ms
        if start_ms < self.closed_ms:
            return False
        window = self._open.get(start_ms)
        if window is None:
            window = self._open[start_ms] = Window(len(self.dimensions))
        window.add(prediction, label=label, weight=weight, values=values)
        return True

    def advance(self, event_ms: int) -> list[tuple[int, Window]]:
        """Closes what ended `grace_ms` or more before `event_ms`: start and window of each, by start."""
        bound_ms = event_ms - self.grace_ms
        if bound_ms - self.closed_ms < self.window_ms:
            return []
        self.closed_ms = bound_ms - bound_ms % self.window_ms
        return [(start_ms, self._open.pop(start_ms)) for start_ms in sorted(self._open) if start_ms < self.closed_ms]

    def close_first(self) -> tuple[int, Window]:
        """Closes the first open window, there must be one: the end of a bounded run."""
        start_ms = min(self._open)
        self.closed_ms = max(self.closed_ms, start_ms + self.window_ms)
        return start_ms, self._open.pop(start_ms)

    def state(self) -> tuple[list[WindowNames], list[bytes]]:
        """All open windows by start, as names and columns for `restored`."""
        names, columns = [], []
        for start_ms, window in sorted(self._open.items(), key=lambda item: item[0]):
            names.append(WindowNames(start_ms, tuple(tuple(known) for known in window.values)))
            columns += window.columns()
        return names, columns

    def restore(self, *, closed_ms: int, names: Sequence[WindowNames], columns: Sequence[bytes]) -> None:
        """Takes a `state` back, replacing what is open."""
        self.closed_ms = closed_ms
        self._open = {}
        each = iter(columns)
        for named in names:
            window = self._open[named.start_ms] = Window(len(self.dimensions))
            window.predictions.extend(np.frombuffer(next(each), "<f8").tolist())
            window.labels.frombytes(next(each))
            window.weights.extend(np.frombuffer(next(each), "<f8").tolist())
            for codes in window.codes:
                codes.extend(np.frombuffer(next(each), "<u4").tolist())
            window.values = [{value: code for code, value in enumerate(values)} for values in named.values]

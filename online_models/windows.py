"""Progressive validation by event time: what was predicted before it was learned, window by window.

A window holds the examples whose *impression* fell into it, so its observed and its predicted clicks are of the same
impressions. It closes when the learner's event time is `grace_ms` past its end. The log alone decides event time: the
same examples in the same order give the same windows, in batches of any size.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from online_models.metrics import Scores, score


class WindowNames(msgspec.Struct, frozen=True):
    """The part of an open window that is not numbers: its start, and for each slice dimension the values by code."""

    start_ms: int
    values: tuple[tuple[str, ...], ...]


class Window:
    """The examples of one window as columns; each slice dimension has a column of codes, one for each value."""

    __slots__ = ("codes", "labels", "predictions", "values", "weights")

    def __init__(self, dimensions: int) -> None:
        self.predictions = array("d")
        self.labels = array("b")
        self.weights = array("d")
        self.codes = [array("I") for _ in range(dimensions)]
        # Value to code. Codes count up from 0 in order of appearance.
        self.values: list[dict[str, int]] = [{} for _ in range(dimensions)]

    def add(self, prediction: float, *, label: int, weight: float, values: Sequence[str]) -> None:
        """Adds an example; `values` has one entry for each slice dimension."""
        self.predictions.append(prediction)
        self.labels.append(label)
        self.weights.append(weight)
        for codes, code_of, value in zip(self.codes, self.values, values, strict=True):
            codes.append(code_of.setdefault(value, len(code_of)))

    def scores(self, dimensions: Sequence[str], *, max_slices: int) -> Iterator[tuple[str, Scores]]:
        """Slice name and figures: 'all', then for each dimension the `max_slices` heaviest values, sorted by value."""
        predictions, labels = np.array(self.predictions), np.array(self.labels)
        weights = np.array(self.weights)
        yield "all", score(predictions, labels=labels, weights=weights)
        for dimension, column, code_of in zip(dimensions, self.codes, self.values, strict=True):
            codes = np.array(column)
            totals = np.bincount(codes, weights=weights).tolist()
            by_weight = sorted((-totals[code], value, code) for value, code in code_of.items())
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
    """The open windows. 21 bytes an example with one slice dimension; 4 more for each further one."""

    def __init__(self, *, window_ms: int, grace_ms: int, dimensions: Sequence[str]) -> None:
        self.window_ms = window_ms
        self.grace_ms = grace_ms
        self.dimensions = dimensions
        # Every window that starts before this is closed; 0 while none is.
        self.closed_ms = 0
        self._open: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, ts_ms: int, prediction: float, *, label: int, weight: float, values: Sequence[str]) -> bool:
        """Adds an example of an impression at `ts_ms`. Returns False and adds nothing when its window is closed."""
        start_ms = ts_ms - ts_ms % self.window_ms
        if start_ms < self.closed_ms:
            return False
        window = self._open.get(start_ms)
        if window is None:
            window = self._open[start_ms] = Window(len(self.dimensions))
        window.add(prediction, label=label, weight=weight, values=values)
        return True

    def advance(self, event_ms: int) -> list[tuple[int, Window]]:
        """Closes windows that ended at least `grace_ms` before `event_ms`; returns start and window of each, sorted."""
        bound_ms = event_ms - self.grace_ms
        if bound_ms - self.closed_ms < self.window_ms:
            return []
        self.closed_ms = bound_ms - bound_ms % self.window_ms
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
            names.append(WindowNames(start_ms, tuple(tuple(values) for values in window.values)))
            columns += window.columns()
        return names, columns

    def restore(self, *, closed_ms: int, names: Sequence[WindowNames], columns: Sequence[bytes]) -> None:
        """Takes the result of `state`, in place of what is open."""
        self.closed_ms = closed_ms
        self._open = {}
        remaining = iter(columns)
        for named in names:
            window = self._open[named.start_ms] = Window(len(self.dimensions))
            window.predictions.extend(np.frombuffer(next(remaining), "<f8").tolist())
            window.labels.frombytes(next(remaining))
            window.weights.extend(np.frombuffer(next(remaining), "<f8").tolist())
            for codes in window.codes:
                codes.extend(np.frombuffer(next(remaining), "<u4").tolist())
            window.values = [{value: code for code, value in enumerate(values)} for values in named.values]

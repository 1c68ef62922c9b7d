"""Measures of a progressive run: each row was predicted before it was learned.

Normalised entropy (NE) is the log loss over the entropy of the rate of clicks, so 1 is as good as knowing that rate and
nothing else (X. He et al., ADKDD 2014). A hundredth of it is a point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from online_models.metrics import Scores, score

# Values of a slice in a report, those with most rows.
MOST_VALUES = 20


class Measures(msgspec.Struct, frozen=True):
    """Figures over weighted rows. What needs both labels is None without one of them."""

    rows: int
    clicks: int
    ne: float | None
    log_loss: float | None
    auc: float | None
    calibration: float | None


class Predictions:
    """The labels, weights and predictions of a run, and the key of each slice; 17 bytes a row and 8 a slice."""

    def __init__(self, slices: tuple[str, ...]) -> None:
        self.slices = slices
        self._labels: list[NDArray[np.int8]] = []
        self._weights: list[NDArray[np.float64]] = []
        self._predicted: list[NDArray[np.float64]] = []
        self._keys: dict[str, list[NDArray[np.uint64]]] = {name: [] for name in slices}

    def add(
        self,
        *,
        labels: NDArray[np.int8],
        weights: NDArray[np.float64],
        predicted: NDArray[np.float64],
        keys: Mapping[str, NDArray[np.uint64]],
    ) -> None:
        """Adds rows in order. `keys` has for each slice a key a row, 0 where a row has no value."""
        self._labels.append(labels)
        self._weights.append(weights)
        self._predicted.append(predicted)
        for name in self.slices:
            self._keys[name].append(keys[name])

    def whole(self) -> Measures:
        """All rows."""
        return measures(*self._columns())

    def second_half(self) -> Measures:
        """The second half of the rows, with the entropy of its own rate."""
        columns = self._columns()
        return measures(*(column[len(column) // 2 :] for column in columns))

    def by_slice(self, texts: Mapping[int, str]) -> dict[str, dict[str, Measures]]:
        """For each slice the measures of its values with most rows, most first. `texts` has the text of each key."""
        found: dict[str, dict[str, Measures]] = {}
        columns = self._columns()
        for name in self.slices:
            keys = np.concatenate(self._keys[name]) if self._keys[name] else np.zeros(0, np.uint64)
            values, rows = np.unique(keys[keys != 0], return_counts=True)
            largest = values[np.argsort(-rows, kind="stable")[:MOST_VALUES]].tolist()
            found[name] = {}
            for key in largest:
                chosen = keys == key
                found[name][texts[key]] = measures(*(column[chosen] for column in columns))
        return found

    def _columns(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        if not self._labels:
            return np.zeros(0), np.zeros(0, np.int8), np.zeros(0)
        return np.concatenate(self._predicted), np.concatenate(self._labels), np.concatenate(self._weights)


def measures(predicted: NDArray[Any], labels: NDArray[Any], weights: NDArray[Any]) -> Measures:
    """The figures of these rows, which may be none."""
    if not len(labels):
        return Measures(rows=0, clicks=0, ne=None, log_loss=None, auc=None, calibration=None)
    scores: Scores = score(predicted, labels=labels, weights=weights)
    return Measures(
        rows=len(labels),
        clicks=int(np.count_nonzero(labels)),
        ne=scores.ne,
        log_loss=scores.log_loss,
        auc=scores.auc,
        calibration=scores.calibration,
    )

"""Measures of a progressive run: each row was predicted before it was learned.

Normalised entropy (NE) is the log loss over the entropy of the rate of clicks, so 1 is as good as knowing that rate and
nothing else (X. He et al., ADKDD 2014). A hundredth of it is a point.
"""

from __future__ import annotations

from math import log
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from online_models.metrics import Scores, score

# Values of a slice in a report, those with most rows.
MOST_VALUES = 20
_NEITHER = -1


class Measures(msgspec.Struct, frozen=True):
    """Figures over weighted rows. What needs both labels is None without one of them."""

    rows: int
    clicks: int
    ne: float | None
    log_loss: float | None
    auc: float | None
    calibration: float | None


class Predictions:
    """The labels, weights and predictions of a run, and the value of each slice; 17 bytes a row and 4 a slice."""

    def __init__(self, slices: tuple[str, ...]) -> None:
        self.slices = slices
        self._labels: list[NDArray[np.int8]] = []
        self._weights: list[NDArray[np.float64]] = []
        self._predicted: list[NDArray[np.float64]] = []
        self._codes: dict[str, list[NDArray[np.int32]]] = {name: [] for name in slices}
        self._values: dict[str, dict[str, int]] = {name: {} for name in slices}

    def add(
        self,
        *,
        labels: NDArray[np.int8],
        weights: NDArray[np.float64],
        predicted: NDArray[np.float64],
        values: dict[str, list[str | None]],
    ) -> None:
        """Adds rows in order. `values` has for each slice a value a row, None where a row has none."""
        self._labels.append(labels)
        self._weights.append(weights)
        self._predicted.append(predicted)
        for name in self.slices:
            known = self._values[name]
            codes = [_NEITHER if value is None else known.setdefault(value, len(known)) for value in values[name]]
            self._codes[name].append(np.array(codes, np.int32))

    def whole(self) -> Measures:
        """All rows."""
        return measures(*self._columns())

    def second_half(self) -> Measures:
        """The second half of the rows, with the entropy of its own rate."""
        columns = self._columns()
        return measures(*(column[len(column) // 2 :] for column in columns))

    def by_slice(self) -> dict[str, dict[str, Measures]]:
        """For each slice the measures of its values with most rows, most first."""
        found: dict[str, dict[str, Measures]] = {}
        columns = self._columns()
        for name in self.slices:
            codes = np.concatenate(self._codes[name]) if self._codes[name] else np.zeros(0, np.int32)
            rows = np.bincount(codes[codes != _NEITHER], minlength=len(self._values[name]))
            texts = list(self._values[name])
            largest = np.argsort(-rows, kind="stable")[:MOST_VALUES]
            found[name] = {
                texts[code]: measures(*(column[codes == code] for column in columns)) for code in largest.tolist()
            }
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
        ne=normalised(scores.log_loss, scores.clicks / scores.weight),
        log_loss=scores.log_loss,
        auc=scores.auc,
        calibration=scores.calibration,
    )


def normalised(log_loss: float, rate: float) -> float | None:
    """Log loss over the entropy of a rate; None for a rate of 0 or 1, which has none."""
    if not 0.0 < rate < 1.0:
        return None
    return log_loss / -(rate * log(rate) + (1.0 - rate) * log(1.0 - rate))

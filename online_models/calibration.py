"""Whether probabilities mean what they say: predicted over observed, overall and by decile of the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import msgspec
import numpy as np


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Examples predicted between `lowest` and `highest`, both inclusive. `predicted` and `observed` are mean rates."""

    lowest: float
    highest: float
    examples: int
    weight: float
    predicted: float
    observed: float


def calibration_ratio(*, predicted_clicks: float, clicks: float) -> float | None:
    """Predicted over observed clicks: above 1 promises too much. None without clicks, where no ratio says anything."""
    return predicted_clicks / clicks if clicks else None


def reliability(
    predictions: Sequence[float], *, labels: Sequence[int], weights: Sequence[float], bins: int = 10
) -> list[ReliabilityBin]:
    """At most `bins` bins of about equal weight, by ascending prediction; empty for no examples.

    Equal predictions share a bin, so a model that always says the same has one. Sums are exactly rounded: the order
    of the examples does not matter.
    """
    order = np.argsort(np.asarray(predictions, dtype=np.float64), kind="stable").tolist()
    share = fsum(weights) / bins
    found: list[ReliabilityBin] = []
    members: list[int] = []
    passed = 0.0
    for at, example in enumerate(order):
        members.append(example)
        passed += weights[example]
        last = at + 1 == len(order)
        if last or (passed >= share * (len(found) + 1) and predictions[order[at + 1]] != predictions[example]):
            found.append(_bin(members, predictions, labels=labels, weights=weights))
            members = []
    return found


def _bin(
    members: list[int], predictions: Sequence[float], *, labels: Sequence[int], weights: Sequence[float]
) -> ReliabilityBin:
    weight = fsum(weights[i] for i in members)
    return ReliabilityBin(
        lowest=predictions[members[0]],
        highest=predictions[members[-1]],
        examples=len(members),
        weight=weight,
        predicted=fsum(weights[i] * predictions[i] for i in members) / weight,
        observed=fsum(weights[i] * labels[i] for i in members) / weight,
    )

"""Challengers beside the model they are compared with, from records of `ads.model_metrics`. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import Literal

import msgspec

from online_models.metrics import normalised
from online_models.paired import Paired
from schemas.models import ModelMetrics

Verdict = Literal["better", "worse", "undecided"]


class Compared(msgspec.Struct, frozen=True):
    """A challenger over all windows of its present settings, on all shards. `entropy` is that of their click rate."""

    challenger: str
    against: str
    windows: int
    sums: Paired
    entropy: float | None

    @property
    def verdict(self) -> Verdict:
        """Whether the interval lies on one side of no difference."""
        low, high = self.sums.interval()
        return "better" if high < 0.0 else "worse" if low > 0.0 else "undecided"


def compared(windows: Iterable[ModelMetrics]) -> list[Compared]:
    """All challengers by name, from windows that are there once each.

    Windows of former settings, of the challenger or of the model it is compared with, are left out.
    """
    by_challenger: defaultdict[tuple[str, str], list[ModelMetrics]] = defaultdict(list)
    for each in windows:
        if each.against and each.slice == "all":
            by_challenger[each.model, each.against].append(each)
    found = []
    for (challenger, against), own in sorted(by_challenger.items()):
        newest = max(own, key=lambda each: each.window_start)
        present = [each for each in own if _settings(each) == _settings(newest)]
        weight, clicks = sum(each.weight for each in present), sum(each.clicks for each in present)
        rate = clicks / weight
        per_nat = normalised(1.0, rate)
        found.append(
            Compared(
                challenger, against, len(present), reduce(add, map(_sums, present)), 1.0 / per_nat if per_nat else None
            )
        )
    return found


def _settings(window: ModelMetrics) -> tuple[str, str]:
    return window.settings, window.against_settings


def _sums(window: ModelMetrics) -> Paired:
    return Paired(
        window.examples,
        window.weight,
        window.loss_difference,
        window.weight_squared,
        window.loss_products,
        window.loss_squared,
    )

"""Says once when a model is not published, and why, and once when it is again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from online_models.release import CALIBRATED, STARVED
from streams.engine.fold import Fold
from streams.learn.fold import LearnFold

REASONS: Final = {
    "not_finite": "its state has numbers that are not finite",
    "weights": "a weight is out of bounds",
    "calibration": f"over a day it predicted less than {CALIBRATED[0]} or more than {CALIBRATED[1]} times the clicks",
    "frozen": f"it does not change, although rows are learned, or learned nothing of {STARVED:,} records",
}


class HeldWatch:
    """Looks at the learners now and then."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._before: dict[tuple[int, str], str] = {}

    def look(self, folds: Mapping[int, Fold]) -> None:
        """Compares with the last look."""
        for shard, fold in folds.items():
            if isinstance(fold, LearnFold):
                for model, reason in fold.offers.held(fold.lineup.entrants).items():
                    if reason != self._before.get((shard, model), ""):
                        self._warn(_sentence(model, shard, reason))
                    self._before[shard, model] = reason


def _sentence(model: str, shard: int, reason: str) -> str:
    if not reason:
        return f"model {model} shard {shard} is published again"
    return (
        f"model {model} shard {shard} is not published: {REASONS[reason]}; the version before stays in use. See "
        "`clickfold models list` and docs/operate/when-it-breaks.md"
    )

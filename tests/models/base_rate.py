"""The smallest model there can be: the share of clicks so far. Features teach it nothing."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import log

from online_models.model import HashedFeatures, probability

_STATE = struct.Struct("<dd")


class BaseRate:
    """Starts as if it had seen one hundred impressions and one click."""

    column_count = 1

    def __init__(self, *, intercept: int) -> None:
        self.intercept = intercept
        self._clicks, self._total = 1.0, 100.0

    @property
    def nbytes(self) -> int:
        return _STATE.size

    def predict(self, _features: HashedFeatures) -> float:
        return probability(self._margin())

    def learn(self, features: HashedFeatures, label: int, weight: float) -> float:
        predicted = self.predict(features)
        self._clicks += weight * label
        self._total += weight
        return predicted

    def columns(self) -> list[bytes]:
        return [_STATE.pack(self._clicks, self._total)]

    def restore(self, columns: Sequence[bytes]) -> None:
        self._clicks, self._total = _STATE.unpack(columns[0])

    def weights(self, _most: int) -> dict[str, float]:
        return {str(self.intercept): self._margin()}

    def _margin(self) -> float:
        return log(self._clicks / self._total) - log(1.0 - self._clicks / self._total)

"""Samples impressions: decides which become `shown` and `unclicked` outcomes, and how many each stands for.

Impressions outnumber clicks a hundred to one. A share of them, chosen by the hash of their id, is enough to learn from,
and the choice is the same on every replay, and the same for both kinds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Negatives:
    """Samples impressions at `rate`, 0 to 1. 1 keeps all, 0 none."""

    def __init__(self, rate: float) -> None:
        # An id is sampled iff its hash / 2^64 < rate.
        self._below = int(rate * 2**64)
        self.weight = 1.0 / rate if rate else 0.0

    def sampled(self, id_hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Which impressions, by the xxh3-64 of their ids, are sampled."""
        if self._below == 0:
            return np.zeros(len(id_hashes), np.bool_)
        # At rate 1 the bound is 2^64, which is no uint64: compare below-or-equal with one less.
        return id_hashes <= np.uint64(self._below - 1)

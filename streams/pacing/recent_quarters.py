"""Amounts of the newest quarter-hours of each campaign."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.totals import QUARTER_MS
from streams.kernels.pacing_columns import QUARTERS_KEPT
from streams.pacing.law.arrays import Floats, Ints


class RecentQuarters:
    """A row for each campaign: quarter-hour n since 1970 stands in column n % 16, until a later one takes its place.

    `amounts` may be an array that others read.
    """

    def __init__(self, amounts: Floats) -> None:
        self.amounts = amounts
        self._numbers: npt.NDArray[np.int64] = np.zeros((len(amounts), QUARTERS_KEPT), np.int64)

    def add(self, row: int, quarter_ms: int, amount: float) -> None:
        """Changes the amount of a quarter-hour; one that is no longer kept changes nothing."""
        if not amount:
            return
        quarter = quarter_ms // QUARTER_MS
        slot = quarter % QUARTERS_KEPT
        if quarter > self._numbers[row, slot]:
            self._numbers[row, slot] = quarter
            self.amounts[row, slot] = amount
        elif quarter == self._numbers[row, slot]:
            self.amounts[row, slot] += amount

    def sums(self, rows: Ints, first: Ints, count: int) -> Floats:
        """For each of these rows, what `count` quarter-hours from its own first one on have together."""
        found = np.zeros(len(rows))
        for quarter in (first + ahead for ahead in range(count)):
            slots = quarter % QUARTERS_KEPT
            found += np.where(self._numbers[rows, slots] == quarter, self.amounts[rows, slots], 0.0)
        return found

    def clear(self, row: int) -> None:
        """Forgets a row."""
        self._numbers[row], self.amounts[row] = 0, 0.0

    def grown(self, amounts: Floats) -> RecentQuarters:
        """The same with more rows; `amounts` has more rows and those of before."""
        longer = RecentQuarters(amounts)
        longer._numbers[: len(self._numbers)] = self._numbers
        return longer

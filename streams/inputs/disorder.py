"""How far event time is out of order: within a source, and across sources in the order in which records arrived."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(slots=True)
class Disorder:
    """Collects the event times of a log by source: a partition of a topic, or a file.

    Records of topics are in the order of the times that Kafka has of them, those of files, which have none, in the
    order in which they are read.
    """

    _times: defaultdict[str, tuple[list[int], list[int]]] = field(default_factory=lambda: defaultdict(lambda: ([], [])))
    _read: int = 0

    def add(self, source: str, arrived_ms: int, ts_ms: int) -> None:
        """The next record of a source: when Kafka got it, -1 for a file, and its event time."""
        self._read += 1
        arrived, times = self._times[source]
        arrived.append(arrived_ms if arrived_ms >= 0 else self._read)
        times.append(ts_ms)

    @property
    def sources(self) -> int:
        """How many sources have records."""
        return len(self._times)

    def within_ms(self) -> int:
        """How far an event time is at most behind the highest before it in its source."""
        return max((_behind_ms(np.array(times)) for _, times in self._times.values()), default=0)

    def across_ms(self) -> int:
        """The same over all sources together: what `--lateness` must cover so that nothing of this is late.

        Which of two sources was first within a millisecond is not known; there the order of event time is taken.
        """
        if not self._times:
            return 0
        arrived, times = (np.concatenate(columns) for columns in zip(*self._times.values(), strict=True))
        return max(self.within_ms(), _behind_ms(times[np.lexsort((times, arrived))]))


def _behind_ms(times: npt.NDArray[np.int64]) -> int:
    return int((np.maximum.accumulate(times) - times).max())

"""Says once when more than a few per cent of an input come late, and which record moved the watermark so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from streams.engine.fold import Fold
from streams.join.fold import JoinFold

# A few per cent of records that miss the lateness are usual; more of them mean a wrong clock or a mixed-up order.
SHARE: Final = 0.03
# Below this many late records in a look, a share says little.
LEAST: Final = 20


class LateWatch:
    """Looks at the ledgers of the folds now and then. One warning for each input, until its share is small again."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._before: dict[tuple[int, str], tuple[int, int]] = {}
        self._warned: set[tuple[int, str]] = set()

    def look(self, folds: Mapping[int, Fold]) -> None:
        """Compares with the last look."""
        for partition, fold in folds.items():
            if isinstance(fold, JoinFold):
                for log, state in fold.state.logs.items():
                    counts = state.counts()
                    cause = (
                        f"the record at offset {state.leader.offset} has ts {state.leader.ts}" if state.leader else ""
                    )
                    self._judge((partition, log), counts.consumed, counts.late, cause)

    def _judge(self, where: tuple[int, str], consumed: int, late: int, cause: str) -> None:
        consumed_before, late_before = self._before.get(where, (0, 0))
        self._before[where] = consumed, late
        new, new_late = consumed - consumed_before, late - late_before
        if new_late < LEAST or new_late < SHARE * new:
            if new:
                self._warned.discard(where)
            return
        if where not in self._warned:
            self._warned.add(where)
            partition, log = where
            self._warn(
                f"{new_late:,} of {new:,} records of {log}[{partition}] are late: {cause or 'see ads.rejects'}; dead "
                "letters name each, and docs/concepts/event-time.md the rule"
            )

"""Says once when clicks do not meet their impressions, because the two inputs are keyed by different partitioners."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from streams.engine.fold import Fold
from streams.join.fold import JoinFold
from streams.join.state import CLICKS, IMPRESSIONS
from streams.kafka.partitioners import REMEDY, keyed_apart


class KeysWatch:
    """Looks at the orphans of the folds now and then."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._warned = False

    def look(self, folds: Mapping[int, Fold]) -> None:
        """Warns at the first look at which an orphan is misplaced."""
        joins = [fold for fold in folds.values() if isinstance(fold, JoinFold)]
        misplaced = sum(fold.misplaced for fold in joins)
        if misplaced and not self._warned:
            self._warned = True
            impressions, clicks = _names(joins, IMPRESSIONS), _names(joins, CLICKS)
            why = keyed_apart(impressions, clicks) or _not_all(impressions)
            plural = "s are misplaced" if misplaced > 1 else " is misplaced"
            self._warn(f"{misplaced:,} orphan{plural} up to now: {why}")


def _names(joins: Iterable[JoinFold], log: str) -> set[str]:
    """The partitioners that explain the last keys of an input in all partitions."""
    samples = [fold.keys[log].names() for fold in joins if log in fold.keys]
    return set(frozenset.intersection(*samples)) if samples else set()


def _not_all(impressions: set[str]) -> str:
    by = f"{' or '.join(sorted(impressions))}, which" if impressions else "the partitioner that"
    return f"not all clicks are where {by} the impressions are partitioned by, puts them: {REMEDY}"

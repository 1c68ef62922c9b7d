"""One owned partition: its fold, where it is on the way to live, and how it is loaded from what was kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from schemas.errors import DamagedState, LostHistory, StateMismatch
from streams.disk import Disk
from streams.edges import Commit, Log
from streams.fold import Fold, Records

MANIFEST = "manifest"
Make = Callable[[int], tuple[Fold, Disk]]
Warn = Callable[[str], None]


class Task:
    """One owned partition: its fold, and where it is on the way to live."""

    def __init__(self, fold: Fold, disk: Disk, committed: Commit | None) -> None:
        self.fold = fold
        self.disk = disk
        self.committed = committed
        self.begun = False
        self.live = False
        self.held: list[Records] = []
        self.paused: str | None = None
        self.moved_s: dict[str, float] = {}

    def replayed(self) -> bool:
        """Whether every input has reached its committed offset."""
        at = self.fold.positions()
        return self.committed is None or all(at[log] >= to for log, to in self.committed.offsets.items())

    def replay(self, records: Records) -> int:
        """Folds in silence what lies below the committed offset, holds the rest; returns how many were folded."""
        stop_offset = self.committed.offsets[records.log] if self.committed else 0
        below = sum(1 for offset in records.offsets if offset < stop_offset)
        if below:
            self.fold.step(records.slice(0, below))
        if below < len(records):
            self.held.append(records.slice(below, len(records)))
        return below

    def close(self) -> None:
        """Lets go of what the fold and its disk hold."""
        self.fold.close()
        self.disk.close()


def load(partition: int, make: Make, log: Log, warn: Warn) -> tuple[Task, dict[str, int]]:
    """A task as it was left, and the offsets to read it from: its checkpoint's cut, or where a rebuild begins.

    Raises LostHistory when Kafka no longer keeps what is needed, StateMismatch when what was kept is another run's.
    """
    fold, disk = make(partition)
    committed = log.committed(partition)
    starts = log.starts(partition)
    offsets = starts
    if committed is not None:
        offsets = _from_checkpoint(partition, fold, disk, committed, starts, warn) or {}
        if not offsets:
            fold.close()
            disk.close()
            fold, disk = make(partition)
            offsets = fold.rebuild(committed.mark)
            warn(f"partition {partition} has no usable checkpoint: rebuilding from {offsets}")
        for name, offset in offsets.items():
            if offset < starts[name] and offset < committed.offsets[name]:
                raise LostHistory(
                    f"{name}[{partition}] is needed from offset {offset}, Kafka keeps it from {starts[name]}: "
                    "restore the topic's retention, or start a new run with another --group"
                )
    return Task(fold, disk, committed), offsets


def _from_checkpoint(
    partition: int, fold: Fold, disk: Disk, committed: Commit, starts: Mapping[str, int], warn: Warn
) -> dict[str, int] | None:
    """Restores the fold; None when there is no checkpoint that can be used."""
    if MANIFEST not in disk.names():
        return None
    try:
        fold.restore(disk.read(MANIFEST, 0, 1 << 40))
    except (DamagedState, StateMismatch) as error:
        # Damaged, of another task, settings or program: if the group's own mark is of other settings, that will say so.
        warn(f"checkpoint of partition {partition} is not used: {error}")
        return None
    offsets = fold.positions()
    ahead = {log: at for log, at in offsets.items() if at > committed.offsets[log]}
    if ahead:
        raise StateMismatch(
            f"the checkpoint of partition {partition} is at {offsets}, ahead of the committed {committed.offsets}: "
            "the group's offsets were reset or belong to another cluster; clear the state folder or use "
            "another --group"
        )
    if any(at < starts[log] for log, at in offsets.items()):
        warn(f"checkpoint of partition {partition} at {offsets} is older than Kafka's first offsets {starts}")
        return None
    return offsets

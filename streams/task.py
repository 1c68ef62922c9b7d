"""One owned partition: its fold, where it is on the way to live, and how it is loaded from what was kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from schemas.errors import DamagedState, LostHistory, StateMismatch
from streams.disk import Disk
from streams.edges import Commit, Log, Shared
from streams.fold import Fold, Records

MANIFEST = "manifest"
Make = Callable[[int], tuple[Fold, Disk]]
Share = Callable[[int], Shared | None]
Warn = Callable[[str], None]
# A shared snapshot is fetched in place of a checkpoint that is older by more: folding them takes some seconds, as
# fetching a state of as many impressions does.
_WORTH_RECORDS = 1_000_000


class Task:
    """One owned partition: its fold, and where it is on the way to live."""

    def __init__(self, fold: Fold, disk: Disk, committed: Commit | None, shared: Shared | None = None) -> None:
        self.fold = fold
        self.disk = disk
        self.shared = shared
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

    def checkpoint(self, *, last: bool) -> None:
        """Makes the fold's state durable, and offers it to be shared; `last`: before the task goes elsewhere."""
        manifest = self.fold.snapshot()
        self.disk.replace(MANIFEST, manifest)
        if self.shared is None:
            self.fold.snapshot_kept()
            return
        if not self.shared.copying():
            self.fold.snapshot_kept()
        self.shared.offer(self.fold.positions(), manifest, self.fold.files(), self.disk, last=last)

    def distrust(self) -> None:
        """What is kept turned out to be damaged: the next load starts from the input logs, and all is kept anew."""
        self.disk.delete(MANIFEST)
        if self.shared is not None:
            self.shared.distrust()

    def close(self) -> None:
        """Lets go of what the fold and its disk hold."""
        if self.shared is not None:
            self.shared.close()
        self.fold.close()
        self.disk.close()


def load(
    partition: int, make: Make, log: Log, warn: Warn, share: Share = lambda _: None
) -> tuple[Task, dict[str, int]]:
    """A task as it was left, and the offsets to read it from: the cut of its own or of a shared checkpoint, or where a
    rebuild begins.

    Raises LostHistory when Kafka no longer keeps what is needed, StateMismatch when what was kept is another run's.
    """
    committed = log.committed(partition)
    starts = log.starts(partition)
    shared = share(partition)
    if committed is None:
        return Task(*make(partition), None, shared), starts
    fold, disk = make(partition)
    offsets = _from_checkpoint(partition, fold, disk, committed, starts, warn)
    while shared is not None and shared.fetch(disk, partial(_worth_it, committed.offsets, starts, offsets)):
        fold, disk = _anew(partition, fold, disk, make)
        offsets = _from_checkpoint(partition, fold, disk, committed, starts, warn)
        if offsets is not None:
            warn(f"partition {partition} goes on from a shared snapshot at {offsets}")
            break
    if offsets is None:
        fold, disk = _anew(partition, fold, disk, make)
        # Of no use now, and of less once files of the same names hold something else.
        disk.delete(MANIFEST)
        offsets = fold.rebuild(committed.mark)
        warn(f"partition {partition} has no usable checkpoint: rebuilding from {offsets}")
    for name, offset in offsets.items():
        if offset < starts[name] and offset < committed.offsets[name]:
            raise LostHistory(
                f"{name}[{partition}] is needed from offset {offset}, Kafka keeps it from {starts[name]}: "
                "restore the topic's retention, or start a new run with another --group"
            )
    return Task(fold, disk, committed, shared), offsets


def _worth_it(
    committed: Mapping[str, int], starts: Mapping[str, int], at: Mapping[str, int] | None, cut: Mapping[str, int]
) -> bool:
    """Whether a cut can be restored, and is so far ahead of the one at hand that folding there would take longer."""
    if cut.keys() != committed.keys() or any(not starts[log] <= cut[log] <= committed[log] for log in cut):
        return False
    return at is None or sum(cut.values()) - sum(at.values()) > _WORTH_RECORDS


def _anew(partition: int, fold: Fold, disk: Disk, make: Make) -> tuple[Fold, Disk]:
    fold.close()
    disk.close()
    return make(partition)


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

"""One owned partition: its fold, where it is on the way to live, and what is kept of it."""

from __future__ import annotations

from schemas.records import Records
from streams.engine.fold import Fold
from streams.engine.ports import Commit, Disk, Shared

MANIFEST = "manifest"


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

"""A checkpoint: the state of a task's fold at its cut, as one manifest that is replaced atomically.

The fold's own files are durable before the manifest names them. The manifest is written after the transaction that
committed its positions, so its cut is never ahead of what is committed. Where snapshots are shared, each checkpoint is
also offered to other machines.
"""

from __future__ import annotations

from typing import Final

from streams.engine.ports import Disk, Shared
from streams.engine.task import Task

MANIFEST: Final = "manifest"
# 1 TiB, larger than any manifest: a read of this length returns all of it.
_WHOLE: Final = 1 << 40


def write_checkpoint(task: Task, *, last: bool) -> None:
    """Makes the fold's state durable and offers it to be shared. `last`: another worker takes the partition next."""
    manifest = task.fold.snapshot()
    task.disk.replace(MANIFEST, manifest)
    if task.shared is None:
        task.fold.snapshot_kept()
        return
    # While an earlier snapshot is being copied, the files it names must stay.
    if not task.shared.copying():
        task.fold.snapshot_kept()
    task.shared.offer(task.fold.positions(), manifest, task.fold.files(), task.disk, last=last)


def read_checkpoint(disk: Disk) -> bytes | None:
    """The manifest as it was last written, None if there is none."""
    return disk.read(MANIFEST, 0, _WHOLE) if MANIFEST in disk.names() else None


def discard_checkpoint(disk: Disk, shared: Shared | None = None) -> None:
    """Deletes a checkpoint that is damaged or cannot be used: the next start rebuilds from the input logs."""
    disk.delete(MANIFEST)
    if shared is not None:
        shared.distrust()

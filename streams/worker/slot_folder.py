"""A worker's place: a slot of its group, and the folder that belongs to it. One process has it at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from schemas.errors import SettingsError
from streams.kafka.process import has_ended, this_process
from streams.kafka.slots import Slot
from streams.state.disk import Folder


@contextlib.contextmanager
def held_slot(
    slot: Slot,
    folder: Path,
    *,
    session_timeout_s: float,
    warn: Callable[[str], None],
    beat: Callable[[], None],
) -> Iterator[None]:
    """Holds the folder and the slot while the block runs.

    The folder's lock names the process that had it last. Whoever has the lock knows that this process has ended, also
    one in another container, or on the host that had the disk before.

    Raises SettingsError when another process has the folder, SlotTaken when one has the slot, Transient.
    """
    with locked(folder, slot=slot.name, group=slot.group) as lock:
        former = os.pread(lock, 1_000, 0).decode(errors="replace")
        slot.take(
            session_timeout_s=session_timeout_s,
            ended=lambda process: process.id == former or has_ended(process),
            warn=warn,
            beat=beat,
        )
        os.ftruncate(lock, 0)
        os.pwrite(lock, this_process().id.encode(), 0)
        yield


@contextlib.contextmanager
def locked(folder: Path, *, slot: str, group: str) -> Iterator[int]:
    """Locks the slot's own folder, because two processes in one slot would fence each other in turns."""
    Folder(folder).close()
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SettingsError(
            f"slot {slot} of group {group} is in use by another process on {folder}; give another --slot or --state-dir"
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)

"""Append-only files that snapshots name: which of them may be deleted, and when."""

from __future__ import annotations

from collections.abc import Container

from schemas.errors import DamagedState
from streams.engine.ports import Disk


class KeptFiles:
    """The files of a disk whose names start with `prefix`."""

    def __init__(self, disk: Disk, prefix: str) -> None:
        self._disk = disk
        self._prefix = prefix
        self._doomed: list[str] = []
        self._doomed_at_snapshot: list[str] = []

    def doom(self, name: str) -> None:
        """No later snapshot will name this file, but the last one may."""
        self._doomed.append(name)

    def snapshot(self) -> None:
        """A snapshot is taken. It names none of the files doomed so far."""
        self._doomed_at_snapshot = list(self._doomed)

    def snapshot_kept(self) -> None:
        """That snapshot is durable: deletes the files that were doomed before it."""
        for name in self._doomed_at_snapshot:
            self._disk.delete(name)
        self._doomed = self._doomed[len(self._doomed_at_snapshot) :]
        self._doomed_at_snapshot = []

    def read(self, name: str, start: int, length: int) -> bytes:
        """Bytes of a file that a snapshot names, fewer if it ends before. Raises DamagedState when it is missing."""
        try:
            return self._disk.read(name, start, length)
        except FileNotFoundError as error:
            raise DamagedState(f"checkpoint names {name}, which is missing") from error

    def keep_only(self, named: Container[str]) -> None:
        """Deletes every file that is not in `named`."""
        for name in self._disk.names():
            if name.startswith(self._prefix) and name not in named:
                self._disk.delete(name)

    def clear(self) -> None:
        """Deletes every file."""
        self.keep_only(())
        self._doomed.clear()
        self._doomed_at_snapshot.clear()

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
        self._unnamed: list[str] = []
        self._unnamed_at_snapshot: list[str] = []

    def delete_later(self, name: str) -> None:
        """No later snapshot will name this file, but the last one may: it is deleted once a later one is durable."""
        self._unnamed.append(name)

    def snapshot(self) -> None:
        """A snapshot is taken. It names none of the files that were given to `delete_later` so far."""
        self._unnamed_at_snapshot = list(self._unnamed)

    def snapshot_kept(self) -> None:
        """That snapshot is durable: deletes the files that it does not name."""
        for name in self._unnamed_at_snapshot:
            self._disk.delete(name)
        self._unnamed = self._unnamed[len(self._unnamed_at_snapshot) :]
        self._unnamed_at_snapshot = []

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
        self._unnamed.clear()
        self._unnamed_at_snapshot.clear()

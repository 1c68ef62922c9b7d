"""`streams.state.disk.Folder` taken apart: the same durable steps in the same order, with a crash point around each."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.simulation.filesystem import Filesystem

Reach = Callable[[str, str], None]
STEPS = ("append", "fsync", "write tmp", "fsync tmp", "rename", "fsync folder", "truncate", "delete")


def _pass(step: str, about: str) -> None:
    """Nothing happens at any step."""


class SimulatedDisk:
    """`streams.engine.ports.Disk`. Appends wait in the process, as for Folder's writer thread: its death loses them.

    `random` lets them wait now and then; without it nothing does.
    """

    def __init__(
        self, filesystem: Filesystem | None = None, reach: Reach = _pass, random: Random | None = None
    ) -> None:
        self._folder = filesystem or Filesystem()
        self._reach = reach
        self._random = random
        self._queued: list[tuple[str, bytes]] = []

    @property
    def files(self) -> dict[str, bytearray]:
        """What each file holds."""
        return {name: file.seen for name, file in self._folder.files.items()}

    def append(self, name: str, data: bytes | memoryview) -> None:
        self._open(name)
        self._queued.append((name, bytes(data)))
        if self._random is None or self._random.random() < 0.5:
            self._write_queued()

    def read(self, name: str, start: int, length: int) -> bytes:
        self._write_queued()
        if name not in self._folder.files:
            raise FileNotFoundError(name)
        return bytes(self._folder.files[name].seen[start : start + length])

    def read_synced(self, name: str, start: int, length: int) -> bytes:
        if name not in self._folder.files:
            raise FileNotFoundError(name)
        return self._folder.files[name].kept[start : start + length]

    def truncate(self, name: str, length: int) -> None:
        self._write_queued()
        self._open(name)
        self._reach("before truncate", name)
        self._folder.files[name].truncate(length)
        self._reach("after truncate", name)

    def sync(self, name: str) -> None:
        self._write_queued()
        self._open(name)
        self._reach("before fsync", name)
        self._folder.files[name].sync()
        self._reach("after fsync", name)

    def replace(self, name: str, data: bytes) -> None:
        temporary = f"{name}.tmp"
        self._reach("before write tmp", name)
        file = self._folder.create(temporary)
        file.append(data)
        self._reach("after write tmp", name)
        self._reach("before fsync tmp", name)
        file.sync()
        self._reach("after fsync tmp", name)
        self.rename(temporary, name)

    def delete(self, name: str) -> None:
        self._write_queued()
        self._reach("before delete", name)
        self._folder.unlink(name)
        self._reach("after delete", name)

    def rename(self, name: str, to: str) -> None:
        self._write_queued()
        self._reach("before rename", to)
        self._folder.rename(name, to)
        self._reach("after rename", to)
        self._sync_folder()

    def names(self) -> list[str]:
        return sorted(name for name in self._folder.files if not name.endswith(".tmp"))

    def close(self) -> None:
        """Writes what waits; the files stay."""
        self._write_queued()

    def _write_queued(self) -> None:
        while self._queued:
            name, data = self._queued[0]
            self._reach("before append", name)
            # Taken off before it is written: a step during which others run must not write it twice.
            self._queued.pop(0)
            self._folder.files[name].append(data)
            self._reach("after append", name)

    def _open(self, name: str) -> None:
        if name not in self._folder.files:
            self._folder.create(name)
            self._sync_folder()

    def _sync_folder(self) -> None:
        self._reach("before fsync folder", "")
        self._folder.sync_names()
        self._reach("after fsync folder", "")

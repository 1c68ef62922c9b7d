"""The disk on which a fold keeps its state: `engine.ports.Disk` as files in one real folder."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from schemas.errors import ClickfoldError, SettingsError

# Appends that wait for the writing thread, of one batch each: at most about 10 MB a partition.
_MOST_QUEUED = 8

# Reads of payloads: to ask for the size of the file each time would cost as much as the read.
_SHORT_READ = 1 << 20


class Folder:
    """`Disk` on a real folder. Files stay open until `close`.

    A thread writes the appends, in order: copying an impression into the page cache takes 0.6 µs, a tenth of all that
    the join does with it, and releases the interpreter's lock meanwhile. Every other call waits for the queued appends.
    Raises ClickfoldError when the disk does not take what is written, perhaps at a later call than the append.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, int] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="append")
        self._queued: deque[Future[None]] = deque()
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise SettingsError(
                f"state folder {path} cannot be written ({error.strerror}); give one that can with --state-dir"
            ) from error

    def append(self, name: str, data: bytes | memoryview) -> None:
        while len(self._queued) >= _MOST_QUEUED:
            self._wait_for(self._queued.popleft())
        self._queued.append(self._writer.submit(_write_all, self._descriptor(name), data))

    def read(self, name: str, start: int, length: int) -> bytes:
        self._wait_for_all()
        if name not in self._open and not (self._path / name).exists():
            raise FileNotFoundError(name)
        descriptor = self._descriptor(name)
        # Long reads are bounded by the size of the file, because `pread` allocates the whole length first.
        if length > _SHORT_READ:
            length = min(length, max(0, os.fstat(descriptor).st_size - start))
        return os.pread(descriptor, length, start)

    def read_synced(self, name: str, start: int, length: int) -> bytes:
        # With a descriptor of its own: open descriptors and the queue belong to the owner's thread.
        with (self._path / name).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def truncate(self, name: str, length: int) -> None:
        self._wait_for_all()
        os.ftruncate(self._descriptor(name), length)

    def sync(self, name: str) -> None:
        self._wait_for_all()
        os.fsync(self._descriptor(name))

    def replace(self, name: str, data: bytes) -> None:
        temporary = self._path / f"{name}.tmp"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._close(name)
        temporary.replace(self._path / name)
        self._sync_folder()

    def delete(self, name: str) -> None:
        self._close(name)
        (self._path / name).unlink(missing_ok=True)

    def rename(self, name: str, to: str) -> None:
        self._close(name)
        self._close(to)
        (self._path / name).replace(self._path / to)
        self._sync_folder()

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self._path.iterdir() if not entry.name.endswith(".tmp"))

    def close(self) -> None:
        self._writer.shutdown()
        for name in list(self._open):
            self._close(name)

    def _wait_for_all(self) -> None:
        while self._queued:
            self._wait_for(self._queued.popleft())

    def _wait_for(self, write: Future[None]) -> None:
        try:
            write.result()
        except OSError as error:
            raise ClickfoldError(
                f"state folder {self._path} takes no more data ({error.strerror}); free some space, then start again: "
                "nothing that was committed is lost"
            ) from error

    def _descriptor(self, name: str) -> int:
        descriptor = self._open.get(name)
        if descriptor is None:
            created = not (self._path / name).exists()
            descriptor = self._open[name] = os.open(self._path / name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            if created:
                # The name of the file must survive a power cut as well, not only its content.
                self._sync_folder()
        return descriptor

    def _close(self, name: str) -> None:
        self._wait_for_all()
        descriptor = self._open.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

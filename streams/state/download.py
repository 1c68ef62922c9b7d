"""Downloads the snapshot of a former owner onto a disk: the one with the highest cut that is complete."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from schemas.errors import DamagedState, Transient
from streams.engine.checkpoint import MANIFEST
from streams.engine.ports import Disk
from streams.state.layout import Objects, SharedManifest, read_manifest, read_piece, stems

_FETCHED = ".fetched"
# Downloads at the same time: one connection to an object store gives 50 to 90 MB/s.
_AT_ONCE = 4
# An owner leaves two manifests, and the next owner deletes them after a while. There are more only when many owners
# came and went within minutes.
_MOST_MANIFESTS = 20

T = TypeVar("T")


class Downloader:
    """Downloads the snapshots of a partition, each at most once, by descending cut."""

    def __init__(self, objects: Objects, warn: Callable[[str], None]) -> None:
        self._objects = objects
        self._warn = warn
        # Stems of snapshots that were downloaded, or tried in vain.
        self._done: set[str] = set()

    def fetch(self, disk: Disk, usable: Callable[[Mapping[str, int]], bool], *, within_s: float) -> bool:
        """Replaces everything on the disk by a snapshot whose cut is `usable`. Returns whether one was complete.

        The disk keeps what it has until the whole snapshot is there. Raises Transient when the store fails or takes
        longer than `within_s`.
        """
        until_s = time.monotonic() + within_s
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")
        try:
            for stem, shared in self._candidates(pool, until_s):
                if not usable(shared.cut):
                    continue
                self._done.add(stem)
                try:
                    state = self._download(pool, shared, disk, until_s)
                except (DamagedState, FileNotFoundError) as error:
                    self._skip(stem, error)
                    continue
                _exchange(disk, state, shared.files)
                return True
            return False
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _candidates(self, pool: ThreadPoolExecutor, until_s: float) -> list[tuple[str, SharedManifest]]:
        manifests: list[tuple[str, SharedManifest]] = []
        for stem in _answer(pool.submit(stems, self._objects), until_s)[:_MOST_MANIFESTS]:
            if stem in self._done:
                continue
            try:
                manifests.append((stem, _answer(pool.submit(read_manifest, self._objects, stem), until_s)))
            except (DamagedState, FileNotFoundError) as error:
                self._done.add(stem)
                self._skip(stem, error)
        return sorted(manifests, key=lambda entry: (sum(entry[1].cut.values()), entry[0]), reverse=True)

    def _download(self, pool: ThreadPoolExecutor, shared: SharedManifest, disk: Disk, until_s: float) -> bytes:
        """Writes the files next to those on the disk, reading a few pieces ahead. Returns the fold's manifest."""
        for name in disk.names():
            if name.endswith(_FETCHED):
                disk.delete(name)
        order = [(name, piece) for name, pieces in shared.files.items() for piece in pieces]
        ahead = (piece for _, piece in order)
        waiting: deque[Future[bytes]] = deque()
        for name, _ in order:
            for piece in islice(ahead, _AT_ONCE - len(waiting)):
                waiting.append(pool.submit(read_piece, self._objects, piece))
            disk.append(name + _FETCHED, _answer(waiting.popleft(), until_s))
        state = _answer(pool.submit(read_piece, self._objects, shared.state), until_s)
        for name in shared.files:
            disk.sync(name + _FETCHED)  # also creates a file that has no pieces
        return state

    def _skip(self, stem: str, error: Exception) -> None:
        self._warn(f"shared snapshot {stem} is not used: {error}")


def _answer(future: Future[T], until_s: float) -> T:
    try:
        return future.result(max(0.0, until_s - time.monotonic()))
    except TimeoutError as error:
        raise Transient("the store did not return all of a shared snapshot in time") from error


def _exchange(disk: Disk, state: bytes, files: Iterable[str]) -> None:
    """Replaces all files by the fetched ones. Meanwhile there is no manifest, so a half of either is no checkpoint."""
    disk.delete(MANIFEST)
    for name in disk.names():
        if not name.endswith(_FETCHED):
            disk.delete(name)
    for name in files:
        disk.rename(name + _FETCHED, name)
    disk.replace(MANIFEST, state)

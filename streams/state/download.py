"""Reading what former owners left: the snapshot furthest on that is whole, onto a disk."""

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
# One connection to an object store gives 50 to 90 MB/s.
_AT_ONCE = 4
# An owner leaves two, and the next one sweeps them after a while: more are of owners that came and went at once.
_MOST_MANIFESTS = 20

T = TypeVar("T")


class Reader:
    """Gives each snapshot of a partition at most once, those furthest on first."""

    def __init__(self, objects: Objects, warn: Callable[[str], None]) -> None:
        self._objects = objects
        self._warn = warn
        self._given: set[str] = set()

    def fetch(self, disk: Disk, usable: Callable[[Mapping[str, int]], bool], *, within_s: float) -> bool:
        """Puts a snapshot whose cut is `usable` in place of all the disk holds; whether there was one, whole.

        Until all of it is there the disk keeps what it held. Raises Transient when the store fails or takes longer than
        `within_s`.
        """
        until_s = time.monotonic() + within_s
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")
        try:
            for stem, shared in self._candidates(pool, until_s):
                if not usable(shared.cut):
                    continue
                self._given.add(stem)
                try:
                    state = self._download(pool, shared, disk, until_s)
                except (DamagedState, FileNotFoundError) as error:
                    self._pass_over(stem, error)
                    continue
                _exchange(disk, state, shared.files)
                return True
            return False
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _candidates(self, pool: ThreadPoolExecutor, until_s: float) -> list[tuple[str, SharedManifest]]:
        found: list[tuple[str, SharedManifest]] = []
        for stem in _answer(pool.submit(stems, self._objects), until_s)[:_MOST_MANIFESTS]:
            if stem in self._given:
                continue
            try:
                found.append((stem, _answer(pool.submit(read_manifest, self._objects, stem), until_s)))
            except (DamagedState, FileNotFoundError) as error:
                self._given.add(stem)
                self._pass_over(stem, error)
        return sorted(found, key=lambda one: (sum(one[1].cut.values()), one[0]), reverse=True)

    def _download(self, pool: ThreadPoolExecutor, shared: SharedManifest, disk: Disk, until_s: float) -> bytes:
        """Writes the files beside those of the disk, reading a few pieces ahead; returns the fold's manifest."""
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
            disk.sync(name + _FETCHED)  # makes one that has no pieces
        return state

    def _pass_over(self, stem: str, error: Exception) -> None:
        self._warn(f"shared snapshot {stem} is not used: {error}")


def _answer(future: Future[T], until_s: float) -> T:
    try:
        return future.result(max(0.0, until_s - time.monotonic()))
    except TimeoutError as error:
        raise Transient("the store did not give all of a shared snapshot in time") from error


def _exchange(disk: Disk, state: bytes, files: Iterable[str]) -> None:
    """What was fetched in place of what was there. In between no manifest: half of either is not a checkpoint."""
    disk.delete(MANIFEST)
    for name in disk.names():
        if not name.endswith(_FETCHED):
            disk.delete(name)
    for name in files:
        disk.rename(name + _FETCHED, name)
    disk.replace(MANIFEST, state)

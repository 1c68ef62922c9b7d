"""A shared location in memory with a step before each call, and snapshots shared in step with the fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TypeVar

from schemas.errors import Transient
from streams.engine.checkpoint import MANIFEST
from streams.engine.ports import Disk, SharedProgress
from streams.state.download import Downloader
from streams.state.layout import Objects
from streams.state.upload import Uploader
from tests.simulation.disk import SimulatedDisk

Made = TypeVar("Made")


class MemoryObjects:
    """`streams.state.layout.Objects`; `reach` is called with what is about to be done."""

    def __init__(self, reach: Callable[[str], None] = lambda _: None, held: dict[str, bytes] | None = None) -> None:
        self.held = {} if held is None else held
        self.reach = reach
        self.failing = False

    def write(self, key: str, data: bytes) -> None:
        self._begin("write", key)
        self.held[key] = data

    def read(self, key: str) -> bytes:
        self._begin("read", key)
        if key not in self.held:
            raise FileNotFoundError(key)
        return self.held[key]

    def delete(self, key: str) -> None:
        self._begin("delete", key)
        self.held.pop(key, None)

    def names(self) -> list[str]:
        self._begin("list", "")
        return sorted(self.held)

    def _begin(self, what: str, key: str) -> None:
        self.reach(f"{what} shared {key.rpartition('.')[2] or 'objects'}")
        if self.failing:
            raise Transient("no answer")


class Immediately:
    """What a Downloader uses of ThreadPoolExecutor, without threads: steps have an order."""

    def __init__(self, *_: object, **__: object) -> None:
        """Takes the arguments of the real one."""

    def submit(self, work: Callable[..., Made], *args: object) -> Future[Made]:
        done: Future[Made] = Future()
        try:
            done.set_result(work(*args))
        except Exception as error:  # noqa: BLE001  # raised where the answer is asked for
            done.set_exception(error)
        return done

    def shutdown(self, **_: object) -> None:
        """Nothing runs."""


class SharedInStep:
    """`engine.ports.Shared` without a thread: a snapshot is shared, or the process dies, before `offer` returns."""

    def __init__(
        self, objects: MemoryObjects, progress: SharedProgress, token: str, *, now_s: Callable[[], float]
    ) -> None:
        self.progress = progress
        self._writer = Uploader(objects, number=int(now_s()), token=token)
        self._reader = Downloader(objects, lambda _: None)
        self._now_s = now_s

    def fetch(self, disk: Disk, usable: Callable[[Mapping[str, int]], bool]) -> bool:
        found = self._reader.fetch(disk, usable, within_s=60.0)
        self.progress.fetched += found
        return found

    def offer(
        self, cut: Mapping[str, int], manifest: bytes, files: Mapping[str, int], disk: Disk, *, last: bool
    ) -> None:
        assert self._writer.put(cut, manifest, files, disk.read_synced, lambda: True)
        self._writer.clear_away(self._now_s())
        self.progress.shared += 1

    def copying(self) -> bool:
        return False

    def distrust(self) -> None:
        raise AssertionError("no disk is damaged here")

    def drain(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is held."""


def always() -> bool:
    return True


def anything(_: Mapping[str, int]) -> bool:
    return True


def disk_with(files: Mapping[str, bytes]) -> SimulatedDisk:
    disk = SimulatedDisk()
    for name, data in files.items():
        disk.append(name, data)
        disk.sync(name)
    return disk


def put(writer: Uploader, cut: int, files: Mapping[str, bytes], state: bytes = b"state") -> None:
    lengths = {name: len(data) for name, data in files.items()}
    assert writer.put({"log": cut}, state + b"%d" % cut, lengths, disk_with(files).read_synced, always)


def fetched(objects: Objects, usable: Callable[[Mapping[str, int]], bool] = anything) -> tuple[dict[str, bytes], bool]:
    disk = disk_with({MANIFEST: b"old", "left": b"over"})
    found = Downloader(objects, lambda _: None).fetch(disk, usable, within_s=60.0)
    return {name: bytes(data) for name, data in disk.files.items()}, found

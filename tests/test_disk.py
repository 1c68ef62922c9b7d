"""The real `Folder`: whenever the power fails, what was promised is there, whatever the kernel had not yet written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from streams.state.disk import Folder
from streams.state.kept import KeptFiles
from tests.simulation.disk import SimulatedDisk

# What a promised name may hold; None: it may be missing.
Contents = set[bytes | None]


class Kernel:
    """Watches a folder from below and knows what a power cut may leave of it at every step.

    Of a name: any file it stood for since the folder was last synced, each name by itself. Of a file: what it held when
    it was last synced, what it holds now, or a part of what came between. That is the least POSIX promises.
    """

    def __init__(self, path: Path, pins: Path) -> None:
        self._path = path
        self._pins = pins
        pins.mkdir()
        self._names: list[dict[str, int]] = [{}]
        self._synced: dict[int, bytes] = {}
        self.whole: dict[str, Contents] = {}
        self.begins: dict[str, bytes] = {}
        self.syncs = 0
        self.left_out = self.put_off = -1
        self._owed: list[int] = []
        self.fsync, self.replace, self.rename, self.unlink = os.fsync, os.replace, os.rename, os.unlink

    # ---- what the folder calls --------------------------------------------------------------------------------------

    def on_fsync(self, descriptor: int) -> None:
        """Counts; leaves one out or puts it off until something was renamed, if told to."""
        self.look()
        self.syncs += 1
        if self.syncs - 1 == self.left_out:
            return
        if self.syncs - 1 == self.put_off:
            self._owed.append(os.dup(descriptor))
            return
        self._sync(descriptor)

    def on_rename(self, act: Callable[..., None]) -> Callable[..., None]:
        """Around whatever changes a name."""

        def renamed(*args: Any, **kwargs: Any) -> None:
            self.look()
            act(*args, **kwargs)
            self.look()
            while self._owed:
                descriptor = self._owed.pop()
                self._sync(descriptor)
                os.close(descriptor)

        return renamed

    def _sync(self, descriptor: int) -> None:
        self.fsync(descriptor)
        inode = os.fstat(descriptor).st_ino
        if inode == self._path.stat().st_ino:
            self._names = [self._now()]
        else:
            self._pin()
            self._synced[inode] = self._content(inode)
        self.look()

    # ---- what a power cut may leave ---------------------------------------------------------------------------------

    def look(self) -> None:
        """Whatever is left if the power fails now keeps what was promised so far."""
        now = self._now()
        if now != self._names[-1]:
            self._names.append(now)
        for name, allowed in self.whole.items():
            for found in self._left_of(name):
                assert found in allowed, f"{name} may be left as {found!r}"
        for name, begin in self.begins.items():
            for found in self._left_of(name):
                assert found is not None, f"{name} may be missing"
                assert found.startswith(begin), f"{name} may be left as {found!r}"

    def _left_of(self, name: str) -> Iterator[bytes | None]:
        for inode in {names.get(name) for names in self._names}:
            if inode is None:
                yield None
                continue
            synced, now = self._synced.get(inode, b""), self._content(inode)
            yield from (synced, now)
            if now.startswith(synced):
                for end in range(len(synced), len(now)):
                    yield now[:end]
                    # The length is written, what is behind it is not.
                    yield now[:end] + bytes(len(now) - end)

    def _now(self) -> dict[str, int]:
        self._pin()
        return {entry.name: entry.inode() for entry in os.scandir(self._path)}

    def _pin(self) -> None:
        """A second name elsewhere keeps every file readable, and its number from being given to another."""
        for entry in os.scandir(self._path):
            if not (self._pins / str(entry.inode())).exists():
                os.link(entry.path, self._pins / str(entry.inode()))

    def _content(self, inode: int) -> bytes:
        return (self._pins / str(inode)).read_bytes()


@contextmanager
def watched(path: Path, *, left_out: int = -1, put_off: int = -1) -> Iterator[Kernel]:
    path.mkdir(parents=True)
    kernel = Kernel(path, path.with_suffix(".pins"))
    kernel.left_out, kernel.put_off = left_out, put_off
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", kernel.on_fsync)
        for name in ("replace", "rename", "unlink"):
            patch.setattr(os, name, kernel.on_rename(getattr(kernel, name)))
        yield kernel


def exercise(kernel: Kernel, path: Path) -> None:
    """All a fold does with its disk; after each call what it promises is asked of every possible power cut."""
    folder = Folder(path)
    folder.append("rows", b"one")
    folder.sync("rows")
    kernel.begins["rows"] = b"one"
    kernel.look()
    folder.append("rows", b"two")
    kernel.whole["manifest"] = {None, b"first"}
    folder.replace("manifest", b"first")
    kernel.whole["manifest"] = {b"first"}
    kernel.look()
    kernel.whole["manifest"] = {b"first", b"second"}
    folder.replace("manifest", b"second")
    kernel.whole["manifest"] = {b"second"}
    kernel.look()
    folder.sync("rows")
    kernel.begins["rows"] = b"onetwo"
    kernel.look()
    folder.append("fetched", b"third")
    folder.sync("fetched")
    kernel.begins["fetched"] = b"third"
    kernel.look()
    del kernel.begins["fetched"]
    kernel.whole["manifest"] = {b"second", b"third"}
    folder.rename("fetched", "manifest")
    kernel.whole["manifest"] = {b"third"}
    kernel.look()
    kernel.begins["rows"] = b"one"
    folder.truncate("rows", 3)
    folder.append("rows", b"2")
    folder.sync("rows")
    kernel.begins["rows"] = b"one2"
    kernel.look()
    folder.append("gone", b"x")
    folder.delete("gone")
    folder.delete("gone")
    assert folder.names() == ["manifest", "rows"]
    assert folder.read("rows", 0, 99) == b"one2"
    folder.close()


def test_what_was_synced_replaced_or_renamed_outlives_a_power_cut_at_any_step(tmp_path: Path) -> None:
    with watched(tmp_path / "state") as kernel:
        exercise(kernel, tmp_path / "state")
    assert kernel.syncs >= 10


def test_not_one_sync_can_be_left_out_or_put_off_until_after_the_rename(tmp_path: Path) -> None:
    """The judge is judged: each omission must be seen. Names made and at once removed are nobody's promise."""
    with watched(tmp_path / "all") as kernel:
        exercise(kernel, tmp_path / "all")
    unseen = []
    for at, how in product(range(kernel.syncs), ("left_out", "put_off")):
        path = tmp_path / f"{how}-{at}"
        with watched(path, **{how: at}) as lacking:
            try:
                exercise(lacking, path)
            except AssertionError:
                continue
        unseen.append((how, at))
    made_and_removed = kernel.syncs - 1
    assert {at for _, at in unseen} == {made_and_removed}


def test_no_more_than_eight_appends_wait_for_the_disk(tmp_path: Path) -> None:
    """Each is a batch: more of them would fill memory when the disk is slow."""
    folder = Folder(tmp_path)
    for _ in range(20):
        folder.append("rows", b"x")
        assert len(folder._queued) <= 8
    assert len(folder._queued) == 8
    assert folder.read("rows", 0, 99) == b"x" * 20
    folder.close()


def test_a_file_that_was_there_before_is_read_and_one_that_was_not_is_missing(tmp_path: Path) -> None:
    before = Folder(tmp_path)
    before.append("rows", b"kept")
    before.close()
    folder = Folder(tmp_path)
    assert folder.read("rows", 1, 2) == b"ep"
    with pytest.raises(FileNotFoundError):
        folder.read("other", 0, 1)
    assert folder.names() == ["rows"]
    folder.close()


def test_files_written_anew_after_all_were_dropped_are_not_those_that_were_to_be_deleted() -> None:
    disk = SimulatedDisk()
    kept = KeptFiles(disk, "seg-")
    for _ in range(2):
        disk.append("seg-1", b"of before")
        kept.delete_later("seg-1")
        kept.snapshot()
        kept.clear()
        assert disk.names() == []
        disk.append("seg-1", b"anew")
        kept.snapshot_kept()
        assert disk.names() == ["seg-1"]

"""Sharing a task's state beside its work: what is loaded, what is kept, what a store that fails or hangs may do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest

import streams.engine.recovery
import streams.state.download
import streams.state.sharing
import streams.state.upload
from online_models.settings import LearnerSettings
from schemas.errors import SettingsError
from schemas.records import Records
from streams.engine.checkpoint import MANIFEST, write_checkpoint
from streams.engine.ports import Commit, Disk, Log, Shared, SharedProgress
from streams.engine.recovery import Loader
from streams.engine.task import Task
from streams.learn.fold import LearnFold
from streams.state.objects import ObjectStore
from streams.state.sharing import Location, Sharing
from streams.state.upload import Uploader
from tests.effort import tries
from tests.sharing import Immediately, MemoryObjects, SharedInStep, anything, disk_with, fetched, put
from tests.simulation.disk import SimulatedDisk
from tests.simulation.judge import check
from tests.simulation.process import Process
from tests.simulation.simulate import tiny_joins
from tests.simulation.world import World

# ---- a task that is loaded and kept ---


class OneCommit:
    """A log of which one thing is known: what is committed of partition 0."""

    def __init__(self, commit: Commit) -> None:
        self.commit = commit

    def committed(self, partition: int) -> Commit:
        return self.commit

    def starts(self, partition: int) -> dict[str, int]:
        return dict.fromkeys(self.commit.offsets, 3)


class Asked(SharedInStep):
    """Notes which cuts would be fetched, and has none."""

    def __init__(self, *cuts: dict[str, int], copies: bool = False) -> None:
        super().__init__(MemoryObjects(), SharedProgress(), "a", now_s=lambda: 0.0)
        self.cuts = cuts
        self.usable: list[dict[str, int]] = []
        self.copies = copies

    def fetch(self, disk: Disk, usable: Callable[[Mapping[str, int]], bool]) -> bool:
        self.usable += [cut for cut in self.cuts if usable(cut)]
        return False

    def copying(self) -> bool:
        return self.copies


def learned(offset: int) -> LearnFold:
    fold = LearnFold(LearnerSettings(), shard=0)
    fold.begin(None, offsets={"outcomes": offset}, epoch=1)
    return fold


def loaded(disk: SimulatedDisk, shared: Shared) -> tuple[Task, dict[str, int]]:
    commit = Commit({"outcomes": 3_000_000}, learned(5).mark())
    fresh = LearnFold(LearnerSettings(), shard=0)
    log = cast(Log, OneCommit(commit))
    return Loader(lambda _: (fresh, disk), log, lambda _: None, lambda _: shared).load(0)


def test_cut_that_kafka_does_not_reach_or_nobody_committed_is_never_restored() -> None:
    cuts = [{"outcomes": at} for at in (2, 3, 3_000_000, 3_000_001)] + [{"other": 5}, {"outcomes": 5, "other": 5}]
    asked = Asked(*cuts)
    loaded(SimulatedDisk(), asked)
    assert asked.usable == [{"outcomes": 3}, {"outcomes": 3_000_000}]


def test_checkpoint_of_ones_own_is_kept_unless_a_shared_one_is_a_million_records_on() -> None:
    own = learned(0)
    own.step(Records("outcomes", 0, [999], [-1], [None], [None]))
    disk = disk_with({MANIFEST: own.snapshot()})
    asked = Asked({"outcomes": 1_001_000}, {"outcomes": 1_001_001})
    assert loaded(disk, asked)[1] == {"outcomes": 1_000}
    assert asked.usable == [{"outcomes": 1_001_001}]


def test_checkpoint_of_no_use_is_gone_once_its_state_is_rebuilt() -> None:
    disk = disk_with({MANIFEST: b"damaged"})
    assert loaded(disk, Asked())[1] == {"outcomes": 5}
    assert MANIFEST not in disk.names()


@pytest.mark.parametrize("copies", [False, True])
def test_files_of_earlier_checkpoints_stay_while_they_are_copied(copies: bool) -> None:
    fold = learned(5)
    task = Task(fold, SimulatedDisk(), None, Asked(copies=copies))
    with patch.object(fold, "snapshot_kept") as kept:
        write_checkpoint(task, last=False)
    assert kept.called != copies


# ---- a runner that shares -----------------------------------------------------------------------------------------


class SharingWorld(World):
    """Workers that share their snapshots, with every call of the store a step at which they die, freeze or wait."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.held: dict[int, dict[str, bytes]] = {partition: {} for partition in range(self.partitions)}
        self.progress = SharedProgress()
        self.loads = 0

    def share(self, process: Process, partition: int) -> Shared:
        self.loads += 1
        objects = MemoryObjects(process.reach, self.held[partition])
        return SharedInStep(objects, self.progress, f"{self.loads:06d}", now_s=self.clock.monotonic)


@pytest.mark.parametrize("block", range(8))
def test_whatever_befalls_workers_outputs_equal_the_batch_truth_with_state_from_shared_snapshots(block: int) -> None:
    fetched = 0
    for seed in range(15 * block, 15 * block + tries(15)):
        world = SharingWorld(seed)
        with (
            tiny_joins(),
            patch.object(streams.state.download, "ThreadPoolExecutor", Immediately),
            patch.object(streams.state.upload, "GRACE_S", world.random.choice([5.0, 50.0])),
            # Also in place of a checkpoint that is a few records older.
            patch.object(streams.engine.recovery, "_WORTH_RECORDS", world.random.choice([3, 1_000])),
        ):
            try:
                world.history()
                check(world)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}") from error
        fetched += world.progress.fetched
    assert fetched


# ---- beside the fold ----------------------------------------------------------------------------------------------


class Held:
    """Objects whose first write waits until it is let go on."""

    def __init__(self) -> None:
        self.objects = MemoryObjects(self._reach)
        self.began = threading.Event()
        self.go_on = threading.Event()

    def folder(self, *_: str, stop: threading.Event) -> MemoryObjects:
        return self.objects

    def _reach(self, step: str) -> None:
        if step.startswith("write"):
            self.began.set()
            assert self.go_on.wait(60.0)


@pytest.fixture
def patient() -> Iterator[None]:
    """A last snapshot may take as long as it takes: how fast this machine is says nothing."""
    with patch.object(streams.state.sharing, "LAST_S", 60.0):
        yield


def sharing(held: Held, warnings: list[str], *, every_s: float = 0.0) -> Sharing:
    return Location(held, "group", every_s=every_s, warn=warnings.append).share(0)


def offer(shared: Sharing, cut: int, *, last: bool = False) -> None:
    shared.offer({"log": cut}, b"state%d" % cut, {"one": 3}, disk_with({"one": b"abc"}), last=last)


@pytest.mark.usefixtures("patient")
def test_snapshot_is_skipped_while_one_is_on_its_way_and_the_last_one_is_not() -> None:
    held = Held()
    shared = sharing(held, [])
    offer(shared, 1)
    assert held.began.wait(60.0)
    assert shared.copying()
    offer(shared, 2)
    assert shared.progress.skipped == 1
    offer(shared, 3, last=True)
    held.go_on.set()
    shared.drain()
    assert not shared.copying()
    assert shared.progress.shared == 2
    assert fetched(held.objects)[0][MANIFEST] == b"state3"


def test_store_that_hangs_does_not_hold_up_the_last_snapshot_for_ever_and_completes_nothing_later() -> None:
    held = Held()
    shared = sharing(held, [])
    with patch.object(streams.state.sharing, "LAST_S", 0.0):
        offer(shared, 1, last=True)
        assert held.began.wait(60.0)
        shared.drain()  # returns
    shared.close()
    held.go_on.set()
    with patch.object(shared, "_last_until_s", time.monotonic() + 60.0):
        shared.drain()
    assert not shared.copying()
    assert shared.progress.shared == 0
    assert not fetched(held.objects)[1]


@pytest.mark.usefixtures("patient")
def test_files_are_held_while_a_snapshot_that_names_them_is_copied_and_no_longer_than_the_hold() -> None:
    held = Held()
    shared = sharing(held, [])
    fold = learned(5)
    task = Task(fold, SimulatedDisk(), None, shared)
    offer(shared, 1)
    assert held.began.wait(60.0)
    with patch.object(fold, "snapshot_kept") as deletes:
        write_checkpoint(task, last=False)
        assert not deletes.called
        with patch.object(streams.state.sharing, "_HOLD_S", 0.0):
            write_checkpoint(task, last=False)
        assert deletes.call_count == 1
        held.go_on.set()
        shared.drain()
        write_checkpoint(task, last=False)
        assert deletes.call_count == 2
    shared.drain()


@pytest.mark.usefixtures("patient")
def test_outage_is_warned_of_once_and_sharing_goes_on_after_it() -> None:
    held, warnings = Held(), list[str]()
    held.go_on.set()
    held.objects.failing = True
    shared = sharing(held, warnings)
    for cut in (1, 2, 3):
        offer(shared, cut)
        shared.drain()
    assert shared.progress.failures == 3
    assert len(warnings) == 1
    held.objects.failing = False
    offer(shared, 4)
    shared.drain()
    assert warnings[1:] == ["snapshots are shared again"]
    assert fetched(held.objects)[0][MANIFEST] == b"state4"


def test_store_that_fails_is_not_asked_for_every_partition() -> None:
    held, warnings = Held(), list[str]()
    held.objects.failing = True
    location = Location(held, "group", every_s=60.0, warn=warnings.append)
    assert not location.share(0).fetch(SimulatedDisk(), anything)
    held.objects.failing = False
    held.go_on.set()
    put(Uploader(held.objects, number=1, token="a"), 1, {})
    assert not location.share(1).fetch(SimulatedDisk(), anything)
    assert len(warnings) == 1


@pytest.mark.usefixtures("patient")
def test_snapshot_is_shared_no_more_often_than_asked_and_not_twice_at_one_cut() -> None:
    held = Held()
    held.go_on.set()
    shared = sharing(held, [], every_s=3_600.0)
    for cut in (1, 2):
        offer(shared, cut)
        shared.drain()
    assert shared.progress.shared == 1
    for _ in range(2):
        offer(shared, 2, last=True)
        shared.drain()
    assert shared.progress.shared == 2


@pytest.mark.usefixtures("patient")
def test_faithful_copy_of_damaged_files_is_not_fetched_until_a_new_one_is_shared() -> None:
    held = Held()
    held.go_on.set()
    location = Location(held, "group", every_s=0.0, warn=lambda _: None)
    first = location.share(0)
    offer(first, 1)
    first.drain()
    first.distrust()
    first.close()
    again = location.share(0)
    assert not again.fetch(SimulatedDisk(), anything)
    offer(again, 2)
    again.drain()
    assert location.share(0).fetch(SimulatedDisk(), anything)


# ---- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["s3://key:secret@bucket/prefix", "s3://bucket/prefix?secret=secret"])
def test_location_with_credentials_is_refused_without_showing_them(url: str) -> None:
    with pytest.raises(SettingsError, match="environment") as refused:
        ObjectStore(url)
    assert "secret" not in str(refused.value).replace("secrets", "").replace("SECRET", "")


def test_location_of_an_unknown_kind_is_refused_with_a_remedy() -> None:
    with pytest.raises(SettingsError, match="file:///folder"):
        ObjectStore("nowhere://x")


def test_location_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="cannot be written"):
        ObjectStore(f"file://{tmp_path}/file/below").check()

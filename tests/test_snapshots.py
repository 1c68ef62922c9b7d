"""Shared snapshots: what an owner wrote is what the next one gets, whatever stops, vanishes or comes late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import cast
from unittest.mock import patch

import orjson
import pytest

import streams.loading
import streams.snapshots.fetch
import streams.snapshots.put
import streams.snapshots.sharing
from online_models.learner import Learner
from online_models.settings import LearnerSettings
from schemas.errors import ClickfoldError, SettingsError
from streams.disk import Disk
from streams.edges import Commit, Log, Shared, SharedProgress
from streams.fold import Out, Records
from streams.learn import LearnFold
from streams.loading import Loader
from streams.snapshots.fetch import Reader
from streams.snapshots.layout import Objects, checksum
from streams.snapshots.objects import ObjectStore
from streams.snapshots.put import GRACE_S, Writer
from streams.snapshots.sharing import Location, Sharing
from streams.task import MANIFEST, Task
from tests.sharing import Immediately, MemoryObjects, SharedInStep
from tests.simulation.disk import SimulatedDisk
from tests.simulation.judge import check
from tests.simulation.process import Process
from tests.simulation.simulate import tiny_joins
from tests.simulation.strand import Crashed
from tests.simulation.world import World


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


def put(writer: Writer, cut: int, files: Mapping[str, bytes], state: bytes = b"state") -> None:
    lengths = {name: len(data) for name, data in files.items()}
    assert writer.put({"log": cut}, state + b"%d" % cut, lengths, disk_with(files).read_synced, always)


def fetched(objects: Objects, usable: Callable[[Mapping[str, int]], bool] = anything) -> tuple[dict[str, bytes], bool]:
    disk = disk_with({MANIFEST: b"old", "left": b"over"})
    found = Reader(objects, lambda _: None).fetch(disk, usable, within_s=60.0)
    return {name: bytes(data) for name, data in disk.files.items()}, found


@pytest.fixture(params=["memory", "file"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    url = f"memory://{tmp_path.name}/{request.node.name}" if request.param == "memory" else f"file://{tmp_path}/shared"
    store = ObjectStore(url)
    store.check()
    return store.at("group", "1", stop=threading.Event())


def test_fetched_disk_is_the_disk_that_was_shared_and_nothing_else(objects: Objects) -> None:
    assert fetched(objects) == ({MANIFEST: b"old", "left": b"over"}, False)
    put(Writer(objects, number=5, token="a"), 9, {"one": b"abc", "empty": b""})
    assert fetched(objects) == ({MANIFEST: b"state9", "one": b"abc", "empty": b""}, True)


def test_store_lists_its_own_folder_only(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}/shared")
    stop = threading.Event()
    one, ten = store.at("group", "1", stop=stop), store.at("group", "10", stop=stop)
    one.write("a", b"1")
    ten.write("b", b"2")
    assert (one.names(), ten.names()) == (["a"], ["b"])
    assert store.at("group", "2", stop=stop).names() == []
    one.delete("a")
    one.delete("a")
    with pytest.raises(FileNotFoundError):
        one.read("a")


def test_only_what_grew_is_uploaded() -> None:
    objects = MemoryObjects()
    writer = Writer(objects, number=5, token="a")
    put(writer, 1, {"full": b"x" * 100_000, "tail": b"y" * 100_000})
    before = writer.written_bytes
    put(writer, 2, {"full": b"x" * 100_000, "tail": b"y" * 100_000 + b"z" * 50})
    assert 50 <= writer.written_bytes - before < 1_000
    assert fetched(objects)[0]["tail"] == b"y" * 100_000 + b"z" * 50


def test_file_that_grows_by_little_has_few_pieces_and_no_byte_is_uploaded_often() -> None:
    objects = MemoryObjects()
    writer = Writer(objects, number=5, token="a")
    for size in range(1, 258):
        put(writer, size, {"tail": b"ab" * 500 * size})
        writer.clear_away(0.0)
    pieces = [key for key in objects.held if ".tail." in key]
    assert len(pieces) <= 2 * 9
    assert writer.written_bytes < 257 * 1_000 * 9 + 257 * 4_000
    assert fetched(objects)[0]["tail"] == b"ab" * 500 * 257


def test_large_files_are_cut_into_pieces() -> None:
    objects = MemoryObjects()
    data = bytes(range(256)) * 10
    with patch.object(streams.snapshots.put, "PIECE_BYTES", 100):
        put(Writer(objects, number=5, token="a"), 1, {"one": data})
    assert max(len(held) for key, held in objects.held.items() if ".one." in key) == 100
    assert fetched(objects)[0]["one"] == data


def test_next_owner_takes_over_what_its_files_begin_with_and_uploads_the_rest() -> None:
    objects = MemoryObjects()
    files = {"same": b"a" * 100_000, "other": b"b" * 50_000}
    put(Writer(objects, number=5, token="a"), 1, files)
    later = Writer(objects, number=5, token="b")
    put(later, 2, {"same": b"a" * 100_000 + b"c", "other": b"d" * 50_000})
    assert 50_000 < later.written_bytes < 60_000
    assert fetched(objects)[0] == {MANIFEST: b"state2", "same": b"a" * 100_000 + b"c", "other": b"d" * 50_000}


@pytest.mark.parametrize("what", [".one.", ".state", ".manifest"])
@pytest.mark.parametrize("how", ["missing", "damaged", "cut short"])
def test_snapshot_that_is_not_whole_is_passed_over_for_the_one_before(what: str, how: str) -> None:
    objects = MemoryObjects()
    writer = Writer(objects, number=5, token="a")
    put(writer, 1, {"one": b"abc" * 9})
    put(writer, 2, {"one": b"abc" * 9, "two.one.two": b"d"})
    victim = max(key for key in objects.held if what in key)
    if how == "missing":
        del objects.held[victim]
    else:
        data = objects.held[victim]
        objects.held[victim] = data[:-1] + (b"" if how == "cut short" else bytes([data[-1] ^ 1]))
    warnings: list[str] = []
    disk = SimulatedDisk()
    assert Reader(objects, warnings.append).fetch(disk, anything, within_s=60.0)
    assert bytes(disk.files[MANIFEST]) == b"state1"
    # Without a manifest there is no snapshot to be passed over.
    assert [("not used" in text) for text in warnings] == [True] * ((what, how) != (".manifest", "missing"))


def test_any_flipped_bit_of_a_shared_manifest_is_noticed() -> None:
    objects = MemoryObjects()
    put(Writer(objects, number=5, token="a"), 7, {"one": b"abc"})
    [key] = [key for key in objects.held if key.endswith(".manifest")]
    whole = objects.held[key]
    for at in range(len(whole)):
        objects.held[key] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        assert not fetched(objects)[1], f"byte {at}"


def test_manifest_is_the_first_to_go_when_a_snapshot_takes_the_place_of_a_checkpoint() -> None:
    objects = MemoryObjects()
    put(Writer(objects, number=5, token="a"), 7, {"one": b"abc"})
    steps: list[tuple[str, str]] = []
    disk = SimulatedDisk(reach=lambda step, about: steps.append((step, about)))
    for name in ("a file before it in the alphabet", MANIFEST, "one"):
        disk.append(name, b"old")
    assert Reader(objects, lambda _: None).fetch(disk, anything, within_s=60.0)
    assert next(about for step, about in steps if step == "before delete") == MANIFEST


def test_disk_keeps_what_it_held_when_no_snapshot_is_whole() -> None:
    objects = MemoryObjects()
    put(Writer(objects, number=5, token="a"), 1, {"one": b"abc", "two": b"d"})
    del objects.held[next(key for key in objects.held if ".two." in key)]
    files, found = fetched(objects)
    assert not found
    assert (files[MANIFEST], files["left"]) == (b"old", b"over")


def test_snapshot_furthest_on_that_is_usable_is_taken_whoever_wrote_it() -> None:
    objects = MemoryObjects()
    put(Writer(objects, number=5, token="a"), 30, {})
    later = Writer(objects, number=6, token="b")
    put(later, 10, {})
    put(later, 20, {})
    assert fetched(objects)[0][MANIFEST] == b"state30"
    assert fetched(objects, lambda cut: cut["log"] <= 25)[0][MANIFEST] == b"state20"
    reader = Reader(objects, lambda _: None)
    disk = SimulatedDisk()
    given = [bytes(disk.files[MANIFEST]) for _ in range(3) if reader.fetch(disk, anything, within_s=60.0)]
    assert given == [b"state30", b"state20", b"state10"]
    assert not reader.fetch(disk, anything, within_s=60.0)


def test_owner_keeps_two_snapshots_and_sweeps_former_owners_after_the_grace_only() -> None:
    objects = MemoryObjects()
    put(Writer(objects, number=5, token="a"), 1, {"old": b"a"})
    future = Writer(objects, number=99, token="z")
    former = set(objects.held)
    own = Writer(objects, number=6, token="b")
    put(own, 2, {"new": b"b"})
    put(future, 7, {"zzz": b"z"})
    for cut in (3, 4):
        put(own, cut, {"new": b"b" * cut})
        own.clear_away(100.0)
    assert former <= set(objects.held)
    assert sum(key.endswith(".manifest") and "-b." in key for key in objects.held) == 2
    own.clear_away(100.0 + GRACE_S - 1)
    assert former <= set(objects.held)
    own.clear_away(100.0 + GRACE_S)
    assert not former & set(objects.held)
    assert any("-z.zzz" in key for key in objects.held), "a later owner's objects are not a former one's to delete"


def test_snapshot_that_is_no_longer_wanted_is_not_completed() -> None:
    objects = MemoryObjects()
    writer = Writer(objects, number=5, token="a")
    answers = iter([True, False])
    lengths = {"one": 3}
    assert not writer.put({"log": 1}, b"s", lengths, disk_with({"one": b"abc"}).read_synced, lambda: next(answers))
    assert not fetched(objects)[1]


# ---- owners that come, go and linger ------------------------------------------------------------------------------


class Owner:
    """Appends a log to files of a few records, drops the oldest, shares; as a fold and its task do."""

    def __init__(self, world: Owners) -> None:
        self.world = world
        self.writer = Writer(world.objects, number=world.random.choice([3, 5, 9]), token=f"{len(world.owners):04d}")
        self.disk = SimulatedDisk()
        self.committed = world.committed
        world.taking_over = True
        found = Reader(world.objects, lambda _: None).fetch(
            self.disk, lambda cut: cut["log"] <= world.committed, within_s=60.0
        )
        world.taking_over = False
        if found:
            state = orjson.loads(bytes(self.disk.files[MANIFEST]))
            world.verify(self.disk, state)
            self.cut, self.first, self.base = state["cut"], state["first"], state["base"]
        else:
            # Rebuilt from somewhere: files of the same names hold something else.
            self.base = self.cut = max(0, world.committed - world.random.randint(0, 9))
            self.first = 0
        self.world.owners.append(self)

    def grow(self) -> None:
        for _ in range(self.world.random.randint(0, 6)):
            self.disk.append(f"seg-{(self.cut - self.base) // 4:03d}", record(self.cut))
            self.cut += 1
        self.first = max(self.first, (self.cut - self.base) // 4 - self.world.random.randint(1, 4))
        self.world.committed = max(self.world.committed, self.cut)

    def share(self) -> None:
        for name in [name for name in self.disk.names() if name < f"seg-{self.first:03d}"]:
            self.disk.delete(name)
        for name in self.disk.names():
            self.disk.sync(name)
        files = {name: len(data) for name, data in self.disk.files.items() if name != MANIFEST}
        state = {"cut": self.cut, "first": self.first, "base": self.base, "files": files}
        cut, body = self.cut, orjson.dumps(state)
        if self.writer.put({"log": cut}, body, files, self.disk.read_synced, always):
            if self.world.owners[-1] is self:
                self.world.shared = cut
            self.writer.clear_away(self.world.now_s)


class Owners:
    """Each new owner may come while any former one is anywhere within its upload; that one then ends it, and no more.

    While an owner's uploads go on, the newest may do anything in between: every call of the store may bring that about.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.objects = MemoryObjects(self.reach)
        self.owners: list[Owner] = []
        self.committed = 0
        # The cut of the last snapshot that the newest owner completed; whoever comes next has at least this.
        self.shared = -1
        self.now_s = 0.0
        self.depth = 0
        self.busy: set[int] = set()
        self.taking_over = False

    def run(self) -> None:
        Owner(self)
        for _ in range(30):
            self.act()

    def act(self) -> None:
        self.now_s += self.random.choice([1.0, 60.0, GRACE_S])
        newest = self.owners[-1]
        if self.random.random() < 0.2:
            replaced, shared = newest, self.shared
            taker = Owner(self)
            assert taker.cut >= shared or taker.cut == self.committed
            if shared >= 0:
                assert MANIFEST in taker.disk.files, "what the former owner completed cannot be had"
            if id(replaced) not in self.busy and self.random.random() < 0.5:
                self.share(replaced)  # it was offered before its owner was fenced
        elif id(newest) not in self.busy:
            newest.grow()
            self.share(newest)

    def share(self, owner: Owner) -> None:
        self.busy.add(id(owner))
        try:
            owner.share()
        except Crashed:
            # The process of this owner is gone; another comes.
            if self.owners[-1] is owner:
                Owner(self)
        finally:
            self.busy.discard(id(owner))

    def reach(self, step: str) -> None:
        if self.depth >= 3 or self.taking_over:
            return
        self.depth += 1
        try:
            if self.random.random() < 0.15:
                self.act()
            if self.busy and self.random.random() < 0.02:
                raise Crashed(step)
        finally:
            self.depth -= 1

    def verify(self, disk: SimulatedDisk, state: dict[str, object]) -> None:
        files = state["files"]
        assert isinstance(files, dict)
        cut, base = state["cut"], state["base"]
        assert isinstance(cut, int)
        assert isinstance(base, int)
        for name, length in files.items():
            start = base + 4 * int(name[4:])
            assert bytes(disk.files[name]) == b"".join(map(record, range(start, min(start + 4, cut)))), name
            assert len(disk.files[name]) == length
        assert set(disk.files) == {*files, MANIFEST}


def record(number: int) -> bytes:
    return checksum(b"%d" % number).encode()[: 3 + number % 7]


@pytest.mark.parametrize("block", range(10))
def test_next_owner_finds_the_last_snapshot_completed_whatever_former_owners_still_do(block: int) -> None:
    for seed in range(40 * block, 40 * block + 40):
        owners = Owners(seed)
        try:
            with patch.object(streams.snapshots.fetch, "ThreadPoolExecutor", Immediately):
                owners.run()
        except (AssertionError, ClickfoldError, KeyError) as error:
            raise AssertionError(f"seed {seed}") from error


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
    fold = LearnFold(Learner(LearnerSettings(), shard=0, out=Out))
    fold.begin(None, offsets={"outcomes": offset}, epoch=1)
    return fold


def loaded(disk: SimulatedDisk, shared: Shared) -> tuple[Task, dict[str, int]]:
    commit = Commit({"outcomes": 3_000_000}, learned(5).mark())
    fresh = LearnFold(Learner(LearnerSettings(), shard=0, out=Out))
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
        task.checkpoint(last=False)
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
    for seed in range(15 * block, 15 * block + 15):
        world = SharingWorld(seed)
        with (
            tiny_joins(),
            patch.object(streams.snapshots.fetch, "ThreadPoolExecutor", Immediately),
            patch.object(streams.snapshots.put, "GRACE_S", world.random.choice([5.0, 50.0])),
            # Also in place of a checkpoint that is a few records older.
            patch.object(streams.loading, "_WORTH_RECORDS", world.random.choice([3, 1_000])),
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

    def at(self, *_: str, stop: threading.Event) -> MemoryObjects:
        return self.objects

    def _reach(self, step: str) -> None:
        if step.startswith("write"):
            self.began.set()
            assert self.go_on.wait(60.0)


@pytest.fixture
def patient() -> Iterator[None]:
    """A last snapshot may take as long as it takes: how fast this machine is says nothing."""
    with patch.object(streams.snapshots.sharing, "LAST_S", 60.0):
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
    with patch.object(streams.snapshots.sharing, "LAST_S", 0.0):
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
    put(Writer(held.objects, number=1, token="a"), 1, {})
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

"""Shared snapshots: what an owner wrote is what the next one gets, whatever stops, vanishes or comes late."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random
from unittest.mock import patch

import orjson
import pytest

import streams.engine.recovery
import streams.state.download
import streams.state.sharing
import streams.state.upload
from schemas.errors import ClickfoldError
from streams.engine.checkpoint import MANIFEST
from streams.state.download import Downloader
from streams.state.layout import Objects, checksum
from streams.state.objects import ObjectStore
from streams.state.upload import GRACE_S, Uploader
from tests.sharing import Immediately, MemoryObjects, always, anything, disk_with, fetched, put
from tests.simulation.disk import SimulatedDisk
from tests.simulation.strand import Crashed


@pytest.fixture(params=["memory", "file"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    url = f"memory://{tmp_path.name}/{request.node.name}" if request.param == "memory" else f"file://{tmp_path}/shared"
    store = ObjectStore(url)
    store.check()
    return store.folder("group", "1", stop=threading.Event())


def test_fetched_disk_is_the_disk_that_was_shared_and_nothing_else(objects: Objects) -> None:
    assert fetched(objects) == ({MANIFEST: b"old", "left": b"over"}, False)
    put(Uploader(objects, number=5, token="a"), 9, {"one": b"abc", "empty": b""})
    assert fetched(objects) == ({MANIFEST: b"state9", "one": b"abc", "empty": b""}, True)


def test_store_lists_its_own_folder_only(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}/shared")
    stop = threading.Event()
    one, ten = store.folder("group", "1", stop=stop), store.folder("group", "10", stop=stop)
    one.write("a", b"1")
    ten.write("b", b"2")
    assert (one.names(), ten.names()) == (["a"], ["b"])
    assert store.folder("group", "2", stop=stop).names() == []
    one.delete("a")
    one.delete("a")
    with pytest.raises(FileNotFoundError):
        one.read("a")


def test_only_what_grew_is_uploaded() -> None:
    objects = MemoryObjects()
    writer = Uploader(objects, number=5, token="a")
    put(writer, 1, {"full": b"x" * 100_000, "tail": b"y" * 100_000})
    before = writer.written_bytes
    put(writer, 2, {"full": b"x" * 100_000, "tail": b"y" * 100_000 + b"z" * 50})
    assert 50 <= writer.written_bytes - before < 1_000
    assert fetched(objects)[0]["tail"] == b"y" * 100_000 + b"z" * 50


def test_file_that_grows_by_little_has_few_pieces_and_no_byte_is_uploaded_often() -> None:
    objects = MemoryObjects()
    writer = Uploader(objects, number=5, token="a")
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
    with patch.object(streams.state.upload, "PIECE_BYTES", 100):
        put(Uploader(objects, number=5, token="a"), 1, {"one": data})
    assert max(len(held) for key, held in objects.held.items() if ".one." in key) == 100
    assert fetched(objects)[0]["one"] == data


def test_next_owner_takes_over_what_its_files_begin_with_and_uploads_the_rest() -> None:
    objects = MemoryObjects()
    files = {"same": b"a" * 100_000, "other": b"b" * 50_000}
    put(Uploader(objects, number=5, token="a"), 1, files)
    later = Uploader(objects, number=5, token="b")
    put(later, 2, {"same": b"a" * 100_000 + b"c", "other": b"d" * 50_000})
    assert 50_000 < later.written_bytes < 60_000
    assert fetched(objects)[0] == {MANIFEST: b"state2", "same": b"a" * 100_000 + b"c", "other": b"d" * 50_000}


@pytest.mark.parametrize("what", [".one.", ".state", ".manifest"])
@pytest.mark.parametrize("how", ["missing", "damaged", "cut short"])
def test_snapshot_that_is_not_whole_is_passed_over_for_the_one_before(what: str, how: str) -> None:
    objects = MemoryObjects()
    writer = Uploader(objects, number=5, token="a")
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
    assert Downloader(objects, warnings.append).fetch(disk, anything, within_s=60.0)
    assert bytes(disk.files[MANIFEST]) == b"state1"
    # Without a manifest there is no snapshot to be passed over.
    assert [("not used" in text) for text in warnings] == [True] * ((what, how) != (".manifest", "missing"))


def test_any_flipped_bit_of_a_shared_manifest_is_noticed() -> None:
    objects = MemoryObjects()
    put(Uploader(objects, number=5, token="a"), 7, {"one": b"abc"})
    [key] = [key for key in objects.held if key.endswith(".manifest")]
    whole = objects.held[key]
    for at in range(len(whole)):
        objects.held[key] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        assert not fetched(objects)[1], f"byte {at}"


def test_manifest_is_the_first_to_go_when_a_snapshot_takes_the_place_of_a_checkpoint() -> None:
    objects = MemoryObjects()
    put(Uploader(objects, number=5, token="a"), 7, {"one": b"abc"})
    steps: list[tuple[str, str]] = []
    disk = SimulatedDisk(reach=lambda step, about: steps.append((step, about)))
    for name in ("a file before it in the alphabet", MANIFEST, "one"):
        disk.append(name, b"old")
    assert Downloader(objects, lambda _: None).fetch(disk, anything, within_s=60.0)
    assert next(about for step, about in steps if step == "before delete") == MANIFEST


def test_disk_keeps_what_it_held_when_no_snapshot_is_whole() -> None:
    objects = MemoryObjects()
    put(Uploader(objects, number=5, token="a"), 1, {"one": b"abc", "two": b"d"})
    del objects.held[next(key for key in objects.held if ".two." in key)]
    files, found = fetched(objects)
    assert not found
    assert (files[MANIFEST], files["left"]) == (b"old", b"over")


def test_snapshot_furthest_on_that_is_usable_is_taken_whoever_wrote_it() -> None:
    objects = MemoryObjects()
    put(Uploader(objects, number=5, token="a"), 30, {})
    later = Uploader(objects, number=6, token="b")
    put(later, 10, {})
    put(later, 20, {})
    assert fetched(objects)[0][MANIFEST] == b"state30"
    assert fetched(objects, lambda cut: cut["log"] <= 25)[0][MANIFEST] == b"state20"
    reader = Downloader(objects, lambda _: None)
    disk = SimulatedDisk()
    given = [bytes(disk.files[MANIFEST]) for _ in range(3) if reader.fetch(disk, anything, within_s=60.0)]
    assert given == [b"state30", b"state20", b"state10"]
    assert not reader.fetch(disk, anything, within_s=60.0)


def test_owner_keeps_two_snapshots_and_sweeps_former_owners_after_the_grace_only() -> None:
    objects = MemoryObjects()
    put(Uploader(objects, number=5, token="a"), 1, {"old": b"a"})
    future = Uploader(objects, number=99, token="z")
    former = set(objects.held)
    own = Uploader(objects, number=6, token="b")
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
    writer = Uploader(objects, number=5, token="a")
    answers = iter([True, False])
    lengths = {"one": 3}
    assert not writer.put({"log": 1}, b"s", lengths, disk_with({"one": b"abc"}).read_synced, lambda: next(answers))
    assert not fetched(objects)[1]


# ---- owners that come, go and linger ------------------------------------------------------------------------------


class Owner:
    """Appends a log to files of a few records, drops the oldest, shares; as a fold and its task do."""

    def __init__(self, world: Owners) -> None:
        self.world = world
        self.writer = Uploader(world.objects, number=world.random.choice([3, 5, 9]), token=f"{len(world.owners):04d}")
        self.disk = SimulatedDisk()
        self.committed = world.committed
        world.taking_over = True
        found = Downloader(world.objects, lambda _: None).fetch(
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
            with patch.object(streams.state.download, "ThreadPoolExecutor", Immediately):
                owners.run()
        except (AssertionError, ClickfoldError, KeyError) as error:
            raise AssertionError(f"seed {seed}") from error

"""Checkpoints of a learner: files by turns that give the same state again, whenever the process or the power goes."""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.learner import Learner
from online_models.mixture.settings import MixtureSettings
from online_models.open_impressions import Policy
from online_models.settings import Challenger, LearnerSettings, ModelSettings
from online_models.turns import TURNS, Turn
from schemas.errors import DamagedState, StateMismatch
from schemas.records import Records
from streams.engine.checkpoint import MANIFEST, read_checkpoint, write_checkpoint
from streams.engine.ports import Disk
from streams.engine.task import Task
from streams.learn.fold import LearnFold
from streams.state.disk import Folder
from tests.models.traffic import START_MS, outcomes, records
from tests.simulation.disk import SimulatedDisk
from tests.simulation.filesystem import Filesystem

ROOT = Path(__file__).parent.parent
SMALL = MixtureSettings(slot_bits=10, pair_bits=12)
# Impressions and windows stay open for longer than a round of checkpoints every `STEP` records, and many are closed.
LOG = records(outcomes(2_000, negative_rate=0.4, window_ms=180_000, shown=True))
STEP = 40
CUTS = [*range(0, len(LOG), STEP), len(LOG)]


def settings(policy: Policy = "matched", kind: str = "mixture", *names: str) -> LearnerSettings:
    learns = ModelSettings(kind=kind, mixture=SMALL)
    challengers = tuple(Challenger(name=name, kind="ftrl", mixture=SMALL) for name in names)
    return LearnerSettings(learns=learns, challengers=challengers, window_ms=150_000, grace_ms=20_000, policy=policy)


def opened(disk: Disk, own: LearnerSettings) -> Task:
    """The task of a worker that starts: from the checkpoint on the disk if there is one."""
    fold = LearnFold(own, shard=0, disk=disk)
    kept = read_checkpoint(disk)
    if kept is not None:
        fold.restore(kept)
    fold.begin(None if kept is None else fold.mark(), offsets={"outcomes": 0}, epoch=1)
    return Task(fold, disk, None)


def whole(fold: Any) -> bytes:
    """All of its state."""
    return Learner.snapshot(fold)


def step_to(fold: Any, stop: int) -> None:
    fold.step(LOG.slice(fold.positions()["outcomes"], stop))


@functools.cache
def alone(own: LearnerSettings, stop: int) -> bytes:
    """The state of one that never stopped, at this offset."""
    fold = LearnFold(own, shard=0)
    fold.begin(None, offsets={"outcomes": 0}, epoch=1)
    step_to(fold, stop)
    return whole(fold)


@given(
    st.sampled_from(("wait", "fake_negative", "reversal", "matched")),
    st.sampled_from(("mixture", "ftrl")),
    st.lists(st.integers(0, len(LOG)), min_size=1, max_size=30),
    st.sets(st.integers(0, 30)),
)
def test_a_restart_from_files_by_turns_gives_the_same_state_wherever_it_happens(
    policy: Policy, kind: str, cuts: list[int], restarts: set[int]
) -> None:
    own, filesystem = settings(policy, kind, "b"), Filesystem()
    disk = SimulatedDisk(filesystem)
    task = opened(disk, own)
    for number, stop in enumerate([*sorted(cuts), len(LOG)]):
        step_to(task.fold, stop)
        write_checkpoint(task, last=False)
        assert disk.names() == sorted([*task.fold.files(), MANIFEST])
        if number in restarts:
            before = whole(task.fold)
            disk = SimulatedDisk(filesystem)
            task = opened(disk, own)
            assert whole(task.fold) == before
    assert whole(task.fold) == alone(own, len(LOG))


def test_files_older_than_a_round_of_turns_are_not_needed() -> None:
    disk = SimulatedDisk()
    task = opened(disk, settings())
    for number, stop in enumerate(CUTS[1:], 1):
        step_to(task.fold, stop)
        write_checkpoint(task, last=False)
        assert len(task.fold.files()) == min(TURNS, number)
    assert disk.names() == sorted([*task.fold.files(), MANIFEST])
    assert len(CUTS) > 2 * TURNS
    assert min(int(name.rpartition("-")[2]) for name in task.fold.files()) == len(CUTS) - 1 - TURNS
    assert whole(opened(disk, settings()).fold) == alone(settings(), len(LOG))


def test_a_checkpoint_without_changes_has_a_part_of_the_state() -> None:
    task = opened(SimulatedDisk(), settings())
    step_to(task.fold, len(LOG))
    write_checkpoint(task, last=False)
    (first,) = task.fold.files().values()
    for _ in range(TURNS - 1):
        write_checkpoint(task, last=False)
    _, *others = task.fold.files().values()
    # What is no long column is in every file.
    fixed = min(others)
    assert fixed < max(others) < fixed + 2 * (first - fixed) / TURNS


@pytest.mark.parametrize("power", [False, True], ids=["the process", "the power"])
def test_whenever_it_ends_the_state_is_that_of_a_checkpoint_and_learns_on_as_if_nothing_had_been(power: bool) -> None:
    """It ends at each step of a checkpoint's writing, one after the other, on the same disk."""
    own, filesystem, chance = settings(), Filesystem(), random.Random(power)
    steps, ends, at = 0, 0, 0

    class Ended(Exception):
        pass

    def reach(*_: str) -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            raise Ended

    while True:
        steps, at = 0, at + 1
        task = opened(SimulatedDisk(filesystem), own)
        offset = task.fold.positions()["outcomes"]
        assert whole(task.fold) == alone(own, offset)
        stop = min(len(LOG), offset + STEP)
        task = opened(SimulatedDisk(filesystem, reach), own)
        step_to(task.fold, stop)
        try:
            write_checkpoint(task, last=False)
        except Ended:
            ends += 1
            if power:
                filesystem.cut(chance)
        else:
            break
    assert ends >= 12
    step_to(task.fold, len(LOG))
    assert whole(task.fold) == alone(own, len(LOG))


def test_a_process_that_is_killed_again_and_again_loses_no_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.test_learner_checkpoints", str(tmp_path)]
    reached = 0
    for number in range(3):
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            written = [int(process.stdout.readline()) for _ in range(5 + number)]
            os.kill(process.pid, signal.SIGKILL)
            written += [int(line) for line in process.stdout.read().split()]
        disk = Folder(tmp_path)
        fold = opened(disk, settings()).fold
        offset = fold.positions()["outcomes"]
        assert offset in (written[-1], CUTS[CUTS.index(written[-1]) + 1])
        assert offset > reached
        assert whole(fold) == alone(settings(), offset)
        reached = offset
        disk.close()


def test_windows_that_closed_between_two_checkpoints_do_not_hide_those_that_are_open() -> None:
    minute_ms, own = 60_000, msgspec.structs.replace(settings("wait", "ftrl"), window_ms=60_000, grace_ms=1_200_000)
    fold, saved = Learner(own, shard=0), []
    fold.lineup.begin({}, 0)
    # Twenty windows are open, then fifteen of them close.
    for part, minutes in enumerate(([*range(20)], [36])):
        start = fold.positions()["outcomes"]
        values = [
            orjson.dumps({"kind": "unclicked", "impression_id": f"i{at}", "ts": START_MS + at * minute_ms, "label": 0})
            for at in minutes
        ]
        offsets = range(start, start + len(values))
        fold.step(Records("outcomes", 0, offsets, [-1] * len(values), [None] * len(values), values))
        saved.append(fold.save(Turn(part)))
    again = Learner(own, shard=0)
    again.restore(*saved)
    assert again.snapshot() == fold.snapshot()


def work() -> None:
    """Writes checkpoints into the folder of the first argument until it is killed, and says where each was."""
    task = opened(Folder(Path(sys.argv[1])), settings())
    for stop in CUTS[1:-1]:
        if stop > task.fold.positions()["outcomes"]:
            step_to(task.fold, stop)
            write_checkpoint(task, last=False)
            print(stop, flush=True)  # read by the test
    # It has nothing left to do, and is killed all the same.
    sys.stdin.read()


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_of_any_file_is_noticed(which: float, share: float, change: int) -> None:
    files = dict(kept_files())
    name = sorted(files)[int(which * len(files))]
    damaged = bytearray(files[name])
    damaged[int(share * len(damaged))] ^= change
    disk = SimulatedDisk()
    for each, data in (files | {name: bytes(damaged)}).items():
        disk.append(each, data)
    with pytest.raises((DamagedState, StateMismatch)):
        opened(disk, settings())


@functools.cache
def kept_files() -> dict[str, bytes]:
    disk = SimulatedDisk()
    task = opened(disk, settings())
    for stop in (300, 600):
        step_to(task.fold, stop)
        write_checkpoint(task, last=False)
    return {name: bytes(data) for name, data in disk.files.items()}


def test_a_file_that_is_missing_or_shorter_is_noticed() -> None:
    for shorten in (True, False):
        disk = SimulatedDisk()
        for name, data in kept_files().items():
            disk.append(name, data)
        name = next(name for name in disk.names() if name != MANIFEST)
        if shorten:
            disk.truncate(name, 100)
        else:
            disk.delete(name)
        with pytest.raises(DamagedState, match="checkpoint names learned-0, which is"):
            opened(disk, settings())


def test_a_whole_file_in_the_place_of_another_is_noticed() -> None:
    disk, files = SimulatedDisk(), kept_files()
    for name, other in (("learned-0", "learned-0"), ("learned-1", "learned-0"), (MANIFEST, MANIFEST)):
        disk.append(name, files[other].ljust(len(files[name]), b"0")[: len(files[name])])
    with pytest.raises(DamagedState, match="checkpoint names learned-1, which is"):
        opened(disk, settings())


def test_what_was_not_finished_is_deleted_by_the_next_start_and_its_name_is_used_again() -> None:
    disk = SimulatedDisk()
    for name, data in (kept_files() | {"learned-2": b"not finished"}).items():
        disk.append(name, data)
    task = opened(disk, settings())
    assert disk.names() == sorted(kept_files())
    step_to(task.fold, 700)
    write_checkpoint(task, last=False)
    assert whole(opened(disk, settings()).fold) == alone(settings(), 700)


def test_the_first_file_with_other_challengers_has_everything_and_stands_alone() -> None:
    disk, former = SimulatedDisk(), dict[str, str]()
    for names, start in (((), 0), (("b",), 200), (("b", "c"), 400), (("c",), 600), ((), 800)):
        own = settings("matched", "mixture", *names)
        task = opened(disk, own)
        kept = {name: digest for name, digest in digests(task.fold).items() if name in former}
        assert kept == {name: former[name] for name in kept}
        for stop in range(start + STEP, start + 201, STEP):
            step_to(task.fold, stop)
            write_checkpoint(task, last=False)
        assert len(task.fold.files()) == 200 // STEP
        assert whole(opened(disk, own).fold) == whole(task.fold)
        former = digests(task.fold)
    assert whole(task.fold) == alone(settings(), 1_000)


def digests(fold: Any) -> dict[str, str]:
    return {each.name: each.model.digest() for each in fold.lineup.entrants}


def test_one_that_is_rebuilt_from_the_log_begins_with_files_of_its_own() -> None:
    disk = SimulatedDisk()
    before = opened(disk, settings())
    step_to(before.fold, 500)
    write_checkpoint(before, last=False)
    mark = before.fold.mark()
    disk.delete(MANIFEST)
    again = opened(disk, settings())
    again.fold.rebuild(mark)
    assert disk.names() == []
    step_to(again.fold, 700)
    write_checkpoint(again, last=False)
    assert whole(opened(disk, settings()).fold) == alone(settings(), 700)


def test_what_was_read_while_no_checkpoint_was_written_takes_no_memory_once_it_has_its_label() -> None:
    """A rebuild may read for hours without one."""
    fold = LearnFold(settings(), shard=0)
    step_to(fold, len(LOG))
    assert fold._open._columns._gone == []


if __name__ == "__main__":
    work()

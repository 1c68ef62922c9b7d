"""Which checkpoint a task goes on from, and that one folder is loaded by one thread at a time."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import cast

import pytest

from online_models.settings import LearnerSettings
from schemas.errors import StateMismatch
from schemas.records import Records
from streams.engine.checkpoint import MANIFEST
from streams.engine.fold import Fold
from streams.engine.ports import Commit, Disk, Log
from streams.engine.recovery import Loader
from streams.learn.fold import LearnFold
from tests.sharing import disk_with
from tests.simulation.disk import SimulatedDisk
from tests.waiting import PATIENCE_S, eventually


class Known:
    """A log of which two things are known: what is committed, and the first offset Kafka keeps."""

    def __init__(self, commit: Commit | None, first: int) -> None:
        self._commit = commit
        self._first = first

    def committed(self, _: int) -> Commit | None:
        return self._commit

    def starts(self, _: int) -> dict[str, int]:
        return {"outcomes": self._first}


def learned(*, start: int, end: int) -> LearnFold:
    """A fold that began at `start` and has read up to `end`."""
    fold = LearnFold(LearnerSettings(), shard=0)
    fold.begin(None, offsets={"outcomes": start}, epoch=1)
    if end > start:
        fold.step(Records("outcomes", 0, [end - 1], [-1], [None], [None]))
    return fold


def loaded(
    checkpoint_end: int, *, committed: int, first: int = 0, rebuilt_from: int = 0, accept_loss: bool = False
) -> tuple[int, list[str]]:
    """Where a task with a checkpoint at `checkpoint_end` goes on, and the warnings."""
    warnings: list[str] = []
    disk = disk_with({MANIFEST: learned(start=0, end=checkpoint_end).snapshot()})
    commit = Commit({"outcomes": committed}, learned(start=rebuilt_from, end=rebuilt_from).mark())
    loader = Loader(
        lambda _: (LearnFold(LearnerSettings(), shard=0), disk),
        cast(Log, Known(commit, first)),
        warnings.append,
        accept_loss=accept_loss,
    )
    return loader.load(0)[1]["outcomes"], warnings


def test_checkpoint_at_the_committed_offset_is_used_and_one_beyond_it_stops_the_worker() -> None:
    assert loaded(1_000, committed=1_000) == (1_000, [])
    with pytest.raises(
        StateMismatch, match=r"partition 0 is at .*1001.*, ahead of the committed .*use another --group"
    ):
        loaded(1_001, committed=1_000)


def test_checkpoint_that_kafka_no_longer_reaches_is_rebuilt_from_what_it_keeps() -> None:
    assert loaded(500, committed=1_000, first=500, rebuilt_from=800) == (500, [])
    offset, warnings = loaded(499, committed=1_000, first=500, rebuilt_from=800)
    assert offset == 800
    assert any("older than Kafka's first offsets" in text for text in warnings)
    assert any("rebuilding" in text for text in warnings)


def test_with_accepted_loss_a_checkpoint_that_kafka_no_longer_reaches_is_kept() -> None:
    offset, warnings = loaded(499, committed=1_000, first=500, rebuilt_from=800, accept_loss=True)
    assert offset == 500
    assert any("loss accepted" in text for text in warnings)


class Steps(SimulatedDisk):
    """A disk that notes when it is closed."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note

    def close(self) -> None:
        super().close()
        self._note("closed")


def test_partition_that_comes_back_while_it_loads_is_loaded_again_only_after_that() -> None:
    """Both loads use one folder. The first task is abandoned, and closed before the second one opens the folder."""
    steps: list[str] = []
    opened_again = Event()

    def make(_: int) -> tuple[Fold, Disk]:
        steps.append("opened")
        if steps.count("opened") == 1:
            # Gives a second load every occasion to come too early.
            opened_again.wait(0.3)
        else:
            opened_again.set()
        return LearnFold(LearnerSettings(), shard=0), Steps(steps.append)

    loader = Loader(make, cast(Log, Known(None, 0)), lambda _: None)
    first = loader.begin(0)
    eventually(lambda: steps)
    first.abandon()
    second = loader.begin(0)
    assert opened_again.wait(PATIENCE_S)
    loader.close()
    assert steps == ["opened", "closed", "opened"]
    assert first.loaded() is None
    assert second.loaded() is not None


def test_partition_that_goes_once_it_is_loaded_frees_its_folder() -> None:
    steps: list[str] = []
    loader = Loader(
        lambda _: (LearnFold(LearnerSettings(), shard=0), Steps(steps.append)),
        cast(Log, Known(None, 0)),
        lambda _: None,
    )
    loading = loader.begin(0)
    eventually(loading.loaded)
    assert steps == []
    loading.abandon()
    assert steps == ["closed"]
    loader.close()

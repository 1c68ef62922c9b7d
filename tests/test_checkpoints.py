"""A checkpoint holds only what is committed: whoever restores one ahead of the group's offsets cannot go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from unittest.mock import patch

import pytest

from streams.engine.checkpoint import MANIFEST, discard_checkpoint, read_checkpoint
from streams.engine.fold import Fold
from streams.engine.pace import Pace
from streams.engine.ports import Disk
from streams.engine.runner import Runner
from streams.join.fold import JoinFold
from tests.factories import impression
from tests.simulation.disk import SimulatedDisk
from tests.simulation.later import no_threads
from tests.simulation.life import Life, Undisturbed
from tests.simulation.log import SimulatedLog
from tests.strategies import BOUNDS, T0

# Commits when told to, and checkpoints at every commit.
PACE = Pace(commit_s=0.0, report_s=0.0, checkpoint_s=0.0, idle_s=1e9)


class Worker:
    """A runner of one partition, turned by hand."""

    def __init__(self) -> None:
        self.life = Life(BOUNDS)
        self.disk = SimulatedDisk()
        self.log = SimulatedLog(
            self.life.broker,
            Undisturbed(self.life.broker),
            "0",
            random=Random(3),
            now_s=self.life.clock.monotonic,
            events=Counter(),
            faults=0.0,
        )
        self.runner = Runner(self.log, self.life.clock, self._make, PACE)
        self.log.join(self.runner)

    def turn_until(self, impressions: int) -> None:
        """Turns until so many are folded by a live task."""
        for _ in range(100):
            if self.runner.ready() and self.positions()["impressions"] >= impressions:
                return
            self.life.clock.seconds += 0.2
            self.log.member.background()
            self.runner.turn()
        raise AssertionError(f"{impressions} impressions are not folded after 100 turns")

    def positions(self) -> dict[str, int]:
        return self.runner.folds()[0].positions()

    def committed(self) -> int:
        self.life.broker.mark(all_=True)
        return self.life.broker.commits[0].offsets["impressions"]

    def checkpointed(self) -> bytes:
        return self.disk.read(MANIFEST, 0, 1 << 40)

    def _make(self, partition: int) -> tuple[Fold, Disk]:
        return JoinFold(BOUNDS, self.disk, partition=partition), self.disk


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker that has committed and checkpointed one impression."""
    with no_threads():
        worker = Worker()
        worker.life.append("impressions", impression("i0", T0, offset=0))
        worker.turn_until(1)
        yield worker


def test_what_is_folded_and_not_committed_is_in_no_checkpoint(worker: Worker) -> None:
    before = worker.checkpointed()
    worker.life.append("impressions", impression("i1", T0 + 1, offset=1))
    # A commit that leaves out what was folded.
    with patch.object(worker.runner, "_commit", return_value=False):
        worker.turn_until(2)
    assert worker.committed() == 1
    assert worker.checkpointed() == before
    # The next commit has it, and then the checkpoint.
    worker.life.append("impressions", impression("i2", T0 + 2, offset=2))
    worker.turn_until(3)
    assert worker.committed() == 3
    assert worker.checkpointed() != before


class Distrusted:
    """Shared checkpoints of which only one call is looked at."""

    def __init__(self) -> None:
        self.calls = 0

    def distrust(self) -> None:
        """Counts."""
        self.calls += 1


def test_a_checkpoint_that_is_discarded_is_gone_from_the_disk_and_not_fetched_again() -> None:
    disk, shared = SimulatedDisk(), Distrusted()
    disk.replace(MANIFEST, b"damaged")
    discard_checkpoint(disk, shared)  # type: ignore[arg-type]  # the rest of it is not called
    assert read_checkpoint(disk) is None
    assert shared.calls == 1
    discard_checkpoint(disk)

"""Whatever crashes, freezes or moves: what workers commit in the end equals the batch truth, each output once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from schemas.codec import decoder
from schemas.records import Out
from schemas.seals import Seal, SealRecord
from streams.engine.fold import Fold
from streams.engine.pace import Pace
from streams.engine.ports import Commit, Disk
from streams.join.fold import JoinFold
from streams.verify.oracle import truth
from tests.effort import SHORT, tries
from tests.factories import click, impression
from tests.simulation.broker import Broker
from tests.simulation.disk import SimulatedDisk
from tests.simulation.filesystem import Filesystem
from tests.simulation.life import Life
from tests.simulation.log import SimulatedLog
from tests.simulation.process import DURABLE
from tests.simulation.producers import T0
from tests.simulation.simulate import Summary, reproduce, run, run_all, run_some
from tests.simulation.world import BOUNDS

# A step or an event that is rare does not come in two fifths of them.
SEEDS = tries(600) if SHORT else 600
# What must have befallen workers, or the suite is blind to it.
EVENTS = (
    "killed",
    "power cut",
    "frozen for 40 s",
    "a frozen worker's slot taken",
    "fenced by its slot's successor",
    "members missed",
    "partitions lost",
    "partitions revoked",
    "rebalances heard of",
    "state folders found again",
    "started without a disk",
    "started on an earlier disk",
    "transaction aborted by the broker",
    "committed, answer lost",
    "transactions timed out",
    "broker paused",
    "no answer",
    "asked to stop",
)


@pytest.fixture(scope="module")
def summary() -> Summary:
    # The processes of a pool take longer to start than so few seeds take.
    return run_some(0, SEEDS) if SHORT else run_all(0, SEEDS)


def test_whatever_crashes_the_committed_outputs_equal_the_batch_truth(summary: Summary) -> None:
    assert summary.seeds == SEEDS
    assert not summary.failures, "\n".join(
        f"{reproduce(seed)}  {difference}" for seed, difference in sorted(summary.failures.items())
    )


# A step or an event that is rare comes in all seeds, but not in a twentieth of them.
needs_all_seeds = pytest.mark.skipif(SHORT, reason="TRIES is small")


@needs_all_seeds
def test_every_durable_step_was_crashed_at_before_and_after(summary: Summary) -> None:
    assert [step for step in DURABLE if not summary.crashes[step]] == []


@needs_all_seeds
def test_every_kind_of_event_befell_the_workers(summary: Summary) -> None:
    assert [event for event in EVENTS if not summary.events[event]] == []


@pytest.mark.parametrize("seed", [3, 58])
def test_seed_alone_decides_a_history(seed: int) -> None:
    (first, _), (second, _) = run(seed), run(seed)
    assert (first.steps, first.events, list(first.trace)) == (second.steps, second.events, list(second.trace))


class StragglerLog(SimulatedLog):
    """A log on which, while a seal is being committed, a record arrives that the seal makes late."""

    straggled = 0

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        super().transact(outs, commits)
        for out in outs:
            seal = decoder(SealRecord).decode(out.value or b"") if out.topic == "seals" else None
            if isinstance(seal, Seal):
                late = click(f"k{self.straggled}", "i0", seal.floor_ms - 1, offset=seal.next_offset)
                self.straggled += 1
                self.broker.inputs[seal.input, seal.partition].append(late)


def test_record_that_arrives_while_a_seal_commits_is_late() -> None:
    life = Life(BOUNDS, StragglerLog)
    for offset in range(5):
        life.append("impressions", impression(f"i{offset}", T0 + 40 * offset, offset=offset))
    life.run(60, Pace(idle_s=2.0), turn_s=0.5)
    life.check()
    clicks = truth([], life.broker.inputs["clicks", 0].records, BOUNDS, seals=life.seals(), ended=False).clicks
    assert isinstance(life.log, StragglerLog)
    assert clicks.counts["late"] == life.log.straggled > 0


class AbortingLog(SimulatedLog):
    """A log on which every transaction without partition 1 is aborted, but for those that begin."""

    aborted = 0

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        aborts = 1 not in commits and not any(out.topic == "seals" for out in outs)
        self.faults = float(aborts)
        self.aborted += aborts
        super().transact(outs, commits)


class TwoPartitions(Life):
    """Both on one worker; counts how often each partition's fold was made."""

    def __init__(self) -> None:
        super().__init__(BOUNDS, AbortingLog)
        self.broker = Broker(2, self.random)
        self.folders = [Filesystem(), Filesystem()]
        self.made = Counter[int]()

    def _make(self, partition: int) -> tuple[Fold, Disk]:
        self.made[partition] += 1
        disk = SimulatedDisk(self.folders[partition])
        return JoinFold(self.bounds, disk, partition=partition), disk


def test_rebuild_goes_on_while_transactions_of_other_partitions_are_aborted() -> None:
    """Started again at each of them it would not end where rebalances or aborts are more frequent than it is long."""
    life = TwoPartitions()
    for offset in range(100):
        for partition in (0, 1):
            life.broker.inputs["impressions", partition].append(impression(f"i{offset}", T0 + offset, offset=offset))
    pace = Pace(commit_s=0.1, report_s=0.1, checkpoint_s=0.1)
    life.run(100, pace)
    life.folders[1] = Filesystem()
    life.made.clear()
    life.run(100, pace)
    assert isinstance(life.log, AbortingLog)
    assert life.log.aborted > 5
    # Once to look for a checkpoint, once to begin without.
    assert life.made[1] == 2

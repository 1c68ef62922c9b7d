"""Whatever crashes, freezes or moves: what workers commit in the end equals the batch truth, each output once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from schemas.codec import decoder
from schemas.seals import Seal, SealRecord
from streams.edges import Commit
from streams.fold import Out
from streams.oracle import Record, truth
from streams.runner import Pace
from tests.simulation.life import Life
from tests.simulation.log import SimulatedLog
from tests.simulation.process import DURABLE
from tests.simulation.producers import T0
from tests.simulation.simulate import Summary, reproduce, run, run_all
from tests.simulation.world import BOUNDS
from tests.test_join import click, impression

SEEDS = 2_000
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
    return run_all(0, SEEDS)


def test_whatever_crashes_the_committed_outputs_equal_the_batch_truth(summary: Summary) -> None:
    assert summary.seeds == SEEDS
    assert not summary.failures, "\n".join(
        f"{reproduce(seed)}  {difference}" for seed, difference in sorted(summary.failures.items())
    )


def test_every_durable_step_was_crashed_at_before_and_after(summary: Summary) -> None:
    assert [step for step in DURABLE if not summary.crashes[step]] == []


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
                late = click(f"k{self.straggled}", "i0", seal.floor_ms - 1)
                self.straggled += 1
                record = Record(seal.next_offset, -1, late.key, late.value)
                self.broker.inputs[seal.input, seal.partition].append(record)


def test_record_that_arrives_while_a_seal_commits_is_late() -> None:
    life = Life(BOUNDS, StragglerLog)
    for offset in range(5):
        shown = impression(f"i{offset}", T0 + 40 * offset)
        life.append("impressions", Record(offset, -1, shown.key, shown.value))
    life.run(60, Pace(idle_s=2.0), turn_s=0.5)
    life.check()
    clicks = truth([], life.broker.inputs["clicks", 0].records, BOUNDS, seals=life.seals(), ended=False).clicks
    assert isinstance(life.log, StragglerLog)
    assert clicks.counts["late"] == life.log.straggled > 0

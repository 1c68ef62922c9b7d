"""Whatever crashes, freezes or moves: what workers commit in the end equals the batch truth, each output once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import pytest

from schemas.codec import decoder
from schemas.seals import Seal, SealRecord
from streams.edges import Commit
from streams.fold import Out
from streams.join.fold import JoinFold
from streams.oracle import Record, truth
from streams.runner import Pace, Runner
from tests.judging import assert_agrees
from tests.simulation.broker import Broker
from tests.simulation.disk import SimulatedDisk
from tests.simulation.log import SimulatedLog
from tests.simulation.process import DURABLE
from tests.simulation.producers import T0
from tests.simulation.simulate import Summary, reproduce, run, run_all
from tests.simulation.world import BOUNDS, VirtualClock
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


class Undisturbed:
    """A process to which nothing happens, on a broker that is never late."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def reach(self, step: str, about: str = "") -> None:
        """Goes on."""

    def wait(self) -> None:
        """The broker's turn."""
        self._broker.mark(all_=True)


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
    random = Random(5)
    broker = Broker(1, random)
    clock = VirtualClock()
    for offset in range(5):
        shown = impression(f"i{offset}", T0 + 40 * offset)
        broker.inputs["impressions", 0].append(Record(offset, -1, shown.key, shown.value))
    log = StragglerLog(
        broker, Undisturbed(broker), "0", random=random, now_s=clock.monotonic, events=Counter(), faults=0.0
    )
    disk = SimulatedDisk()
    runner = Runner(log, clock, lambda partition: (JoinFold(BOUNDS, disk, partition=partition), disk), Pace(idle_s=2.0))
    turns = iter(range(60))

    def stopped() -> bool:
        clock.seconds += 0.5
        log.member.background()
        return next(turns, None) is None

    runner.run(stopped)
    broker.mark(all_=True)
    seals = [decoder(SealRecord).decode(value) for value in broker.side(0)]
    clicks = broker.inputs["clicks", 0].records
    judged = truth(broker.inputs["impressions", 0].records, clicks, BOUNDS, seals=seals, ended=False)
    assert judged.clicks.counts["late"] == log.straggled > 0
    assert_agrees(list(broker.outputs()), judged)

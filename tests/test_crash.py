"""Crashes at any durable step: what is committed in the end equals the batch truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import orjson
import pytest

from schemas.bounds import JoinBounds
from schemas.codec import decoder
from schemas.errors import ClickfoldError
from schemas.seals import Seal, SealRecord
from streams.disk import Disk
from streams.edges import Commit
from streams.fold import Fold, Out
from streams.join.fold import JoinFold
from streams.oracle import Record, truth
from streams.runner import Pace, Runner
from tests.edges import Crashed, CrashingDisk, Fates, MemoryCluster, MemoryDisk, MemoryLog, VirtualClock
from tests.judging import assert_agrees
from tests.sizes import small_sizes
from tests.strategies import columns
from tests.test_join import click, impression

BOUNDS = JoinBounds(window_ms=100, skew_ms=10, lateness_ms=20, future_ms=15, dedupe_ms=130, negative_rate=0.5)
T0 = 1_700_000_040_000 - 300
PARTITIONS = 2


class World:
    """One seeded history: producers, a worker that dies and comes back, idle spells, a clock."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.fates = Fates(self.random, share=self.random.choice([0.0, 0.005, 0.02]))
        self.cluster = MemoryCluster(("impressions", "clicks"), PARTITIONS)
        self.clock = VirtualClock()
        self.disks = {partition: CrashingDisk(self.fates) for partition in range(PARTITIONS)}
        self.event_ms = T0
        self.made = 0
        self.warnings: list[str] = []
        self.folds: list[JoinFold] = []
        self.ended = False
        # Now and then reports are rarer than checkpoints, so that totals die unreported.
        report_s = self.random.choice([0.3, 0.3, 4.0])
        self.pace = Pace(commit_s=0.1, report_s=report_s, checkpoint_s=0.7, idle_s=2.0, transaction_outs=8)

    def make(self, partition: int) -> tuple[Fold, Disk]:
        fold = JoinFold(BOUNDS, self.disks[partition], partition=partition)
        self.folds.append(fold)
        return fold, self.disks[partition]

    def produce(self, idle: set[str]) -> None:
        """A few records, mostly in order, with copies, contradictions, reuse of ids and rubbish."""
        self.event_ms += self.random.choice([0, 1, 5, 20, 40])
        if self.random.random() < 0.03:
            # A quarter-hour on: its totals become final, and rebuilding need not begin at the log's start.
            self.event_ms += 900_000
        for log, partition in self.cluster.logs:
            if log in idle or self.random.random() < 0.4:
                continue
            ts = self.event_ms + self.random.choice([0, 0, 0, -5, -19, -20, -21, 15, -90, 60])
            number = max(0, self.made - self.random.choice([0, 0, 1, 2, 5, 9]))
            impression_id = f"{partition}-{number}"
            event = {"impression_id": impression_id, "ts": ts}
            if log == "impressions":
                event |= {"campaign_id": f"c{number % 3}", "creative_id": "x", "price_micros": 10 + number % 2}
            else:
                event |= {"click_id": f"k{self.made - self.random.choice([0, 0, 3])}"}
            self.made += 1
            earlier = self.cluster.logs[log, partition]
            value = orjson.dumps(event) if self.random.random() > 0.05 else b"{"
            key = impression_id.encode()
            if earlier and self.random.random() < 0.15:
                copied = self.random.choice(earlier[-8:])
                key, value = copied.key, copied.value  # type: ignore[assignment]  # no tombstones are made here
            offset = self.cluster.ends[log, partition] + self.random.choice([0, 0, 2])
            self.cluster.append(log, partition, Record(offset, -1, key, value))

    def live(self, turns: int, *, producing: bool) -> None:
        """A worker's life: until it dies or the turns are over."""
        log = MemoryLog(self.cluster, self.fates, self.random)
        runner = Runner(log, self.clock, self.make, self.pace, warn=self.warnings.append)
        idle: set[str] = set()
        left = turns

        def stopped() -> bool:
            nonlocal left, idle
            self.clock.seconds += self.random.choice([0.01, 0.05, 0.2, 1.0])
            if self.random.random() < 0.1:
                idle = set(self.random.sample(["impressions", "clicks"], self.random.choice([0, 0, 1, 1, 2])))
            if producing:
                self.produce(idle)
            left -= 1
            return left < 0

        runner.run(stopped, ended=lambda: self.ended)

    def history(self) -> None:
        """Lives and deaths, then a last quiet life that catches up with everything."""
        for _ in range(self.random.randint(1, 4)):
            try:
                self.live(self.random.randint(5, 60), producing=True)
            except Crashed:
                self.crash()
            self.clock.seconds += self.random.choice([1, 30])
        if self.random.random() < 0.5:
            self.ended = True
            try:
                self.live(100, producing=False)
            except Crashed:
                self.crash()
        self.fates = Fates(self.random, share=0.0)
        for disk in self.disks.values():
            disk.fates = self.fates
        self.live(250, producing=False)
        for fold in self.folds:
            fold.close()

    def crash(self) -> None:
        """What was not durable is gone; now and then the whole disk is."""
        for disk in self.disks.values():
            disk.crash()
        if self.random.random() < 0.25:
            self.disks = {partition: CrashingDisk(self.fates) for partition in range(PARTITIONS)}

    def check(self) -> None:
        """Every partition's committed outputs equal its truth."""
        for partition in range(PARTITIONS):
            seals = [decoder(SealRecord).decode(value) for value in self.cluster.side(partition)]
            judged = truth(
                self.cluster.logs["impressions", partition],
                self.cluster.logs["clicks", partition],
                BOUNDS,
                seals=seals,
                partition=partition,
                ended=self.ended,
            )
            outs = [out for out in self.cluster.outs if self.of(partition, out)]
            assert_agrees(outs, judged)

    def of(self, partition: int, out: object) -> bool:
        """Whether an output came of this partition: all but the start records and seals say so."""
        value = orjson.loads(out.value)  # type: ignore[attr-defined]  # an Out
        return bool(value.get("join_partition", value.get("partition")) == partition)


def run_history(seed: int) -> World:
    world = World(seed)
    try:
        with small_sizes():
            world.history()
            world.check()
    except (AssertionError, ClickfoldError) as error:
        raise AssertionError(f"seed {seed}: reproduce with SEED={seed} pytest tests/test_crash.py") from error
    return world


@pytest.mark.parametrize("first", range(0, 400, 20))
def test_whatever_crashes_the_committed_outputs_equal_the_batch_truth(first: int) -> None:
    for seed in range(first, first + 20):
        run_history(seed)


def test_rebuilt_join_judges_lateness_by_the_maximum_before_its_first_record() -> None:
    """Without it, a record that was late would be accepted when the log is read again from the middle."""
    day_ms = 86_400_000
    times = [T0, T0, T0, T0 - 21, T0 + day_ms, T0 + day_ms, *[T0 + 2 * day_ms] * 3]
    shown = [impression(f"i{at}", ts) for at, ts in enumerate(times)]
    with small_sizes():
        fold, again = JoinFold(BOUNDS, MemoryDisk()), JoinFold(BOUNDS, MemoryDisk())
        for offset, one in enumerate(shown):
            fold.step(columns("impressions", [Record(offset, -1, one.key, one.value)]))
        fold.step(columns("clicks", [click("k", "i8", times[-1] + 1)]))
        while fold.behind():
            fold.sweep(100)
        fold.report(100)
        start = again.rebuild(fold.mark())["impressions"]
        assert start == 3
        again.step(columns("impressions", [Record(3, -1, shown[3].key, shown[3].value)]))
    assert again.ledger().impressions.late == 1
    fold.close()
    again.close()


class StragglerLog(MemoryLog):
    """A log on which, while a seal is being committed, a record arrives that the seal makes late."""

    straggled = 0

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        assert self._under_way is None
        self._under_way = list(outs), dict(commits)
        for out in outs:
            seal = decoder(SealRecord).decode(out.value or b"") if out.topic == "seals" else None
            if isinstance(seal, Seal):
                late = click(f"k{self.straggled}", "i0", seal.floor_ms - 1)
                self.straggled += 1
                record = Record(seal.next_offset, -1, late.key, late.value)
                self._cluster.append(seal.input, seal.partition, record)


def test_record_that_arrives_while_a_seal_commits_is_late() -> None:
    random = Random(5)
    fates = Fates(random, share=0.0)
    cluster = MemoryCluster(("impressions", "clicks"), 1)
    clock = VirtualClock()
    disk = MemoryDisk()
    for offset in range(5):
        shown = impression(f"i{offset}", T0 + 40 * offset)
        cluster.append("impressions", 0, Record(offset, -1, shown.key, shown.value))
    log = StragglerLog(cluster, fates, random)
    runner = Runner(log, clock, lambda partition: (JoinFold(BOUNDS, disk, partition=partition), disk), Pace(idle_s=2.0))
    turns = iter(range(60))

    def stopped() -> bool:
        clock.seconds += 0.5
        return next(turns, None) is None

    runner.run(stopped)
    seals = [decoder(SealRecord).decode(value) for value in cluster.side(0)]
    clicks = cluster.logs["clicks", 0]
    judged = truth(cluster.logs["impressions", 0], clicks, BOUNDS, seals=seals, ended=False)
    assert judged.clicks.counts["late"] == log.straggled > 0
    assert_agrees([out for out in cluster.outs if out.topic != "seals"], judged)

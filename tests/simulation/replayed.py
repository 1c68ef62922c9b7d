"""The logs that live work has written, and a replay of a part of them with power cuts. In memory, made from a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import orjson

from schemas.bounds import JoinBounds
from schemas.codec import decode
from schemas.records import Out, Record, Records
from schemas.totals import Ledger
from streams.backfill.ownership import InputRange, OwningFold, finished
from streams.engine.fold import Fold
from streams.engine.pace import Pace
from streams.engine.ports import Commit, Disk, Owner
from streams.engine.runner import Runner
from streams.join.fold import JoinFold
from streams.verify.oracle import Truth, truth
from tests.simulation.broker import INPUTS, Broker
from tests.simulation.disk import SimulatedDisk
from tests.simulation.filesystem import Filesystem
from tests.simulation.later import no_threads
from tests.simulation.life import Undisturbed
from tests.simulation.log import SimulatedLog
from tests.simulation.strand import Crashed
from tests.simulation.world import VirtualClock
from tests.strategies import columns

BOUNDS = JoinBounds(
    window_ms=100_000, skew_ms=10_000, lateness_ms=20_000, future_ms=15_000, dedupe_ms=130_000, negative_rate=0.5
)
T0 = 1_700_000_040_000


class History:
    """The logs of live work: inputs, seals and ledger, with idle times, gaps, copies and ids that are used again."""

    def __init__(self, seed: int, turns: int = 500) -> None:
        self.random = Random(seed)
        self.broker = Broker(1, self.random)
        self.event_ms = T0
        self.made = 0
        clock = VirtualClock()
        log = SimulatedLog(
            self.broker,
            Undisturbed(self.broker),
            "0",
            random=self.random,
            now_s=clock.monotonic,
            events=Counter(),
            faults=0.0,
        )
        disk = SimulatedDisk()
        folds: list[JoinFold] = []

        def make(partition: int) -> tuple[Fold, Disk]:
            folds.append(JoinFold(BOUNDS, disk, partition=partition))
            return folds[-1], disk

        idle: set[str] = set()

        def stopped() -> bool:
            nonlocal turns, idle
            clock.seconds += self.random.choice([0.01, 0.05, 0.2, 1.0])
            log.member.background()
            if self.random.random() < 0.05:
                idle = set(self.random.sample(INPUTS, self.random.choice([0, 0, 0, 1, 1, 2])))
            self.produce(idle)
            turns -= 1
            return turns < 0

        Runner(log, clock, make, Pace(commit_s=0.1, report_s=0.3, checkpoint_s=50.0, idle_s=2.0)).run(stopped)
        self.broker.mark(all_=True)
        for fold in folds:
            fold.close()

    def produce(self, idle: set[str]) -> None:
        self.event_ms += self.random.choice([0, 1_000, 5_000, 5_000, 20_000])
        if self.random.random() < 0.01:
            self.event_ms += self.random.choice([200_000, 900_000])
        for log in INPUTS:
            if log in idle or self.random.random() < 0.3:
                continue
            ts = self.event_ms + self.random.choice([0, 0, 0, -5, -19, -20, -21, 10, 14, -90, -140]) * 1_000
            ts += self.random.choice([0, 0, 1, -1])
            number = max(0, self.made - self.random.choice([0, 0, 0, 1, 2, 5, 9, 14, 30]))
            event = {"impression_id": f"i{number}", "ts": ts}
            if log == "impressions":
                event |= {"campaign_id": f"c{number % 3}", "creative_id": "x", "price_micros": 10 + number % 2}
            else:
                event |= {"click_id": f"k{max(0, self.made - self.random.choice([0, 0, 3, 11]))}"}
            self.made += 1
            value = orjson.dumps(event) if self.random.random() > 0.03 else b"{"
            key = f"i{number}".encode()
            earlier = self.broker.inputs[log, 0].records
            if earlier and self.random.random() < 0.15:
                copied = self.random.choice(earlier[-12:])
                key, value = copied.key or b"", copied.value or b""
            offset = self.broker.inputs[log, 0].end + self.random.choice([0, 0, 0, 2])
            self.broker.inputs[log, 0].append(Record(offset, -1, key, value))

    def ends(self) -> dict[str, int]:
        return {log: self.broker.inputs[log, 0].end for log in INPUTS}

    def log(self, log: str, stop: int) -> list[Record]:
        return [record for record in self.broker.inputs[log, 0].records if record.offset < stop]

    def truth(self, stop: Mapping[str, int], limits: JoinBounds = BOUNDS) -> Truth:
        seals = self.broker.seals(0)
        shown, clicked = (self.log(log, stop[log]) for log in INPUTS)
        return truth(shown, clicked, limits, seals=seals, ended=True)

    def ledgers(self) -> list[Ledger]:
        return [decode(out.value or b"", Ledger) for out in self.broker.committed(("ledger", 0))]

    def cut(self) -> dict[str, int]:
        """Arbitrary offsets, mostly at about the same event time in both logs."""
        share = self.random.random()
        return {
            log: round(end * min(1.0, max(0.0, share + self.random.choice([0, 0, 0.02, -0.05, 0.3]))))
            for log, end in self.ends().items()
        }


class RunLog:
    """`streams.engine.ports.Log` of one partition, read up to `ends`. A commit is atomic."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._random = replay.random
        self._next: dict[str, int] = {}
        self._paused: set[str] = set()
        self._pending: tuple[list[Out], Commit] | None = None

    def join(self, owner: Owner) -> None:
        owner.assigned([0])

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        found: list[Records] = []
        for log in self._random.sample(INPUTS, len(INPUTS)):
            if log in self._next and log not in self._paused:
                ahead = [one for one in self._replay.logs[log] if one.offset >= self._next[log]]
                taken = ahead[: self._random.randint(0, 5)]
                if taken:
                    self._next[log] = taken[-1].offset + 1
                    found.append(columns(log, taken))
        return found

    def committed(self, partition: int) -> Commit | None:
        return self._replay.commit

    def starts(self, partition: int) -> dict[str, int]:
        return {log: each.read_from.offset for log, each in self._replay.ranges.items()}

    def ends(self, partition: int) -> dict[str, int]:
        starts = self.starts(partition)
        return {log: max([starts[log], *(one.offset + 1 for one in self._replay.logs[log])]) for log in INPUTS}

    def cached_ends(self, partition: int) -> dict[str, int]:
        return self.ends(partition)

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        self._next = dict(offsets)
        self.pause(partition, INPUTS)

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        self._paused |= set(logs)

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        self._paused -= set(logs)

    def side_log(self, partition: int) -> Records:
        return self._replay.history.broker.side_log(partition)

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        self._pending = list(outs), commits[0]

    def settled(self) -> bool:
        return self._pending is None

    def settle(self) -> None:
        if self._pending is not None:
            (outs, commit), self._pending = self._pending, None
            self._replay.reach("before commit")
            self._replay.outs += outs
            self._replay.commit = commit
            self._replay.reach("after commit")

    def leave(self) -> None:
        self._next.clear()


class Replay:
    """A backfill of a part of a history, with crashes. `complete`: the inputs end where the range ends."""

    def __init__(
        self,
        history: History,
        ranges: Mapping[str, InputRange],
        *,
        complete: bool,
        share: float,
        limits: JoinBounds = BOUNDS,
    ) -> None:
        self.random = history.random
        self.history = history
        self.ranges = ranges
        self.complete = complete
        self.limits = limits
        self.share = share
        self.logs = {log: history.log(log, each.stop if complete else 2**62) for log, each in ranges.items()}
        self.logs = {
            log: [one for one in self.logs[log] if one.offset >= ranges[log].read_from.offset] for log in INPUTS
        }
        self.outs: list[Out] = []
        self.commit: Commit | None = None
        self.folder = Filesystem()
        self.clock = VirtualClock()
        self.folds: list[OwningFold] = []

    def reach(self, step: str, about: str = "") -> None:
        """A step at which the process may die."""
        if self.random.random() < self.share:
            raise Crashed(step)

    def make(self, partition: int) -> tuple[Fold, Disk]:
        disk = SimulatedDisk(self.folder, self.reach)
        self.folds.append(OwningFold(self.limits, disk, self.ranges, partition=partition, complete=self.complete))
        return self.folds[-1], disk

    def live(self) -> None:
        with no_threads():
            self._live()

    def _live(self) -> None:
        log = RunLog(self)
        pace = Pace(commit_s=0.1, report_s=0.3, checkpoint_s=2.0, idle_s=float("inf"))
        runner = Runner(log, self.clock, self.make, pace)
        turns = 0

        def stopped() -> bool:
            nonlocal turns
            turns += 1
            assert turns < 5_000
            self.clock.seconds += self.random.choice([0.01, 0.05, 0.2, 1.0])
            folds = [fold for fold in runner.folds().values() if isinstance(fold, OwningFold)]
            return not self.complete and bool(folds) and all(finished(fold, log.ends(0)) for fold in folds)

        runner.run(stopped, ended=lambda: self.complete)

    def run(self) -> OwningFold:
        while True:
            try:
                self.live()
                break
            except Crashed:
                self.folder.cut(self.random)
                if self.random.random() < 0.2:
                    self.folder = Filesystem()
                self.clock.seconds += 5
        for fold in self.folds:
            fold.close()
        return self.folds[-1]

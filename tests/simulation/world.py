"""One seeded history: producers, workers that die, freeze, come and go, and a last quiet life that catches up."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Protocol

import msgspec

from schemas.bounds import JoinBounds
from schemas.dimensions import ExtraDimension
from schemas.records import Record
from schemas.totals import DIMENSIONS
from streams.engine.fold import Fold
from streams.engine.pace import Pace
from streams.engine.ports import Commit, Disk, Shared
from streams.join.fold import JoinFold
from streams.join.identity import JoinIdentity
from streams.join.mapped import InputMaps
from streams.join.moved import extended_mark
from streams.verify.mapped import mapped_records
from streams.verify.oracle import truth
from tests.simulation.broker import INPUTS, Broker
from tests.simulation.process import Machine, Process
from tests.simulation.producers import T0, Producers

BOUNDS = JoinBounds(window_ms=100, skew_ms=10, lateness_ms=20, future_ms=15, dedupe_ms=130, negative_rate=0.5)
# The second one counts from the second quarter-hour on.
EXTRA = ExtraDimension("site", "features.site"), ExtraDimension("slot", "features.slot", T0 + 900_000)
# A quiet life that has not caught up after so many slices never will.
_MOST_SLICES = 6_000


class VirtualClock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now_s(self) -> int:
        """UTC: an hour of event time is below it, later events are in its future."""
        return 1_700_000_040 + 2_600 + int(self.seconds)


class Producing(Protocol):
    """What appends to the inputs."""

    def produce(self) -> None:
        """Appends a few records, or none."""
        ...


class World:
    """Everything of one schedule; the seed alone decides it."""

    roles: Sequence[str] = INPUTS
    # Whether some histories have extra dimensions.
    counts: bool = True
    maps = InputMaps()

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        # With none of the unclicked put out, sweeps move bounds in silence.
        # A step of an event's time is at most 130 ms: what is above 200 is a gap or a wrong clock.
        self.bounds = msgspec.structs.replace(
            BOUNDS,
            negative_rate=self.random.choice([0.5, 0.5, 0.0, 1.0]),
            jump_ms=self.random.choice([0, 200, 200]),
        )
        # By the seed and not by a draw, so that other histories stay what they were.
        self.extra: tuple[ExtraDimension, ...] = EXTRA[: (2, 1, 0, 0)[seed % 4]] if self.counts else ()
        self._adding = self.counts and seed % 4 == 1
        self.partitions = self.random.choice([2, 2, 3])
        self.slots = [str(slot) for slot in range(self.random.choice([1, 2, 2, 3]))]
        self.broker = Broker(self.partitions, self.random, self.roles)
        self.clock = VirtualClock()
        self.producers = self.make_producers()
        self.switching = self.random.choice([0.02, 0.1, 0.3])
        self.faults = self.random.choice([0.0, 0.02])
        self.producing = self.random.choice([0.1, 0.4])
        self.pace = Pace(
            commit_s=0.1,
            # Now and then reports are rarer than checkpoints, so that totals die unreported.
            report_s=self.random.choice([0.3, 4.0]),
            checkpoint_s=self.random.choice([0.2, 0.7]),
            idle_s=self.random.choice([0.5, 2.0]),
            close_idle_s=self.random.choice([0.0, 3.0]),
            # A sweep is bounded by a quarter of a partition's share of these, and by one at least.
            transaction_outs=self.random.choice([4 * self.partitions, 30]),
        )
        self.calm = False
        self.ended = False
        self.processes: list[Process] = []
        self.machines: dict[str, list[Machine]] = {slot: [Machine()] for slot in self.slots}
        self._started = 0
        self._pause_ends_s = 0.0
        self._done: set[int] = set()
        self.steps: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.distrusted: list[str] = []
        self.trace: deque[tuple[float, str, str, str]] = deque(maxlen=400)

    def make_producers(self) -> Producing:
        """What appends to the inputs."""
        return Producers(self.broker, self.random, wrong_clocks=self.bounds.jump_ms > 0, features=bool(self.extra))

    def make_fold(self, partition: int, disk: Disk) -> Fold:
        """The fold of a partition."""
        before = JoinIdentity(self.bounds, DIMENSIONS, self.extra, (), self.maps.digest).before
        return JoinFold(self.bounds, disk, partition=partition, extra=self.extra, formers=before, maps=self.maps)

    def records(self, log: str, partition: int) -> Iterator[Record]:
        """What an input has, as the oracle judges it."""
        return mapped_records(self.broker.inputs[log, partition].records, self.maps.of.get(log))

    def share(self, process: Process, partition: int) -> Shared | None:
        """Where a process shares its snapshots: nowhere."""
        return None

    def note(self, process: Process | None, what: str, about: str = "") -> None:
        """Adds to the trace."""
        self.trace.append((self.clock.seconds, process.name if process else "-", what, about))

    # ---- the scheduler ----------------------------------------------------------------------------------------------

    def history(self) -> None:
        """Lives and deaths, then quiet."""
        try:
            slices = self.random.choice([60, 150, 300])
            for number in range(slices):
                if self._adding and number == slices // 2:
                    self._add_dimension()
                self._manage()
                self._slice()
            self._quiet()
        finally:
            for process in self.processes:
                process.dead = True
                process.strand.abandon()

    def _slice(self) -> None:
        """Time moves, the broker and the clients' threads do a little, one worker runs to its next pass."""
        self._tick()
        runnable = [process for process in self.processes if not process.frozen]
        if not runnable:
            self.clock.seconds += 1.0
            return
        process = self.random.choice(runnable)
        if not process.strand.done:
            process.strand.resume()
        for process in [process for process in self.processes if process.strand.done]:
            self.processes.remove(process)
            process.ended()
            if process.strand.error is None and self.ended and not process.stopping and process.log is not None:
                self._done |= process.log.member.owned
            elif self.random.random() < 0.1:
                process.machine.cut(self.random)

    def _tick(self) -> None:
        self.clock.seconds += self.random.choice([0.0, 0.02, 0.1, 0.5] if not self.calm else [0.1, 0.5])
        if self.broker.paused:
            self._pause()
        else:
            self.broker.mark()
            self.events["transactions timed out"] += self.broker.time_out(self.clock.seconds)
            self.events["members missed"] += len(self.broker.group.expire(self.clock.seconds))
        for process in self.processes:
            if not process.frozen and not process.strand.done:
                process.tick()
        if not self.calm and self.random.random() < self.producing:
            self.producers.produce()

    def _pause(self) -> None:
        """The broker answers nobody; when it is back it may have kept its members' sessions, or not."""
        if self.clock.seconds < self._pause_ends_s:
            return
        self.broker.paused = False
        if self.random.random() < 0.5:
            for member in self.broker.group.members.values():
                member.heard_s = self.clock.seconds

    def _manage(self) -> None:
        """Starts, stops and replaces workers; pauses the broker."""
        chance = self.random.random()
        for slot in self.slots:
            own = [process for process in self.processes if process.slot == slot]
            if not own:
                if not self.processes or self.random.random() < 0.1:
                    self._start(slot)
            elif all(process.frozen for process in own) and self.random.random() < 0.02:
                self.events["a frozen worker's slot taken"] += 1
                self._start(slot)
        if chance < 0.01 and self.processes:
            process = self.random.choice(self.processes)
            process.stopping = True
            self.events["asked to stop"] += 1
            self.note(process, "asked to stop")
        elif chance < 0.014 and not self.broker.paused:
            self.broker.paused = True
            self._pause_ends_s = self.clock.seconds + self.random.choice([1, 5, 20])
            self.events["broker paused"] += 1
            self.note(None, "broker paused")

    def _start(self, slot: str) -> Process:
        """On the machine it had, one it had earlier, or a new one."""
        free = [machine for machine in self.machines[slot] if not machine.in_use]
        chance = self.random.random()
        if not free or chance < 0.15:
            machine = Machine()
            self.machines[slot].append(machine)
            self.events["started without a disk"] += 1
        elif chance < 0.3:
            machine = self.random.choice(free)
            self.events["started on an earlier disk"] += machine is not free[-1]
        else:
            machine = free[-1]
        self._started += 1
        process = Process(self, slot, machine, f"worker {self._started} of slot {slot}")
        self.processes.append(process)
        self.events["started"] += 1
        self.note(process, "started")
        return process

    def _add_dimension(self) -> None:
        """All workers die at once, and the group is moved at the cut that it has committed, as `upgrade` moves it."""
        for process in self.processes:
            process.dead = True
            process.strand.abandon()
            process.machine.in_use = False
        self.processes.clear()
        self.clock.seconds += 60
        self.broker.paused = False
        self.broker.time_out(self.clock.seconds)
        self.broker.mark(all_=True)
        self.broker.group.expire(self.clock.seconds)
        accepted = [
            impression.ts
            for partition in range(self.partitions)
            for impression in truth(
                self.records("impressions", partition),
                (),
                self.bounds,
                seals=self.broker.seals(partition),
                ended=True,
            ).impressions.accepted
        ]
        highest_ms = max(accepted, default=T0)
        self.extra = (*self.extra, ExtraDimension("slot", "features.slot", highest_ms + 1))
        identity = JoinIdentity(self.bounds, DIMENSIONS, self.extra, (), self.maps.digest)
        for partition, commit in self.broker.commits.items():
            mark = extended_mark(commit.mark, identity.digest, identity.before, lambda: highest_ms)
            assert mark is not None, "the group was run with other settings"
            self.broker.commits[partition] = Commit(commit.offsets, mark)
        self.events["extra dimensions added"] += 1
        self.note(None, "extra dimension added")

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _quiet(self) -> None:
        """No more faults and records: zombies wake, all leave, and one last worker catches up with everything."""
        self.calm = True
        self.broker.paused = False
        self.broker.promptness = 0.5
        self.ended = self.random.random() < 0.3
        for process in self.processes:
            process.fate.step, process.fate.share = "", 0.0
            if process.log is not None:
                process.log.faults = 0.0
        for _ in range(self.random.choice([0, 40])):
            self._slice()
        for process in self.processes:
            process.stopping = True
        self._until(lambda: not self.processes)
        if self.ended:
            while len(self._done) < self.partitions:
                self._start(self.slots[0])
                self._until(lambda: not self.processes)
        else:
            last = self._start(self.slots[0])
            self._until(lambda: self._caught_up(last))
            for _ in range(30):
                self._slice()
            last.stopping = True
            self._until(lambda: not self.processes)
        self.broker.time_out(self.clock.seconds + 60)
        self.broker.mark(all_=True)

    def _until(self, reached: Callable[[], bool]) -> None:
        for _ in range(_MOST_SLICES):
            if reached():
                return
            self._slice()
        raise AssertionError(f"not caught up after {_MOST_SLICES} slices without a fault")

    def _caught_up(self, process: Process) -> bool:
        """Whether it is alone, owns everything, and has read it all."""
        if process.strand.done or process.runner is None or len(self.broker.group.members) > 1:
            return False
        folds = process.runner.folds()
        if len(folds) < self.partitions:
            return False
        return all(
            folds[partition].positions()[log] > records[-1].offset
            for partition in folds
            for log in self.broker.roles
            if (records := self.broker.inputs[log, partition].records)
        )

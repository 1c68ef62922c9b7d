"""One worker process: a real Runner with real join folds on simulated edges, and what befalls it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from schemas.errors import ClickfoldError, SettingsError, TaskLost, Transient
from streams.engine.fold import Fold
from streams.engine.ports import Disk
from streams.engine.runner import Runner
from tests.simulation import disk, log
from tests.simulation.disk import SimulatedDisk
from tests.simulation.filesystem import Filesystem
from tests.simulation.log import SimulatedLog
from tests.simulation.strand import Crashed, Strand

if TYPE_CHECKING:
    from tests.simulation.world import World

# Every step that changes what outlives a process; each can be the last one before it dies, or the first it never takes.
DURABLE = tuple(f"{when} {step}" for step in (*disk.STEPS, *log.STEPS) for when in ("before", "after"))


class Machine:
    """A state folder: a filesystem a partition."""

    def __init__(self) -> None:
        self.folders: dict[int, Filesystem] = {}
        self.in_use = False

    def folder(self, partition: int) -> Filesystem:
        return self.folders.setdefault(partition, Filesystem())

    def cut(self, random: Random) -> None:
        """The power fails."""
        for folder in self.folders.values():
            folder.cut(random)


class Fate:
    """When a process dies or freezes: at the n-th of one kind of step, at any by a share, or never."""

    def __init__(self, random: Random, *, calm: bool) -> None:
        kind = "none" if calm else random.choice(["none", "step", "step", "share", "freeze", "freeze"])
        self.step = random.choice(DURABLE) if kind == "step" else ""
        self.share = random.choice([0.001, 0.01]) if kind == "share" else 0.0
        # A freeze strikes at any edge: within a batch, between two records of a transaction, before its commit.
        self.freeze_after = random.randint(5, 400) if kind == "freeze" else -1
        self.left = random.choice([1, 1, 2, 5, 15])

    def kills(self, step: str, random: Random) -> bool:
        if step == self.step:
            self.left -= 1
            return self.left == 0
        return self.share > 0 and random.random() < self.share

    def freezes(self) -> bool:
        self.freeze_after -= 1
        return self.freeze_after == 0


class Process:
    """A worker of one slot on one machine. It runs within `strand.resume`, and its log's own thread within `tick`."""

    def __init__(self, world: World, slot: str, machine: Machine, name: str) -> None:
        self.world = world
        self.slot = slot
        self.name = name
        self.machine = machine
        machine.in_use = True
        self.fate = Fate(world.random, calm=world.calm)
        self.dead = False
        self.stopping = False
        self.wakes_s = 0.0
        self.log: SimulatedLog | None = None
        self.runner: Runner | None = None
        self.strand = Strand(self._run)

    @property
    def frozen(self) -> bool:
        return self.wakes_s > self.world.clock.seconds

    def _run(self) -> None:
        world = self.world
        self.log = SimulatedLog(
            world.broker,
            self,
            self.slot,
            random=world.random,
            now_s=world.clock.monotonic,
            events=world.events,
            faults=0.0 if world.calm else world.faults,
        )
        self.runner = Runner(
            self.log,
            world.clock,
            self._make,
            world.pace,
            warn=self._warn,
            share=lambda partition: world.share(self, partition),
        )
        self.runner.run(self._stopped, ended=lambda: world.ended)

    def _warn(self, text: str) -> None:
        self.world.note(self, "warns:", text)
        if "without some of these extra" in text:
            return
        if "is not used" in text or "not what was written" in text:
            # A power cut takes only what was never synced: a checkpoint that names such bytes was written too early.
            self.world.distrusted.append(f"{self.name}: {text}")

    def _make(self, partition: int) -> tuple[Fold, Disk]:
        kept = SimulatedDisk(self.machine.folder(partition), self.reach, self.world.random)
        if kept.names():
            self.world.events["state folders found again"] += 1
        return self.world.make_fold(partition, kept), kept

    def _stopped(self) -> bool:
        self.reach("turn")
        self.wait()
        return self.stopping

    def reach(self, step: str, about: str = "") -> None:
        """A crash point; now and then it freezes here, or others have their turn."""
        world = self.world
        if self.dead:
            raise Crashed
        world.steps[step] += 1
        world.note(self, step, about)
        if self.fate.kills(step, world.random):
            self.die(step)
            raise Crashed(step)
        if not self.strand.running:
            return
        if self.fate.freezes() and not world.calm:
            seconds = world.random.choice([2, 12, 20, 40])
            world.events[f"frozen for {seconds} s"] += 1
            world.note(self, "frozen", f"for {seconds} s at {step}")
            self.wakes_s = world.clock.seconds + seconds
            self.wait()
            world.note(self, "wakes")
        elif world.random.random() < world.switching:
            self.wait()

    def wait(self) -> None:
        """Others' turn."""
        self.strand.pass_on()

    def die(self, step: str) -> None:
        """Killed, or its machine loses power: what was not synced is gone too."""
        self.dead = True
        self.world.crashes[step] += 1
        how = "killed"
        if self.world.random.random() < 0.5:
            self.machine.cut(self.world.random)
            how = "power cut"
        self.world.events[how] += 1
        self.world.note(self, how)

    def tick(self) -> None:
        """Its clients' own threads: heartbeats, and the transaction under way."""
        if self.log is None or self.world.broker.paused:
            return
        self.log.member.background()
        try:
            self.log.background()
        except Crashed:
            self.strand.abandon()

    def ended(self) -> None:
        """Says how it ended. Raises what no worker may end with."""
        self.machine.in_use = False
        error = self.strand.error
        if error is None:
            self.world.note(self, "left")
            return
        fenced = self.log is not None and self.log.member.fenced
        if isinstance(error, Crashed):
            return
        if isinstance(error, Transient) or (fenced and type(error) is SettingsError):
            self.world.events["stopped with a sentence"] += 1
            self.world.note(self, "ends:", str(error))
            return
        if isinstance(error, ClickfoldError) and not isinstance(error, TaskLost):
            raise AssertionError(f"{self.name} ended with {type(error).__name__}: {error}") from error
        raise AssertionError(f"{self.name} ended with {error!r}") from error

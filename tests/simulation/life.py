"""One partition and one runner after another on the same disk, without any faults but those of the test."""

from __future__ import annotations

from collections import Counter
from random import Random

from schemas.bounds import JoinBounds
from schemas.records import Record
from schemas.seals import SealRecord
from streams.engine.fold import Fold
from streams.engine.pace import Pace
from streams.engine.ports import Disk
from streams.engine.runner import Runner
from streams.join.fold import JoinFold
from streams.verify.oracle import truth
from tests.judging import assert_agrees
from tests.simulation.broker import Broker
from tests.simulation.disk import SimulatedDisk
from tests.simulation.filesystem import Filesystem
from tests.simulation.later import no_threads
from tests.simulation.log import SimulatedLog
from tests.simulation.world import VirtualClock


class Undisturbed:
    """A process that never crashes, on a broker that answers at once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def reach(self, step: str, about: str = "") -> None:
        """Goes on."""

    def wait(self) -> None:
        """The broker's turn."""
        self._broker.mark(all_=True)


class Life:
    """The successive starts of one worker of one partition. `log` may be a subclass that adds faults."""

    def __init__(self, bounds: JoinBounds, log: type[SimulatedLog] = SimulatedLog) -> None:
        self.bounds = bounds
        self.random = Random(3)
        self.broker = Broker(1, self.random)
        self.clock = VirtualClock()
        self.folder = Filesystem()
        self.disk = SimulatedDisk(self.folder)
        self.warnings: list[str] = []
        self._make_log = log
        self.log: SimulatedLog | None = None

    def append(self, log: str, record: Record) -> None:
        """A record at the end of an input."""
        self.broker.inputs[log, 0].append(record)

    def run(self, turns: int, pace: Pace, *, turn_s: float = 0.2, accept_loss: bool = False) -> None:
        """Starts a runner, lets it work for so many turns, and stops it."""
        self.log = log = self._make_log(
            self.broker,
            Undisturbed(self.broker),
            "0",
            random=self.random,
            now_s=self.clock.monotonic,
            events=Counter(),
            faults=0.0,
        )
        left = iter(range(turns))

        def stopped() -> bool:
            self.clock.seconds += turn_s
            log.member.background()
            return next(left, None) is None

        with no_threads():
            Runner(log, self.clock, self._make, pace, warn=self.warnings.append, accept_loss=accept_loss).run(stopped)
        self.broker.mark(all_=True)

    def _make(self, partition: int) -> tuple[Fold, Disk]:
        return JoinFold(self.bounds, self.disk, partition=partition), self.disk

    def seals(self) -> list[SealRecord]:
        """The seals and start records committed so far."""
        return self.broker.seals(0)

    def check(self) -> None:
        """What was committed equals the batch truth."""
        impressions, clicks = (self.broker.inputs[log, 0].records for log in ("impressions", "clicks"))
        judged = truth(impressions, clicks, self.bounds, seals=self.seals(), ended=False)
        assert_agrees(list(self.broker.outputs()), judged)

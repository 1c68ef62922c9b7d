"""`streams.kafka.log.KafkaLog` on the broker in memory: the same steps in the same order, a crash point at each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from inspect import GEN_CLOSED, GEN_RUNNING, getgeneratorstate
from random import Random
from typing import Protocol

from schemas.errors import BrokenInvariant, SettingsError, TaskLost, Transient
from schemas.records import Out, Records
from streams.engine.ports import Commit, Owner
from tests.simulation.broker import Broker, Where
from tests.simulation.group import Refused
from tests.simulation.membership import Membership
from tests.strategies import columns

ANSWER_S = 30.0
STEPS = ("init producer", "produce", "send offsets", "commit", "abort")


class Process(Protocol):
    """What the log's worker runs in: crash points, and waiting while others run."""

    def reach(self, step: str, about: str = "") -> None:
        """A crash point; `about` is for the trace."""
        ...

    def wait(self) -> None:
        """Others' turn."""
        ...


class SimulatedLog:
    """`streams.engine.ports.Log` of one worker."""

    def __init__(
        self,
        broker: Broker,
        process: Process,
        slot: str,
        *,
        random: Random,
        now_s: Callable[[], float],
        events: Counter[str],
        faults: float,
    ) -> None:
        """`faults`: how often the broker aborts, loses an answer or gives none."""
        self.broker = broker
        self._process = process
        self._random = random
        self._now_s = now_s
        self._events = events
        self.faults = faults
        self._producer = f"join-{slot}"
        self.member = Membership(broker.group, slot, now_s, events)
        self._owner: Owner | None = None
        self._at: dict[tuple[str, int], int] = {}
        self._held: set[tuple[str, int]] = set()
        self._polled: dict[tuple[str, int], int] = {}
        self._met_end: dict[tuple[str, int], int] = {}
        self._under_way: Generator[None] | None = None
        self._failure: TaskLost | None = None
        self._epoch = -1
        for _ in self._init_producer():
            self._process.wait()

    # ---- group ------------------------------------------------------------------------------------------------------

    def join(self, owner: Owner) -> None:
        self._owner = owner

    def leave(self) -> None:
        """A static member says nothing when it goes; what was handed over is seen through first."""
        for _ in self._under_way or ():
            self._process.wait()
        self._under_way = None

    def _on_assign(self, partitions: list[int]) -> None:
        assert self._owner is not None
        self._owner.assigned(partitions)

    def _on_revoke(self, partitions: list[int]) -> None:
        assert self._owner is not None
        self._owner.revoked(partitions)
        self._unplace(partitions)

    def _on_lost(self, partitions: list[int]) -> None:
        assert self._owner is not None
        self._owner.lost(partitions)
        self._unplace(partitions)

    def _place(self, partition: int, offsets: Mapping[str, int]) -> None:
        for log, offset in offsets.items():
            self._at[log, partition] = self._polled[log, partition] = offset
            self._met_end.pop((log, partition), None)
            self._held.add((log, partition))

    def _unplace(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            for log in self.broker.roles:
                self._at.pop((log, partition), None)

    # ---- reading ----------------------------------------------------------------------------------------------------

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        self._process.reach("poll")
        self.member.serve(assign=self._on_assign, revoke=self._on_revoke, lost=self._on_lost)
        if self.member.fenced:
            raise SettingsError("another worker has taken this slot of the group")
        found: list[Records] = []
        if self.broker.paused:
            return found
        for at in self._random.sample(sorted(self._at), len(self._at)):
            if at in self._held:
                continue
            source = self.broker.inputs[at]
            taken = source.read(self._at[at], min(limit, self._random.randint(0, 5)))
            if taken:
                self._at[at] = self._polled[at] = taken[-1].offset + 1
                found.append(columns(at[0], taken, at[1]))
            elif not source.read(self._at[at], 1):
                self._met_end[at] = source.end
        return found

    def committed(self, partition: int) -> Commit | None:
        self._process.reach("ask committed", str(partition))
        self._until_stable(("offsets", partition))
        return self.broker.commits.get(partition)

    def starts(self, partition: int) -> dict[str, int]:
        return dict.fromkeys(self.broker.roles, 0)

    def ends(self, partition: int) -> dict[str, int]:
        self._process.reach("ask ends", str(partition))
        self._until_answered()
        if self._random.random() < self.faults / 10:
            self._events["no answer"] += 1
            raise Transient("the broker did not answer")
        return self.cached_ends(partition)

    def cached_ends(self, partition: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for log in self.broker.roles:
            at = log, partition
            high = self.broker.inputs[at].end
            found[log] = self._polled[at] if self._met_end.get(at) == high and at in self._polled else high
        return found

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        if partition in self.member.owned:
            self._place(partition, offsets)

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        self._held |= {(log, partition) for log in logs}

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        self._held -= {(log, partition) for log in logs}

    def side_log(self, partition: int) -> Records:
        self._process.reach("ask side", str(partition))
        self._until_stable(("seals", partition))
        return self.broker.side_log(partition)

    def _until_answered(self) -> None:
        asked_s = self._now_s()
        while self.broker.paused:
            self._process.wait()
            if self._now_s() - asked_s > ANSWER_S:
                raise Transient(f"the broker did not answer within {ANSWER_S:.0f} s")

    def _until_stable(self, where: Where) -> None:
        """Read-committed: transactions open there now have to end first, at the latest by their timeout."""
        self._until_answered()
        before = self.broker.unstable(where)
        asked_s = self._now_s()
        while any(transaction in before for transaction in self.broker.unstable(where)):
            self._process.wait()
            if self._now_s() - asked_s > ANSWER_S:
                raise Transient(f"{where} did not become stable within {ANSWER_S:.0f} s")

    # ---- writing ----------------------------------------------------------------------------------------------------

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        assert self._under_way is None, "the transaction before was not settled"
        self._process.reach("hand over", f"{len(outs)} outputs, partitions {sorted(commits)}")
        foreign = set(commits) - self.member.owned
        if foreign:
            raise BrokenInvariant(f"about to commit partitions {sorted(foreign)} that are not owned")
        # Metadata of the generation these outputs belong to, taken at hand-over.
        self._under_way = self._transact(list(outs), dict(commits), self.member.metadata())
        self.background()

    def background(self) -> None:
        """The committing thread does a few steps, or none."""
        for _ in range(self._random.choice([0, 0, 1, 3, 99])):
            under_way = self._under_way
            # It may be the worker itself that is just seeing it through.
            if under_way is None or getgeneratorstate(under_way) == GEN_RUNNING or next(under_way, self) is self:
                return

    def settled(self) -> bool:
        return self._under_way is None or getgeneratorstate(self._under_way) == GEN_CLOSED

    def settle(self) -> None:
        for _ in self._under_way or ():
            if self.broker.paused or self._random.random() < 0.1:
                self._process.wait()
        self._under_way = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _transact(
        self, outs: Sequence[Out], commits: dict[int, Commit], member: tuple[str, str, int]
    ) -> Generator[None]:
        producer, broker = self._producer, self.broker
        try:
            for out in outs:
                yield from self._step("produce", partial(self._produce, out), out.topic)
            yield from self._step(
                "send offsets",
                lambda: broker.send_offsets(producer, self._epoch, member, commits, self._now_s()),
                f"as {member[1]} of generation {member[2]}",
            )
            if self._random.random() < self.faults:
                self._events["transaction aborted by the broker"] += 1
                raise Refused("the coordinator will not have it")
            yield from self._step("commit", lambda: broker.end(producer, self._epoch, commit=True))
            if self._random.random() < self.faults:
                self._events["committed, answer lost"] += 1
                raise Refused("nobody knows what became of it")
        except Refused as error:
            self._failure = TaskLost(f"the transaction was aborted: {error}")
            yield from self._abort(error)

    def _produce(self, out: Out) -> None:
        self.broker.produce(self._producer, self._epoch, out, self._now_s())

    def _abort(self, error: Refused) -> Iterator[None]:
        self._events["transactions given up"] += 1
        try:
            if error.fatal:
                raise error
            yield from self._step("abort", lambda: self.broker.end(self._producer, self._epoch, commit=False))
        except Refused:
            yield from self._init_producer()

    def _init_producer(self) -> Iterator[None]:
        def init() -> None:
            self._epoch = self.broker.init_producer(self._producer)

        yield from self._step("init producer", init)

    def _step(self, name: str, act: Callable[[], None], about: str = "") -> Iterator[None]:
        """One request that changes what the broker keeps."""
        yield
        while self.broker.paused:
            yield
        self._process.reach(f"before {name}", about)
        act()
        self._process.reach(f"after {name}", about)

"""The edges faked for tests, and nothing else: a disk in memory that forgets, at a crash, what was not made durable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

from schemas.errors import TaskLost
from streams.edges import Commit, Owner
from streams.fold import Out, Records
from streams.oracle import Record
from tests.strategies import columns


class MemoryDisk:
    """`streams.disk.Disk`: `crash` keeps what `sync` and `replace` made durable and an arbitrary part of the rest."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self._durable: dict[str, int] = {}

    def append(self, name: str, data: bytes) -> None:
        self.files.setdefault(name, bytearray()).extend(data)

    def read(self, name: str, start: int, length: int) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return bytes(self.files[name][start : start + length])

    def read_synced(self, name: str, start: int, length: int) -> bytes:
        return self.read(name, start, min(length, self._durable.get(name, 0) - start))

    def truncate(self, name: str, length: int) -> None:
        del self.files[name][length:]
        self._durable[name] = min(self._durable.get(name, 0), length)

    def sync(self, name: str) -> None:
        self._durable[name] = len(self.files[name])

    def replace(self, name: str, data: bytes) -> None:
        self.files[name] = bytearray(data)
        self._durable[name] = len(data)

    def delete(self, name: str) -> None:
        self.files.pop(name, None)
        self._durable.pop(name, None)

    def rename(self, name: str, to: str) -> None:
        self.files[to] = self.files.pop(name)
        self._durable[to] = self._durable.pop(name)

    def names(self) -> list[str]:
        return sorted(self.files)

    def close(self) -> None:
        """Holds nothing."""

    def crash(self) -> None:
        """The machine stops: bytes appended since the last sync are gone."""
        for name in list(self.files):
            del self.files[name][self._durable.get(name, 0) :]
            if name not in self._durable:
                del self.files[name]


class Crashed(Exception):
    """The process is gone; what was durable stays."""


class Fates:
    """Decides, by seed, at which durable step the process dies. `name` of each step taken is kept for the report."""

    def __init__(self, random: Random, *, share: float) -> None:
        self._random = random
        self._share = share
        self.steps: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()

    def reach(self, step: str) -> None:
        """A crash point: raises Crashed or returns."""
        self.steps[step] += 1
        if self._random.random() < self._share:
            self.crashes[step] += 1
            raise Crashed(step)

    def aborts(self) -> bool:
        """Whether the coordinator aborts the transaction at hand."""
        return self._random.random() < min(0.03, 2 * self._share)


class CrashingDisk(MemoryDisk):
    """A MemoryDisk with a crash point before and after every durable step."""

    def __init__(self, fates: Fates) -> None:
        super().__init__()
        self.fates = fates

    def append(self, name: str, data: bytes) -> None:
        self.fates.reach("before append")
        super().append(name, data)

    def sync(self, name: str) -> None:
        self.fates.reach("before sync")
        super().sync(name)

    def replace(self, name: str, data: bytes) -> None:
        self.fates.reach("before replace")
        super().replace(name, data)
        self.fates.reach("after replace")

    def delete(self, name: str) -> None:
        self.fates.reach("before delete")
        super().delete(name)

    def rename(self, name: str, to: str) -> None:
        self.fates.reach("before rename")
        super().rename(name, to)


class MemoryCluster:
    """What outlives workers: input logs, side logs, committed offsets and outputs."""

    def __init__(self, inputs: Sequence[str], partitions: int) -> None:
        self.inputs = tuple(inputs)
        self.partitions = partitions
        self.logs: dict[tuple[str, int], list[Record]] = {
            (log, partition): [] for log in inputs for partition in range(partitions)
        }
        self.ends: dict[tuple[str, int], int] = dict.fromkeys(self.logs, 0)
        self.outs: list[Out] = []
        self.commits: dict[int, Commit] = {}

    def append(self, log: str, partition: int, record: Record) -> None:
        self.logs[log, partition].append(record)
        self.ends[log, partition] = record.offset + 1

    def side(self, partition: int) -> list[bytes]:
        return [out.value or b"" for out in self.outs if out.topic == "seals" and out.partition == partition]


class MemoryLog:
    """`streams.runner.Log` of one worker that owns every partition; transactions are atomic, with crash points."""

    def __init__(self, cluster: MemoryCluster, fates: Fates, random: Random) -> None:
        self._cluster = cluster
        self._fates = fates
        self._random = random
        self._at: dict[tuple[str, int], int] = {}
        self._paused: set[tuple[str, int]] = set()
        self._under_way: tuple[list[Out], dict[int, Commit]] | None = None
        self._lost = False

    def join(self, owner: Owner) -> None:
        for partition, offsets in owner.assigned(range(self._cluster.partitions)).items():
            self.pause(partition, self._cluster.inputs)
            self.seek(partition, offsets)

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        found: list[Records] = []
        for (log, partition), at in self._random.sample(sorted(self._at.items()), len(self._at)):
            if (log, partition) not in self._paused:
                ahead = [record for record in self._cluster.logs[log, partition] if record.offset >= at]
                taken = ahead[: self._random.randint(0, 5)]
                if taken:
                    self._at[log, partition] = taken[-1].offset + 1
                    found.append(columns(log, taken, partition))
        return found

    def committed(self, partition: int) -> Commit | None:
        return self._cluster.commits.get(partition)

    def starts(self, partition: int) -> dict[str, int]:
        return dict.fromkeys(self._cluster.inputs, 0)

    def ends(self, partition: int) -> dict[str, int]:
        return {log: self._cluster.ends[log, partition] for log in self._cluster.inputs}

    def known_ends(self, partition: int) -> dict[str, int]:
        return self.ends(partition)

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        for log, offset in offsets.items():
            self._at[log, partition] = offset

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        self._paused |= {(log, partition) for log in logs}

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        self._paused -= {(log, partition) for log in logs}

    def side(self, partition: int) -> list[bytes]:
        return self._cluster.side(partition)

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        assert self._under_way is None, "the transaction before was not settled"
        self._under_way = list(outs), dict(commits)
        if self._random.random() < 0.5:
            self._decide()

    def settle(self) -> None:
        self._decide()
        if self._lost:
            self._lost = False
            raise TaskLost("the coordinator aborted it")

    def _decide(self) -> None:
        """What was handed over is committed, all at once or not at all, now or when it is asked for."""
        if self._under_way is None:
            return
        (outs, commits), self._under_way = self._under_way, None
        self._fates.reach("before transaction")
        if self._fates.aborts():
            self._lost = True
            return
        self._cluster.outs += outs
        self._cluster.commits.update(commits)
        self._fates.reach("after transaction")

    def leave(self) -> None:
        self._at.clear()


class VirtualClock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now_s(self) -> int:
        return int(self.seconds)

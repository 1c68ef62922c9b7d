"""Kafka in memory: input logs, output logs with transactions, producer epochs, and the group's committed offsets.

What is written in a transaction stands in its log at once, with an offset, and is readable once its marker stands
there too. Markers follow the decision one log after another, as in Kafka: until then readers wait.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import takewhile
from random import Random
from zlib import crc32

from schemas.reading import Unreadable, read_seal
from schemas.records import Out, Record, Records
from schemas.seals import SealRecord
from streams.engine.ports import Commit
from tests.simulation.group import Group, Refused

INPUTS = ("impressions", "clicks")
TRANSACTION_S = 15.0
# A log of outputs, or ("offsets", partition): what the group committed of a partition.
Where = tuple[str, int]


class Transaction:
    """`waiting` are the logs it touched that lack its marker; `committed` is None until it is decided."""

    def __init__(self, producer: str, began_s: float) -> None:
        self.producer = producer
        self.began_s = began_s
        self.committed: bool | None = None
        self.waiting: list[Where] = []
        self.offsets: dict[int, Commit] = {}


class Input:
    """One partition of an input: records in offset order; `end` is the high watermark, which markers may move too."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.end = 0

    def append(self, record: Record) -> None:
        self.records.append(record)
        self.end = record.offset + 1

    def read(self, start: int, most: int) -> list[Record]:
        """Up to `most` records from offset `start` on."""
        at = bisect_left(self.records, start, key=lambda record: record.offset)
        return self.records[at : at + most]


class Broker:
    """What outlives every worker. `random` decides when markers are written."""

    def __init__(self, partitions: int, random: Random, roles: Sequence[str] = INPUTS) -> None:
        self.partitions = partitions
        self.roles = roles
        self._random = random
        self.group = Group(partitions)
        self.inputs = {(log, partition): Input() for log in roles for partition in range(partitions)}
        self.logs: dict[Where, list[tuple[Transaction, Out]]] = {}
        self.commits: dict[int, Commit] = {}
        self.paused = False
        # How soon markers follow a decision: the share written each time the broker has its turn.
        self.promptness = random.choice([0.5, 0.5, 0.04])
        self._epochs: dict[str, int] = {}
        self._open: dict[str, Transaction] = {}
        self._unfinished: list[Transaction] = []

    # ---- producers --------------------------------------------------------------------------------------------------

    def init_producer(self, producer: str) -> int:
        """InitProducerId: a new epoch; what a former producer of this id had open is aborted."""
        self._epochs[producer] = self._epochs.get(producer, -1) + 1
        if producer in self._open:
            self._decide(producer, committed=False)
        self._finish(producer)
        return self._epochs[producer]

    def produce(self, producer: str, epoch: int, out: Out, now_s: float) -> None:
        """One record into its log."""
        transaction = self._transaction(producer, epoch, now_s)
        partition = crc32(out.key or b"") % self.partitions if out.partition is None else out.partition
        where = out.topic, partition
        self.logs.setdefault(where, []).append((transaction, out))
        if where not in transaction.waiting:
            transaction.waiting.append(where)

    def send_offsets(
        self, producer: str, epoch: int, member: tuple[str, str, int], commits: dict[int, Commit], now_s: float
    ) -> None:
        """TxnOffsetCommit of a member (slot, id, generation): pending until the transaction is decided."""
        transaction = self._transaction(producer, epoch, now_s)
        self.group.check(*member)
        transaction.offsets.update(commits)
        transaction.waiting += [("offsets", partition) for partition in commits]

    def end(self, producer: str, epoch: int, *, commit: bool) -> None:
        """EndTxn: decided from here on; markers follow."""
        self._check(producer, epoch)
        if producer not in self._open:
            raise Refused("no transaction is open", fatal=True)
        self._decide(producer, committed=commit)

    def time_out(self, now_s: float) -> int:
        """Aborts transactions open too long and shuts out their producers; returns how many."""
        late = [one for one, open_ in self._open.items() if now_s - open_.began_s > TRANSACTION_S]
        for producer in late:
            self._epochs[producer] += 1
            self._decide(producer, committed=False)
        return len(late)

    def mark(self, *, all_: bool = False) -> None:
        """Some markers, or all there are to write."""
        for transaction in list(self._unfinished):
            if transaction.committed is not None and (all_ or self._random.random() < self.promptness):
                some = len(transaction.waiting) if all_ else self._random.randint(1, len(transaction.waiting))
                self._mark(transaction, some)

    def _transaction(self, producer: str, epoch: int, now_s: float) -> Transaction:
        self._check(producer, epoch)
        if producer not in self._open:
            # The coordinator lets the next one begin when the markers of the one before are written.
            self._finish(producer)
            self._open[producer] = Transaction(producer, now_s)
            self._unfinished.append(self._open[producer])
        return self._open[producer]

    def _check(self, producer: str, epoch: int) -> None:
        if epoch != self._epochs[producer]:
            raise Refused(f"producer {producer} has epoch {self._epochs[producer]}, not {epoch}", fatal=True)

    def _decide(self, producer: str, *, committed: bool) -> None:
        transaction = self._open.pop(producer)
        transaction.committed = committed
        # The coordinator asks the leaders of all logs at once: any may be first.
        self._random.shuffle(transaction.waiting)
        if not transaction.waiting:
            self._unfinished.remove(transaction)

    def _finish(self, producer: str) -> None:
        for transaction in list(self._unfinished):
            if transaction.producer == producer and transaction.committed is not None:
                self._mark(transaction, len(transaction.waiting))

    def _mark(self, transaction: Transaction, some: int) -> None:
        for where in transaction.waiting[:some]:
            if where[0] == "offsets" and transaction.committed:
                self.commits[where[1]] = transaction.offsets[where[1]]
        del transaction.waiting[:some]
        if not transaction.waiting:
            self._unfinished.remove(transaction)

    # ---- readers ----------------------------------------------------------------------------------------------------

    def unstable(self, where: Where) -> list[Transaction]:
        """Transactions whose marker a read-committed reader of this log has to wait for."""
        return [transaction for transaction in self._unfinished if where in transaction.waiting]

    def committed(self, where: Where) -> list[Out]:
        """What read-committed readers are given: in log order, up to the first record that is not stable."""
        stable = takewhile(lambda entry: where not in entry[0].waiting, self.logs.get(where, ()))
        return [out for transaction, out in stable if transaction.committed]

    def append_seal(self, partition: int, key: bytes | None, value: bytes | None) -> None:
        """A record that some stranger wrote into the side log."""
        stranger = Transaction("stranger", 0.0)
        stranger.committed = True
        self.logs.setdefault(("seals", partition), []).append((stranger, Out("seals", key, value, partition)))

    def side_log(self, partition: int) -> Records:
        """The committed records of the side log; aborted ones leave gaps in its offsets."""
        stable = takewhile(
            lambda entry: ("seals", partition) not in entry[1][0].waiting,
            enumerate(self.logs.get(("seals", partition), ())),
        )
        entries = [(offset, out) for offset, (transaction, out) in stable if transaction.committed]
        return Records(
            "seals",
            partition,
            [offset for offset, _ in entries],
            [-1] * len(entries),
            [out.key for _, out in entries],
            [out.value for _, out in entries],
        )

    def seals(self, partition: int) -> list[SealRecord]:
        """The good records of the side log."""
        side_log = self.side_log(partition)
        read = (read_seal(key, value, partition) for key, value in zip(side_log.keys, side_log.values, strict=True))
        return [seal for seal in read if not isinstance(seal, Unreadable)]

    def outputs(self) -> Sequence[Out]:
        """All that was committed to all logs but the seals, each log in order."""
        return [out for where in sorted(self.logs) if where[0] != "seals" for out in self.committed(where)]

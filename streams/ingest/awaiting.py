"""A log that keeps records back until the schemas of their values are known, while all other records go on.

A registry that is down is nobody's bad data. So the partitions concerned are paused, the group stays as it is, the
transactions of others go on, and the registry is asked again, at most twice a minute in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from schemas.errors import Transient
from schemas.records import Out, Records
from streams.engine.ports import Commit, Log, Owner
from streams.ingest.schemas import Schemas

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0


class Waiting:
    """What ingest waits for, as the shell shows it: a sentence, empty when it waits for nothing."""

    def __init__(self) -> None:
        self.why = ""


class AwaitingLog:
    """`streams.engine.ports.Log` of another log. `warn` is told once why records are kept back."""

    def __init__(
        self,
        log: Log,
        schemas: Schemas,
        waiting: Waiting,
        *,
        clock_s: Callable[[], float],
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._schemas = schemas
        self._waiting = waiting
        self._clock_s = clock_s
        self._warn = warn
        # Kept back, by task, in order; and the inputs that the runner itself has paused.
        self._kept: dict[int, list[Records]] = {}
        self._paused: set[tuple[int, str]] = set()
        self._again_s = float("-inf")
        self._wait_s = _FIRST_WAIT_S
        self.committed, self.starts, self.ends = log.committed, log.starts, log.ends
        self.cached_ends, self.side_log, self.leave = log.cached_ends, log.side_log, log.leave
        self.settled, self.settle = log.settled, log.settle

    def join(self, owner: Owner) -> None:
        """As the log's."""
        self._log.join(_Forgetting(owner, self._kept))

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        """Records whose schemas are known, those kept back first."""
        found: list[Records] = []
        if self._kept and self._clock_s() >= self._again_s:
            for task, kept in list(self._kept.items()):
                while kept and self._learned(kept[0]):
                    found.append(kept.pop(0))
                if kept:
                    break
                del self._kept[task]
                logs = {records.log for records in found if records.partition == task}
                self._log.resume(task, [log for log in logs if (task, log) not in self._paused])
        for records in self._log.poll(limit, wait_s):
            if records.partition not in self._kept and self._learned(records):
                found.append(records)
                continue
            if records.partition not in self._kept:
                self._log.pause(records.partition, [records.log])
            self._kept.setdefault(records.partition, []).append(records)
        if not self._kept:
            self._waiting.why, self._wait_s = "", _FIRST_WAIT_S
        return found

    def _learned(self, records: Records) -> bool:
        if not self._schemas.unknown(records.values, records.headers):
            return True
        if self._waiting.why and self._clock_s() < self._again_s:
            return False
        try:
            self._schemas.learn(records.values, records.headers)
        except Transient as error:
            if not self._waiting.why:
                self._warn(f"{error}: records whose schemas are not known wait, nothing is rejected for it")
            self._waiting.why = str(error)
            self._again_s = self._clock_s() + self._wait_s
            self._wait_s = min(_LONGEST_WAIT_S, 2 * self._wait_s)
            return False
        return True

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        """As the log's; what was kept back is read again."""
        self._kept.pop(partition, None)
        self._log.seek(partition, offsets)

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        """As the log's."""
        self._paused |= {(partition, log) for log in logs}
        self._log.pause(partition, logs)

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        """As the log's, but for a partition of which records are kept back."""
        self._paused -= {(partition, log) for log in logs}
        if partition not in self._kept:
            self._log.resume(partition, logs)

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        """As the log's."""
        self._log.transact(outs, commits)


class _Forgetting:
    """An owner whose tasks take with them what was kept back."""

    def __init__(self, owner: Owner, kept: dict[int, list[Records]]) -> None:
        self._owner = owner
        self._kept = kept
        self.assigned = owner.assigned

    def revoked(self, partitions: Iterable[int]) -> None:
        self._forget(partitions)
        self._owner.revoked(partitions)

    def lost(self, partitions: Iterable[int]) -> None:
        self._forget(partitions)
        self._owner.lost(partitions)

    def _forget(self, partitions: Iterable[int]) -> None:
        for task in partitions:
            self._kept.pop(task, None)

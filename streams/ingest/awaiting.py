"""A log that keeps records back until the schemas of their values are known, while all other records go on.

A registry that is down is nobody's bad data. So the partitions concerned are paused, the group stays as it is, the
transactions of others go on, and the registry is asked again, at most twice a minute in the end. Where records have
more schemas than one poll has time for, they wait in the same way while these are fetched, some at each poll.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from schemas.errors import Transient
from schemas.records import Out, Records
from streams.engine.ports import Commit, Log, Owner
from streams.ingest.schemas import GO_S, Schemas, StillLearning

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
# Producers that always send new schemas would fill the log with lines.
_SAID_EVERY_S: Final = 60.0


class Waiting:
    """What ingest waits for, as the shell shows it: a sentence, empty when it waits for nothing."""

    def __init__(self) -> None:
        self.why = ""


class AwaitingLog:
    """`streams.engine.ports.Log` of another log. `warn` is told why records are kept back, at most once a minute."""

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
        self._say_s = float("-inf")
        self.committed, self.starts, self.ends = log.committed, log.starts, log.ends
        self.cached_ends, self.side_log, self.leave = log.cached_ends, log.side_log, log.leave
        self.settled, self.settle = log.settled, log.settle

    def join(self, owner: Owner) -> None:
        """As the log's."""
        self._log.join(_Forgetting(owner, self._kept))

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        """Records whose schemas are known, those kept back first."""
        found: list[Records] = []
        until_s = self._clock_s() + GO_S
        if not self._kept:
            # All that was given out is decoded.
            self._schemas.forget_oldest()
        elif self._clock_s() >= self._again_s:
            self._give_back(found, until_s)
        for records in self._log.poll(limit, wait_s):
            # While some wait, no other schemas than theirs are asked for.
            asks = not self._kept and self._clock_s() < until_s
            known = not self._schemas.unknown(records.values, records.headers) or (
                asks and self._learned(records, until_s)
            )
            if known and records.partition not in self._kept:
                found.append(records)
                continue
            if records.partition not in self._kept:
                self._log.pause(records.partition, [records.log])
            self._kept.setdefault(records.partition, []).append(records)
        if not self._kept:
            self._waiting.why, self._wait_s = "", _FIRST_WAIT_S
        return found

    def _give_back(self, found: list[Records], until_s: float) -> None:
        """Adds the records that were kept back, as far as their schemas can be learned now."""
        for task, kept in list(self._kept.items()):
            while kept and self._clock_s() < until_s and self._learned(kept[0], until_s):
                found.append(kept.pop(0))
            if kept:
                # Others first the next time: the registry may refuse only a schema of this one.
                self._kept[task] = self._kept.pop(task)
                return
            del self._kept[task]
            logs = {records.log for records in found if records.partition == task}
            self._log.resume(task, [log for log in logs if (task, log) not in self._paused])

    def _learned(self, records: Records, until_s: float) -> bool:
        try:
            self._schemas.learn(records.values, records.headers, until_s=until_s)
        except StillLearning as error:
            self._wait(str(error))
            return False
        except Transient as error:
            self._wait(str(error), self._wait_s)
            self._wait_s = min(_LONGEST_WAIT_S, 2 * self._wait_s)
            return False
        self._wait_s = _FIRST_WAIT_S
        return True

    def _wait(self, why: str, seconds: float = 0.0) -> None:
        now_s = self._clock_s()
        if not self._waiting.why and now_s >= self._say_s:
            self._warn(f"{why}: records whose schemas are not known wait, nothing is rejected for it")
            self._say_s = now_s + _SAID_EVERY_S
        self._waiting.why = why
        self._again_s = now_s + seconds

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

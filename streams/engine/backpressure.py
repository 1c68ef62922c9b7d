"""Backpressure: an input that is ahead in event time waits for the other one, sooner if state is over its budget."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.errors import SettingsError
from streams.engine.ports import Log
from streams.engine.task import Task

# When nothing is left to pause, the worker stops only above this share of the budget: state grows and shrinks in steps
# (whole segments, whole minutes), so a small excess passes by itself.
_SLACK = 1.1


class Backpressure:
    """Pauses and resumes the inputs of tasks. `budget_bytes` bounds the state of all of them together; 0: no bound."""

    def __init__(self, log: Log, budget_bytes: int) -> None:
        self._log = log
        self.budget_bytes = budget_bytes
        self.state_bytes = 0

    def adjust(self, tasks: Mapping[int, Task]) -> None:
        """Pauses the input that is ahead while the other one has lag, and resumes it afterwards.

        Raises SettingsError when state is over its budget although no input can wait and nothing is left to sweep.
        """
        self.state_bytes = sum(task.fold.state_bytes() for task in tasks.values())
        over = 0 < self.budget_bytes < self.state_bytes
        for partition, task in tasks.items():
            self._adjust(partition, task, tight=over)
        waiting = any(task.paused is not None or task.fold.can_sweep() for task in tasks.values())
        if over and not waiting and self.state_bytes > _SLACK * self.budget_bytes:
            raise SettingsError(
                f"state of partitions {sorted(tasks)} takes {self.state_bytes / 1e6:,.0f} MB with both inputs read "
                f"alike, over the budget of {self.budget_bytes / 1e6:,.0f} MB: raise --state-budget, shorten --window "
                "or --dedupe, or spread the partitions over more workers; nothing committed is lost"
            )

    def _adjust(self, partition: int, task: Task, *, tight: bool) -> None:
        ahead = task.fold.input_ahead(tight=tight)
        if ahead is not None and self._others_are_read(partition, task, ahead):
            ahead = None
        if ahead != task.paused:
            if task.paused is not None:
                self._log.resume(partition, [task.paused])
            if ahead is not None:
                self._log.pause(partition, [ahead])
            task.paused = ahead

    def _others_are_read(self, partition: int, task: Task, ahead: str) -> bool:
        """Whether the other inputs are read to their ends, so that nothing is to be waited for."""
        positions = {log: offset for log, offset in task.fold.positions().items() if log != ahead}
        # An end that came with a fetch is one that the log has at least: only the rest is asked of the broker, which
        # takes milliseconds.
        fetched = self._log.cached_ends(partition)
        if any(offset < fetched.get(log, 0) for log, offset in positions.items()):
            return False
        ends = self._log.ends(partition)
        return all(offset >= ends[log] for log, offset in positions.items())

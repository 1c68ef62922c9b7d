"""One owned partition: its fold, its state (loaded, replaying, live, closed), and records held until it is live."""

from __future__ import annotations

from bisect import bisect_left
from enum import Enum
from typing import Final

from schemas.errors import BrokenInvariant
from schemas.records import Records
from streams.engine.fold import Fold
from streams.engine.idle import Silence
from streams.engine.ports import Commit, Disk, Shared


class TaskState(Enum):
    """The states of a task, in order. Logs and metrics show the values."""

    LOADED = "loaded"  # state restored or empty; nothing is written or read yet
    REPLAYING = "replaying"  # owned: reads up to the committed offsets, outputs are dropped
    LIVE = "live"  # outputs are written
    CLOSED = "closed"


# Which state may follow which. A task that lost its transaction is closed, and a new one is loaded in its place.
STEPS: Final[dict[TaskState, frozenset[TaskState]]] = {
    TaskState.LOADED: frozenset({TaskState.REPLAYING, TaskState.CLOSED}),
    TaskState.REPLAYING: frozenset({TaskState.LIVE, TaskState.CLOSED}),
    TaskState.LIVE: frozenset({TaskState.CLOSED}),
    TaskState.CLOSED: frozenset(),
}


class Task:
    """One owned partition. `committed`: the group's last commit of it, None if there is none."""

    def __init__(self, fold: Fold, disk: Disk, committed: Commit | None, shared: Shared | None = None) -> None:
        self.fold = fold
        self.disk = disk
        self.shared = shared
        self.committed = committed
        self.state = TaskState.LOADED
        # Records at or after the committed offsets, read while another input still replays.
        self.held: list[Records] = []
        # The input whose reading is paused until the other one catches up in event time.
        self.paused: str | None = None
        self.silence = Silence()
        # When its last checkpoint was written, by the worker's clock.
        self.checkpointed_s = float("-inf")

    def enter(self, state: TaskState) -> None:
        """Takes one step. Raises BrokenInvariant for one that `STEPS` does not allow."""
        if state not in STEPS[self.state]:
            raise BrokenInvariant(f"a task cannot become {state.value} when it is {self.state.value}")
        self.state = state

    @property
    def live(self) -> bool:
        """Whether its outputs are written."""
        return self.state is TaskState.LIVE

    def replayed(self) -> bool:
        """Whether every input has reached its committed offset."""
        positions = self.fold.positions()
        return self.committed is None or all(positions[log] >= end for log, end in self.committed.offsets.items())

    def replay(self, records: Records) -> int:
        """Folds in records below the committed offset without outputs, holds the rest. Returns how many it folded."""
        end = self.committed.offsets[records.log] if self.committed else 0
        below = bisect_left(records.offsets, end)
        if below:
            self.fold.step(records.slice(0, below))
        if below < len(records):
            self.held.append(records.slice(below, len(records)))
        return below

    def close(self) -> None:
        """Frees what the fold and its disk hold."""
        self.enter(TaskState.CLOSED)
        if self.shared is not None:
            self.shared.close()
        self.fold.close()
        self.disk.close()

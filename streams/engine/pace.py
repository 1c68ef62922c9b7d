"""How often and how much a runner works at a time, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how much. Commits are frequent: a read-committed reader waits for open transactions.

    A poll waits a third of `commit_s`, so that a quiet input delays no commit.
    """

    commit_s: float = 0.1
    report_s: float = 1.0
    checkpoint_s: float = 15.0
    idle_s: float = 5.0
    # 0: inputs that are all silent close nothing.
    close_idle_s: float = 0.0
    poll_records: int = 10_000
    # What the state of all tasks may take; 0: no bound.
    state_bytes: int = 0
    # Outputs of one transaction: 200,000 take about a second, far below its timeout of 15 s.
    transaction_outs: int = 200_000

    @property
    def poll_wait_s(self) -> float:
        """How long a poll waits for records: never so long that a stop would be late."""
        return min(0.033, self.commit_s / 3)


@dataclass
class RunnerProgress:
    """What the shell shows of a runner; counts since start."""

    records: int = 0
    replayed: int = 0
    outs: int = 0
    commits: int = 0
    checkpoints: int = 0
    recoveries: int = 0
    last_commit_s: float = 0.0
    last_checkpoint_s: float = 0.0
    commit_took_s: float = 0.0
    tasks: dict[int, str] = field(default_factory=dict)

"""How fast a join worker reads what is in the topics: in a process of its own, from ready to the last checkpoint."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, TypeVar

from schemas.totals import Ledger
from streams.cli.bench.reporting import print_progress
from streams.join.fold import JoinFold
from streams.kafka.cluster import Cluster
from streams.worker.runners import JoinSettings, join_runner

T = TypeVar("T")


class JoinSpeed(NamedTuple):
    """Seconds until the checkpoint that follows the commit of the last record; of the process, the CPU time meanwhile,
    and resident memory in MB at its highest, 0 on systems without /proc; and at the end how many impressions are open,
    and how many clicks were joined.
    """

    took_s: float
    cpu_s: float
    peak_mb: float
    open: int
    joined: int


def in_own_process(measure: Callable[..., T], *arguments: object) -> T:
    """What the function returns in a new process: no earlier round has shaped its memory or its garbage collection."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def join_speed(cluster: Cluster, state_dir: Path, events: int) -> JoinSpeed:
    """Joins so many events. Time counts from when all partitions are live, before the first record is polled."""
    settings = JoinSettings(cluster=cluster, state_dir=state_dir, group=f"bench-{uuid.uuid4().hex[:8]}")
    started_s = started_cpu_s = 0.0
    ready, ledgers = False, list[Ledger]()

    with join_runner(settings, print_progress) as runner:

        def stopped() -> bool:
            nonlocal started_s, started_cpu_s, ready
            if not ready and not runner.progress.records:
                started_s, started_cpu_s = time.monotonic(), time.process_time()
                ready = runner.ready()
            folds = runner.folds().values()
            # Not `progress.records`: after a lost transaction records are replayed, and those do not count there.
            done = sum(sum(fold.positions().values()) for fold in folds) >= events
            if done:
                ledgers[:] = [fold.ledger() for fold in folds if isinstance(fold, JoinFold)]
            return done

        runner.run(stopped)
        took_s = runner.progress.last_checkpoint_s - started_s
        cpu_s = time.process_time() - started_cpu_s
        joined = sum(each.billable + each.repeat for each in ledgers)
        return JoinSpeed(took_s, cpu_s, memory_mb("self")[1], sum(each.open for each in ledgers), joined)


def memory_mb(pid: int | str) -> tuple[float, float]:
    """Resident memory of a process in MB, now and at its highest; 0 on systems without /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0, 0.0
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) / 1e3, int(lines["VmHWM"].split()[0]) / 1e3


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far; 0 when unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

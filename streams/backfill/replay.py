"""Some partitions of a backfill, replayed by live work's own folds and runner until nothing is left of the range."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from online_models.learner import Learner
from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS
from schemas.events import MAX_TS_MS
from schemas.records import Out
from schemas.totals import MINUTE_MS
from streams.backfill.log import ReplayLog
from streams.backfill.output import RunWriter
from streams.backfill.ownership import OwningFold, finished
from streams.backfill.plan import Plan
from streams.engine.fold import Fold
from streams.engine.ports import Disk
from streams.engine.runner import Pace, Runner
from streams.join.fold import JoinFold
from streams.kafka.cluster import Cluster
from streams.learn.fold import LearnFold
from streams.state.disk import Folder
from streams.warehouse.client import Warehouse
from streams.worker.memory import collect_rarely
from streams.worker.runners import SystemClock

# Nobody waits for a replay's transaction, and ClickHouse likes large inserts.
_PACE: Final = Pace(commit_s=1.0, report_s=3.0, checkpoint_s=10.0, idle_s=float("inf"), transaction_outs=400_000)
# What a learner puts out beside metrics, live work alone may publish.
_WRITTEN: Final = ("totals", "outcomes", "rejects", "ledger", "model_metrics")


class Owning(msgspec.Struct, frozen=True):
    """The minutes one partition owns, [first_ms, end_ms), and those it put anything out for; see `OwningFold`."""

    first_ms: int
    end_ms: int
    lowest_ms: int
    highest_ms: int


class Passed(msgspec.Struct, frozen=True):
    """How far a process is: records read since it started, and left to read at most."""

    records: int
    left: int


def replay(
    plan: Plan,
    cluster: Cluster,
    warehouse: Warehouse,
    folder: Path,
    partitions: Iterable[int],
    *,
    stop: threading.Event,
    tell: Callable[[Passed], None],
    warn: Callable[[str], None],
) -> dict[int, Owning] | None:
    """Replays these partitions; None when `stop` was set before they were done. Goes on where it was left."""
    partitions = list(partitions)
    names = {role: cluster.topic(role) for role in plan.spans[partitions[0]]}
    folds: dict[int, OwningFold] = {}

    def make(partition: int) -> tuple[Fold, Disk]:
        disk = Folder(folder / str(partition))
        if plan.kind == "models":
            return LearnFold(Learner(plan.model, shard=partition, out=Out)), disk
        joined = JoinFold(
            plan.bounds,
            disk,
            partition=partition,
            shards=plan.shards,
            dimensions=plan.dimensions,
            names=names,
            digest=plan.digest,
        )
        spans = plan.spans[partition]
        folds[partition] = OwningFold(joined, plan.bounds, spans, names=names, complete=plan.complete)
        return folds[partition], disk

    with closing(RunWriter(warehouse, plan.run, stop)) as writer:
        log = ReplayLog(
            cluster,
            tuple(names),
            begins={at: {role: span.begin.offset for role, span in plan.spans[at].items()} for at in partitions},
            ends={at: plan.ends[at] for at in partitions},
            folder=folder,
            write=lambda outs: writer.write([out for out in outs if out.topic in _WRITTEN]),
            side_log="seals" if plan.kind == "join" else None,
        )
        runner = Runner(log, SystemClock(), make, _PACE, warn)
        collect_rarely()

        def left() -> int:
            return sum(sum(runner.lag(at).values()) for at in partitions)

        def stopped() -> bool:
            tell(Passed(runner.progress.records + runner.progress.replayed, left()))
            if stop.is_set():
                return True
            if plan.complete or not runner.ready():
                return False
            done = [finished(folds[at], log.ends(at)) for at in partitions]
            return all(done)

        runner.run(stopped, ended=lambda: plan.complete)
    if stop.is_set():
        return None
    return {
        at: Owning(one.first_ms, one.end_ms, one.owned.lowest_ms, one.owned.highest_ms) for at, one in folds.items()
    }


def owned_span(found: Iterable[Owning]) -> tuple[int, int]:
    """The minutes that every partition owns, [from, to); (0, 0) when there are none.

    A side that no partition bounds, as of a log read from its first record or to its last, ends with what was put out.
    """
    parts = list(found)
    first_ms = max((one.first_ms for one in parts), default=NO_BOUND_MS)
    end_ms = min((one.end_ms for one in parts), default=NO_BOUND_MS)
    if first_ms == NO_BOUND_MS:
        first_ms = min((one.lowest_ms for one in parts), default=END_OF_TIME_MS)
    if end_ms > MAX_TS_MS:
        end_ms = max(one.highest_ms for one in parts) + MINUTE_MS
    return (first_ms, end_ms) if first_ms < end_ms else (0, 0)

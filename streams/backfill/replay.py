"""Replays some partitions of a backfill to the end of the range, with the folds and the runner of live work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS
from schemas.events import MAX_TS_MS
from schemas.records import Records
from schemas.totals import MINUTE_MS
from streams.backfill.log import ReplayLog
from streams.backfill.mending import Mending
from streams.backfill.output import RunWriter
from streams.backfill.ownership import OwningFold, finished
from streams.backfill.plan import BackfillPlan
from streams.engine.fold import Fold
from streams.engine.pace import Pace
from streams.engine.ports import Disk
from streams.engine.runner import Runner
from streams.kafka.cluster import Cluster
from streams.learn.fold import LearnFold
from streams.state.disk import Folder
from streams.warehouse.client import Warehouse
from streams.worker.input_maps import input_maps
from streams.worker.memory import collect_rarely
from streams.worker.runners import SystemClock

# Longer than in live work: nobody waits for these commits, and large inserts cost ClickHouse less. Never idle: a replay
# writes no seals.
_PACE: Final = Pace(commit_s=1.0, report_s=3.0, checkpoint_s=10.0, idle_s=float("inf"), transaction_outs=400_000)
# Not `models`: only live work publishes a model.
_WRITTEN: Final = ("totals", "outcomes", "rejects", "ledger", "model_metrics")


def _as_it_is(records: Records) -> Records:
    return records


class OwnedMinutes(msgspec.Struct, frozen=True):
    """The minutes that one partition owns, [first_ms, end_ms), and the first and last minute it wrote outputs of."""

    first_ms: int
    end_ms: int
    lowest_written_ms: int
    highest_written_ms: int


class ReplayProgress(msgspec.Struct, frozen=True):
    """How many records were read since this start, and how many are left to read at most."""

    records: int
    left: int


def replay(
    plan: BackfillPlan,
    cluster: Cluster,
    warehouse: Warehouse,
    folder: Path,
    partitions: Iterable[int],
    *,
    stop: threading.Event,
    report: Callable[[ReplayProgress], None],
    warn: Callable[[str], None],
) -> dict[int, OwnedMinutes] | None:
    """Replays these partitions, from the last commit of an earlier start. None when `stop` was set before the end.

    `report` is called in each turn. A learner owns no minutes: then the answer is empty.
    """
    partitions = list(partitions)
    names = {role: cluster.topic(role) for role in plan.ranges[partitions[0]]}
    folds: dict[int, OwningFold] = {}
    maps = input_maps(plan.input_map_text, plan.input_map_name)

    def make(partition: int) -> tuple[Fold, Disk]:
        disk = Folder(folder / str(partition))
        if plan.kind == "models":
            return LearnFold(plan.model, shard=partition), disk
        folds[partition] = OwningFold(
            plan.bounds,
            disk,
            plan.ranges[partition],
            complete=plan.complete,
            partition=partition,
            shards=plan.shards,
            dimensions=plan.dimensions,
            extra=plan.extra,
            names=names,
            digest=plan.digest,
            maps=maps,
        )
        return folds[partition], disk

    mending = Mending(plan.mapping_text, plan.mapping_name, plan.mended) if plan.mapping_text else None
    with closing(RunWriter(warehouse, plan.run, stop)) as writer:
        log = ReplayLog(
            cluster,
            tuple(names),
            starts={
                partition: {role: input_range.read_from.offset for role, input_range in plan.ranges[partition].items()}
                for partition in partitions
            },
            ends={partition: plan.ends[partition] for partition in partitions},
            folder=folder,
            write=lambda outs: writer.write([out for out in outs if out.topic in _WRITTEN]),
            side_log="seals" if plan.kind == "join" else None,
            mend=mending if mending is not None else _as_it_is,
            with_headers=tuple(names) if mending is not None and mending.with_headers else (),
        )
        runner = Runner(log, SystemClock(), make, _PACE, warn)
        collect_rarely()

        def left() -> int:
            return sum(sum(runner.lag(partition).values()) for partition in partitions)

        def stopped() -> bool:
            report(ReplayProgress(runner.progress.records + runner.progress.replayed, left()))
            if stop.is_set():
                return True
            if plan.complete or not runner.ready():
                return False
            # Not lazily: each fold has to learn that its inputs have ended.
            finished_folds = [finished(folds[partition], log.ends(partition)) for partition in partitions]
            return all(finished_folds)

        runner.run(stopped, ended=lambda: plan.complete)
    if stop.is_set():
        return None
    return {
        partition: OwnedMinutes(fold.first_ms, fold.end_ms, fold.owned.lowest_written_ms, fold.owned.highest_written_ms)
        for partition, fold in folds.items()
    }


def owned_by_all(partitions: Iterable[OwnedMinutes]) -> tuple[int, int]:
    """The minutes that every partition owns, [from, to), ms; (0, 0) when there are none.

    Partitions that were read from the first record have no lower bound. If none has one, the minutes begin with the
    first that was written. In the same way they end with the last that was written.
    """
    owned = list(partitions)
    first_ms = max((part.first_ms for part in owned), default=NO_BOUND_MS)
    end_ms = min((part.end_ms for part in owned), default=NO_BOUND_MS)
    if first_ms == NO_BOUND_MS:
        first_ms = min((part.lowest_written_ms for part in owned), default=END_OF_TIME_MS)
    if end_ms > MAX_TS_MS:
        end_ms = max(part.highest_written_ms for part in owned) + MINUTE_MS
    return (first_ms, end_ms) if first_ms < end_ms else (0, 0)

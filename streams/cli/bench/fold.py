"""`clickfold bench fold`: CPU time of the join alone, without Kafka: where each microsecond of an event goes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final
from zlib import crc32

import numpy as np
import orjson
import typer

from schemas.bounds import JoinBounds
from schemas.compiled import load_kernels
from schemas.records import Records
from streams.cli.bench.reporting import print_nothing, print_progress
from streams.inputs.traffic import Events, Traffic
from streams.join.fold import JoinFold
from streams.kernels.slices import Numbers, Slices
from streams.state.disk import Folder
from streams.worker.memory import collect_rarely, return_freed

# A worker that folds 250,000 events a second sweeps about as often as it commits, and reports once a second.
_SWEEP_EVENTS: Final = 40_000
_REPORT_EVENTS: Final = 250_000
_CHECKPOINT_EVENTS: Final = 1_000_000
_SWEEP_LIMIT: Final = 12_500
_REPORT_LIMIT: Final = 50_000
_END_MS: Final = 1_790_000_000_000
_PHASES: Final = ("impressions", "clicks", "sweep", "report", "checkpoint")


def fold(
    impressions: Annotated[int, typer.Option(min=1_000, help="Impressions to generate; 1 % are clicked.")] = 1_000_000,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the inputs.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="How often it is measured.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Time the folds of the join in memory, without Kafka: microseconds of CPU for one event, by phase."""
    say = print_nothing if json else print_progress
    return_freed()
    load_kernels()
    say(f"making {impressions:,} impressions …")
    batches = list(made_up(impressions, partitions))
    events = sum(map(len, batches))
    collect_rarely()
    measured: list[dict[str, float]] = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder:
            measured.append(_by_phase(batches, Path(folder), partitions))
        say(f"round {number + 1}: {_sentence(measured[-1])}")
    median = {phase: round(statistics.median(each[phase] for each in measured), 3) for phase in measured[0]}
    if json:
        typer.echo(orjson.dumps({"cpu_us_per_event": median, "events": events, "rounds": rounds}))
    else:
        say(f"median of {rounds}: {_sentence(median)}")


def made_up(impressions: int, partitions: int) -> Iterator[Records]:
    """Generated traffic as the batches a worker's reader makes, both logs in the order of arrival."""
    next_offsets: dict[tuple[str, int], int] = {}
    for shown, clicks in Traffic(impressions=impressions, seed=7, end_ms=_END_MS).batches():
        for log, events in (("impressions", shown), ("clicks", clicks)):
            for partition, rows in enumerate(_by_partition(events, partitions)):
                if rows:
                    first = next_offsets.get((log, partition), 0)
                    next_offsets[log, partition] = first + len(rows)
                    yield Records(
                        log,
                        partition,
                        Numbers(np.arange(first, first + len(rows))),
                        Numbers(np.array([events.ts_ms[row] for row in rows], np.int64)),
                        Slices.of([events.keys[row] for row in rows]),
                        Slices.of([events.values[row] for row in rows]),
                    )


def _by_partition(events: Events, partitions: int) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(partitions)]
    for row, key in enumerate(events.keys):
        rows[crc32(key) % partitions].append(row)
    return rows


def _by_phase(batches: Sequence[Records], folder: Path, partitions: int) -> dict[str, float]:
    """Microseconds of this thread's CPU for one event, in all and by phase."""
    folds = [JoinFold(JoinBounds(), Folder(folder / str(number)), partition=number) for number in range(partitions)]
    for each in folds:
        each.begin(None, offsets={"impressions": 0, "clicks": 0}, epoch=1)
    spent_s = dict.fromkeys(_PHASES, 0.0)
    events = 0
    for records in batches:
        started_s = time.thread_time()
        folds[records.partition].step(records)
        spent_s[records.log] += time.thread_time() - started_s
        before, events = events, events + len(records)
        for phase, interval in (
            ("sweep", _SWEEP_EVENTS),
            ("report", _REPORT_EVENTS),
            ("checkpoint", _CHECKPOINT_EVENTS),
        ):
            if before // interval < events // interval:
                spent_s[phase] += _spent_s(phase, folds)
    while any(each.can_sweep() or each.state.changed for each in folds):
        for phase in ("sweep", "report"):
            spent_s[phase] += _spent_s(phase, folds)
    for each in folds:
        each.close()
    return {"all": sum(spent_s.values()) / events * 1e6, **{name: spent_s[name] / events * 1e6 for name in _PHASES}}


def _spent_s(phase: str, folds: Sequence[JoinFold]) -> float:
    started_s = time.thread_time()
    for each in folds:
        if phase == "sweep":
            each.sweep(_SWEEP_LIMIT)
        elif phase == "report":
            each.report(_REPORT_LIMIT)
            each.committed()
        else:
            each.snapshot()
            each.snapshot_kept()
    return time.thread_time() - started_s


def _sentence(spent_us: dict[str, float]) -> str:
    parts = ", ".join(f"{phase} {spent_us[phase]:.2f}" for phase in _PHASES)
    return f"{spent_us['all']:.2f} µs of CPU an event: {parts}"

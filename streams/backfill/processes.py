"""Replays a backfill in several processes: each replays some partitions and reports its progress to the parent."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

import msgspec

from schemas.errors import ClickfoldError
from streams.backfill.plan import BackfillPlan, split_partitions
from streams.backfill.replay import OwnedMinutes, ReplayProgress, replay
from streams.kafka.cluster import Cluster
from streams.warehouse.client import Warehouse

_PROGRESS_EVERY_S: Final = 0.2
# A last commit and checkpoint of a large state take some seconds; a minute is far above.
_EXIT_TIMEOUT_S: Final = 60.0


class WarningLine(msgspec.Struct, frozen=True):
    """A line for the user. The process goes on."""

    text: str


class Ended(msgspec.Struct, frozen=True):
    """The last message of a process: `owned` by partition when it is done, None when it was stopped, or its failure."""

    owned: dict[int, OwnedMinutes] | None = None
    failure: str = ""


def replay_all(
    plan: BackfillPlan,
    cluster: Cluster,
    warehouse: Warehouse,
    folder: Path,
    *,
    processes: int,
    stopped: Callable[[], bool],
    show: Callable[[ReplayProgress], None],
    warn: Callable[[str], None],
) -> dict[int, OwnedMinutes] | None:
    """By partition, the minutes it owns. None when `stopped` was true before all was done.

    Raises ClickfoldError with the sentence of the first process that failed. The others commit and exit.
    """
    context = get_context("spawn")
    children: dict[Connection, SpawnProcess] = {}
    for partitions in split_partitions(sorted(plan.ranges), processes):
        parent_end, child_end = context.Pipe()
        process = context.Process(target=_child, args=(child_end, plan, cluster, warehouse, folder, partitions))
        # Ctrl-C reaches all processes of the terminal. A child inherits that it ignores it, before its first import.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.start()
        signal.signal(signal.SIGINT, handler)
        child_end.close()
        children[parent_end] = process
    try:
        return _follow(children, stopped=stopped, show=show, warn=warn)
    finally:
        for parent_end in children:
            parent_end.close()
        for process in children.values():
            # The closed pipe makes the child stop.
            process.join(_EXIT_TIMEOUT_S)
            process.kill()


def _follow(
    children: dict[Connection, SpawnProcess],
    *,
    stopped: Callable[[], bool],
    show: Callable[[ReplayProgress], None],
    warn: Callable[[str], None],
) -> dict[int, OwnedMinutes] | None:
    progress: dict[Connection, ReplayProgress] = {}
    owned: dict[int, OwnedMinutes] = {}
    running = dict(children)
    stopping = False
    while running:
        if stopped() and not stopping:
            stopping = True
            for parent_end in running:
                parent_end.send(None)
        ready = connection.wait(list(running), _PROGRESS_EVERY_S)
        for parent_end in [pipe for pipe in running if pipe in ready]:
            try:
                message = parent_end.recv()
            except EOFError as error:
                running[parent_end].join(_EXIT_TIMEOUT_S)
                raise ClickfoldError(
                    f"a process of the backfill died (exit code {running[parent_end].exitcode}); the same command "
                    "continues the run"
                ) from error
            if isinstance(message, ReplayProgress):
                progress[parent_end] = message
            elif isinstance(message, WarningLine):
                warn(message.text)
            else:
                del running[parent_end]
                if message.failure:
                    raise ClickfoldError(f"{message.failure}; the same command continues the run from its last commit")
                stopping |= message.owned is None
                owned.update(message.owned or {})
        if len(progress) == len(children):
            records, left = (
                sum(column) for column in zip(*map(msgspec.structs.astuple, progress.values()), strict=True)
            )
            show(ReplayProgress(records, left))
    return None if stopping else owned


def _child(
    pipe: Connection,
    plan: BackfillPlan,
    cluster: Cluster,
    warehouse: Warehouse,
    folder: Path,
    partitions: Sequence[int],
) -> None:
    stop = threading.Event()
    threading.Thread(target=_wait_for_stop, args=(pipe, stop), daemon=True).start()
    last_sent_s = 0.0

    def report(progress: ReplayProgress) -> None:
        nonlocal last_sent_s
        if time.monotonic() - last_sent_s >= _PROGRESS_EVERY_S:
            last_sent_s = time.monotonic()
            _send(pipe, progress)

    try:
        owned = replay(
            plan,
            cluster,
            warehouse,
            folder,
            partitions,
            stop=stop,
            report=report,
            warn=lambda text: _send(pipe, WarningLine(text)),
        )
        _send(pipe, Ended(owned))
    except ClickfoldError as error:
        _send(pipe, Ended(failure=str(error)))


def _wait_for_stop(pipe: Connection, stop: threading.Event) -> None:
    """Sets `stop` at the first message from the parent, or when the pipe is closed."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    stop.set()


def _send(pipe: Connection, message: ReplayProgress | WarningLine | Ended) -> None:
    try:
        pipe.send(message)
    except OSError:
        # The parent is gone, and `_wait_for_stop` stops this process.
        return

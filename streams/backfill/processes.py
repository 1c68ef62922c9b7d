"""A backfill spread over processes: each replays some partitions and reports its progress to the parent."""

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
from streams.backfill.plan import BackfillPlan, shared_out
from streams.backfill.replay import OwnedMinutes, ReplayProgress, replay
from streams.kafka.cluster import Cluster
from streams.warehouse.client import Warehouse

_PROGRESS_EVERY_S: Final = 0.2
# A last commit and checkpoint of a large state take some seconds.
_LEAVE_S: Final = 60.0


class Warned(msgspec.Struct, frozen=True):
    """A line for the user; the work goes on."""

    text: str


class Ended(msgspec.Struct, frozen=True):
    """A process has ended: done (`owned` by partition), stopped (None), or failed with a sentence."""

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
    """Every partition's owned minutes; None when `stopped` ended the work before it was done.

    Raises ClickfoldError with the sentence of the first process that failed; the others commit and leave.
    """
    context = get_context("spawn")
    children: dict[Connection, SpawnProcess] = {}
    for partitions in shared_out(sorted(plan.ranges), processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=_child, args=(theirs, plan, cluster, warehouse, folder, partitions))
        # Ctrl-C reaches every process of the terminal, also a child that still imports. Only the parent acts on it.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.start()
        signal.signal(signal.SIGINT, handler)
        theirs.close()
        children[ours] = process
    try:
        return _follow(children, stopped=stopped, show=show, warn=warn)
    finally:
        for ours in children:
            ours.close()
        for process in children.values():
            # A closed pipe makes a child stop.
            process.join(_LEAVE_S)
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
    waiting = dict(children)
    telling_to_stop = False
    while waiting:
        if stopped() and not telling_to_stop:
            telling_to_stop = True
            for ours in waiting:
                ours.send(None)
        ready = connection.wait(list(waiting), _PROGRESS_EVERY_S)
        for ours in [each for each in waiting if each in ready]:
            try:
                message = ours.recv()
            except EOFError as error:
                waiting[ours].join(_LEAVE_S)
                raise ClickfoldError(
                    f"a process of the backfill died (exit code {waiting[ours].exitcode}): the same command goes on"
                ) from error
            if isinstance(message, ReplayProgress):
                progress[ours] = message
            elif isinstance(message, Warned):
                warn(message.text)
            else:
                del waiting[ours]
                if message.failure:
                    raise ClickfoldError(f"{message.failure}; the same command goes on from what is committed")
                telling_to_stop |= message.owned is None
                owned.update(message.owned or {})
        if len(progress) == len(children):
            records, left = (
                sum(column) for column in zip(*map(msgspec.structs.astuple, progress.values()), strict=True)
            )
            show(ReplayProgress(records, left))
    return None if telling_to_stop else owned


def _child(
    pipe: Connection,
    plan: BackfillPlan,
    cluster: Cluster,
    warehouse: Warehouse,
    folder: Path,
    partitions: Sequence[int],
) -> None:
    stop = threading.Event()
    threading.Thread(target=_listen, args=(pipe, stop), daemon=True).start()
    sent_s = 0.0

    def tell(progress: ReplayProgress) -> None:
        nonlocal sent_s
        if time.monotonic() - sent_s >= _PROGRESS_EVERY_S:
            sent_s = time.monotonic()
            _send(pipe, progress)

    try:
        owned = replay(
            plan,
            cluster,
            warehouse,
            folder,
            partitions,
            stop=stop,
            tell=tell,
            warn=lambda text: _send(pipe, Warned(text)),
        )
        _send(pipe, Ended(owned))
    except ClickfoldError as error:
        _send(pipe, Ended(failure=str(error)))


def _listen(pipe: Connection, stop: threading.Event) -> None:
    """Any message, or a closed pipe, means stop."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    stop.set()


def _send(pipe: Connection, message: ReplayProgress | Warned | Ended) -> None:
    try:
        pipe.send(message)
    except OSError:
        # The parent is gone; `_listen` stops the work.
        return

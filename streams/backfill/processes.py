"""A backfill spread over processes: each replays some partitions, the parent hears how far they are."""

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
from streams.backfill.plan import Plan, shared_out
from streams.backfill.replay import Owning, Passed, replay
from streams.kafka.cluster import Cluster
from streams.warehouse.client import Warehouse

_TELL_S: Final = 0.2
# A last commit and checkpoint of a large state take some seconds.
_LEAVE_S: Final = 60.0


class Warned(msgspec.Struct, frozen=True):
    """Something to be said that does not end the work."""

    text: str


class Ended(msgspec.Struct, frozen=True):
    """A process is through: with what it owns by partition, stopped (None), or failed with a sentence."""

    owned: dict[int, Owning] | None = None
    failure: str = ""


class Progress(msgspec.Struct, frozen=True):
    """All processes together: records read since the start, and left to read at most."""

    records: int
    left: int


def replay_all(
    plan: Plan,
    cluster: Cluster,
    warehouse: Warehouse,
    folder: Path,
    *,
    processes: int,
    stopped: Callable[[], bool],
    show: Callable[[Progress], None],
    warn: Callable[[str], None],
) -> dict[int, Owning] | None:
    """Every partition's owned minutes; None when `stopped` ended the work before it was done.

    Raises ClickfoldError with the sentence of the first process that failed; the others leave in order then.
    """
    context = get_context("spawn")
    children: dict[Connection, SpawnProcess] = {}
    for partitions in shared_out(sorted(plan.spans), processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=_child, args=(theirs, plan, cluster, warehouse, folder, partitions))
        # A terminal's Ctrl-C reaches the whole group, also a child that still imports; the parent alone decides.
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.start()
        signal.signal(signal.SIGINT, heard)
        theirs.close()
        children[ours] = process
    try:
        return _follow(children, stopped=stopped, show=show, warn=warn)
    finally:
        for ours in children:
            ours.close()
        for process in children.values():
            # Its end of a closed pipe tells a child to stop.
            process.join(_LEAVE_S)
            process.kill()


def _follow(
    children: dict[Connection, SpawnProcess],
    *,
    stopped: Callable[[], bool],
    show: Callable[[Progress], None],
    warn: Callable[[str], None],
) -> dict[int, Owning] | None:
    passed: dict[Connection, Passed] = {}
    owned: dict[int, Owning] = {}
    waiting = dict(children)
    telling_to_stop = False
    while waiting:
        if stopped() and not telling_to_stop:
            telling_to_stop = True
            for ours in waiting:
                ours.send(None)
        ready = connection.wait(list(waiting), _TELL_S)
        for ours in [one for one in waiting if one in ready]:
            try:
                told = ours.recv()
            except EOFError as error:
                waiting[ours].join(_LEAVE_S)
                raise ClickfoldError(
                    f"a process of the backfill died (exit code {waiting[ours].exitcode}): the same command goes on"
                ) from error
            if isinstance(told, Passed):
                passed[ours] = told
            elif isinstance(told, Warned):
                warn(told.text)
            else:
                del waiting[ours]
                if told.failure:
                    raise ClickfoldError(f"{told.failure}; the same command goes on from what is committed")
                telling_to_stop |= told.owned is None
                owned.update(told.owned or {})
        if len(passed) == len(children):
            show(Progress(sum(one.records for one in passed.values()), sum(one.left for one in passed.values())))
    return None if telling_to_stop else owned


def _child(
    pipe: Connection,
    plan: Plan,
    cluster: Cluster,
    warehouse: Warehouse,
    folder: Path,
    partitions: Sequence[int],
) -> None:
    stop = threading.Event()
    threading.Thread(target=_listen, args=(pipe, stop), daemon=True).start()
    told_s = 0.0

    def tell(passed: Passed) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _TELL_S:
            told_s = time.monotonic()
            _send(pipe, passed)

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
    """Whatever comes, or nobody left to say anything, means stop."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    stop.set()


def _send(pipe: Connection, told: Passed | Warned | Ended) -> None:
    try:
        pipe.send(told)
    except OSError:
        # The parent is gone; `_listen` has noticed too.
        return

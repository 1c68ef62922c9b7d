"""How a worker's process goes on and ends: signals, and new tries after a passing fault."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import structlog

from schemas.errors import ClickfoldError, TaskLost, Transient

# A worker that fails to come back this often in a row stops, so that whoever supervises it can see.
MOST_TRIES = 20


def end_on_signal() -> threading.Event:
    """Set by SIGUSR1: the inputs hold all there will ever be. The worker reads them to the end, decides all, leaves."""
    ended = threading.Event()
    signal.signal(signal.SIGUSR1, lambda _number, _frame: ended.set())
    return ended


def stop_on_signals() -> threading.Event:
    """Set by SIGTERM and SIGINT: drain, commit, checkpoint, leave. A second signal ends the process at once."""
    stop = threading.Event()

    def told(number: int, _: object) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.set()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    return stop


def persistently(
    work: Callable[[], None],
    stop: threading.Event,
    log: structlog.stdlib.BoundLogger,
    *,
    advanced: Callable[[], bool],
) -> None:
    """Does `work` until it returns or `stop` is set, and again after a passing fault.

    Raises ClickfoldError after too many faults in a row between which nothing `advanced`.
    """
    tries = 0
    while not stop.is_set():
        try:
            work()
        except (Transient, TaskLost) as error:
            tries = 1 if advanced() else tries + 1
            if tries >= MOST_TRIES:
                raise ClickfoldError(f"gave up after {tries} tries in a row: {error}") from error
            wait_s = min(30.0, getattr(error, "retry_after_s", 1.0) * 2 ** min(tries - 1, 5))
            log.warning("trying again", after_s=wait_s, why=str(error))
            stop.wait(wait_s)
        else:
            return

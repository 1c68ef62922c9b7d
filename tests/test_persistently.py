"""A worker begins again after passing faults, ends after too many in a row without progress, and stops on signals."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
import structlog

from schemas.errors import ClickfoldError, Fenced, SettingsError, SlotTaken, Transient
from streams.worker.lifecycle import MOST_TRIES, persistently


def failing(times: int, done: list[int]) -> Callable[[], None]:
    """Work that fails so often before it succeeds, counted in `done`."""

    def work() -> None:
        done.append(1)
        if len(done) <= times:
            raise Transient("away", retry_after_s=0.0)

    return work


def tried(times: int, *, advanced: bool) -> int:
    """How often such work was begun."""
    done: list[int] = []
    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    persistently(failing(times, done), threading.Event(), log, advanced=lambda: advanced)
    return len(done)


def test_work_is_begun_again_until_it_succeeds() -> None:
    assert tried(MOST_TRIES - 1, advanced=False) == MOST_TRIES


def test_too_many_faults_in_a_row_end_it() -> None:
    with pytest.raises(ClickfoldError, match=f"gave up after {MOST_TRIES} tries in a row: away"):
        tried(MOST_TRIES, advanced=False)


def test_faults_between_which_something_was_done_are_not_in_a_row() -> None:
    assert tried(3 * MOST_TRIES, advanced=True) == 3 * MOST_TRIES + 1


def test_what_someone_must_mend_is_not_tried_again() -> None:
    def work() -> None:
        raise SettingsError("wrong")

    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    with pytest.raises(SettingsError):
        persistently(work, threading.Event(), log, advanced=lambda: False)


def test_worker_that_is_fenced_a_second_time_within_a_minute_ends_though_it_advances() -> None:
    done: list[int] = []

    def work() -> None:
        done.append(1)
        assert len(done) < 5, "it goes on"
        raise Fenced("the group knows another member", retry_after_s=0.0)

    log: structlog.stdlib.BoundLogger = structlog.get_logger()
    with pytest.raises(SlotTaken, match="fenced twice within a minute: another worker has its slot as well"):
        persistently(work, threading.Event(), log, advanced=lambda: True)
    assert len(done) == 2


SIGNALLED = """
import signal
from streams.worker.lifecycle import Signals
signals = Signals()
signals.catch()
signal.raise_signal(signal.SIGUSR1)
print(signals.ended.is_set(), signals.stop.is_set())
signal.raise_signal(signal.SIGTERM)
print(signals.stop.is_set(), flush=True)
signal.raise_signal(signal.SIGINT)
print("still here")
"""


def test_a_signal_asks_to_stop_and_a_second_one_ends_the_process() -> None:
    ended = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, check=False)
    assert (ended.stdout.split(), ended.returncode) == (["True", "False", "True"], -signal.SIGINT)

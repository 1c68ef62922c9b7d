"""When a worker's loop counts as stuck, what ends its process then, and counters that never fall."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import structlog
from prometheus_client.core import CounterMetricFamily, Metric

from streams.worker.heartbeat import QUIET_S, STUCK_EXIT_CODE, STUCK_S, Heartbeat, watched
from streams.worker.observe import Collected
from tests.waiting import eventually


class Clock:
    """A clock that stands until it is told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_loop_is_stuck_at_the_bound_and_not_just_before_it() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock_s=clock)
    clock.now_s += STUCK_S - 0.001
    assert not heartbeat.stuck()
    clock.now_s += 0.001
    assert heartbeat.stuck()
    heartbeat.beat()
    assert not heartbeat.stuck()


def test_a_loop_that_waits_is_quiet_long_before_it_is_stuck() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock_s=clock)
    clock.now_s += QUIET_S - 0.001
    assert not heartbeat.quiet()
    clock.now_s += 0.001
    assert heartbeat.quiet()
    assert not heartbeat.stuck()


def test_of_two_loops_the_more_silent_one_counts() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock_s=lambda: clock.now_s)
    one, other = heartbeat.loops(2)
    clock.now_s += QUIET_S - 1
    one()
    clock.now_s += 1
    assert heartbeat.quiet()
    other()
    assert heartbeat.silent_s == 1
    clock.now_s += QUIET_S
    # Between two tries and after the process was frozen, none is silent.
    heartbeat.beat()
    assert heartbeat.silent_s == 0


def test_a_process_whose_loop_is_stuck_is_ended_with_a_code_of_its_own() -> None:
    ended: list[int] = []
    with watched(Heartbeat(stuck_s=0.2), structlog.get_logger(), end=ended.append):
        eventually(lambda: ended, equals=[STUCK_EXIT_CODE])


def test_a_process_whose_loop_turns_is_not_ended() -> None:
    ended: list[int] = []
    heartbeat, over = Heartbeat(stuck_s=0.4), threading.Event()
    with watched(heartbeat, structlog.get_logger(), end=ended.append):
        until_s = time.monotonic() + 3 * 0.4
        while time.monotonic() < until_s:
            heartbeat.beat()
            over.wait(0.01)
    assert ended == []


def collected(values: list[float], name: str) -> Iterator[float]:
    """What a page shows of a counter that has these values, one at each look."""
    left = iter(values)

    def collect() -> Iterator[Metric]:
        family = CounterMetricFamily(name, "help", labels=("partition",))
        family.add_metric(["0"], next(left))
        yield family

    page = Collected(collect, of_run=["of_run"])
    for _ in values:
        (family,) = page.collect()
        yield family.samples[0].value


def test_a_counter_that_begins_anew_goes_on_from_what_was_shown() -> None:
    assert list(collected([3, 5, 0, 2, 1, 4], "records")) == [3, 5, 5, 7, 8, 11]


def test_a_count_of_the_run_that_went_back_to_the_last_commit_is_not_added_twice() -> None:
    assert list(collected([3, 5, 4, 5, 6], "of_run")) == [3, 5, 5, 5, 6]

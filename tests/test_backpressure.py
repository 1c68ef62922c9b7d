"""State over its budget slows intake; it neither grows nor drops, and where slowing cannot help it says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from schemas.errors import SettingsError
from streams.engine.backpressure import Backpressure
from streams.engine.pace import Pace
from streams.engine.task import Task
from streams.join.fold import JoinFold
from streams.worker.memory import budget_bytes, limit_bytes
from tests.factories import click, impression
from tests.simulation.disk import SimulatedDisk
from tests.simulation.life import Life
from tests.simulation.log import SimulatedLog
from tests.sizes import small_sizes
from tests.strategies import BOUNDS, T0, columns


class Inputs(SimulatedLog):
    """Only what a Backpressure asks of a Log: ends, now and as of the last fetch, and which inputs are paused."""

    def __init__(self, ends: dict[str, int], fetched: dict[str, int] | None = None) -> None:
        self._ends = ends
        self._fetched = ends if fetched is None else fetched
        self.paused: set[str] = set()

    def ends(self, partition: int) -> dict[str, int]:
        return self._ends

    def cached_ends(self, partition: int) -> dict[str, int]:
        return self._fetched

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        self.paused |= set(logs)

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        self.paused -= set(logs)


def task_at(impressions_ms: int, clicks_ms: int) -> Task:
    """A task that has read one record of each input, so far into event time."""
    disk = SimulatedDisk()
    fold = JoinFold(BOUNDS, disk)
    fold.step(columns("impressions", [impression("i", T0 + impressions_ms)]))
    fold.step(columns("clicks", [click("k", "j", T0 + clicks_ms)]))
    while fold.can_sweep():
        fold.sweep(100)
    return Task(fold, disk, None)


CASES: Mapping[str, tuple[int, int, dict[str, int], int, set[str]]] = {
    # impressions at, clicks at, ends, budget in shares of the state, paused
    "half a window ahead is left alone": (50, 0, {"impressions": 9, "clicks": 9}, 2, set()),
    "more than half a window ahead waits": (51, 0, {"impressions": 9, "clicks": 9}, 2, {"impressions"}),
    "over the budget being ahead at all waits": (1, 0, {"impressions": 9, "clicks": 9}, 1, {"impressions"}),
    "over the budget clicks wait as well": (0, 1, {"impressions": 9, "clicks": 9}, 1, {"clicks"}),
    "what is ahead does not wait for an input without lag": (51, 0, {"impressions": 9, "clicks": 1}, 2, set()),
}


@pytest.mark.parametrize("fetched", [None, {}, {"impressions": 1, "clicks": 1}], ids=["all", "nothing", "an old end"])
@pytest.mark.parametrize(("impressions_ms", "clicks_ms", "ends", "share", "paused"), CASES.values(), ids=CASES.keys())
def test_input_that_is_ahead_waits(
    impressions_ms: int,
    clicks_ms: int,
    ends: dict[str, int],
    share: int,
    paused: set[str],
    fetched: dict[str, int] | None,
) -> None:
    """`fetched`: what the last fetch has told of the ends."""
    task, log = task_at(impressions_ms, clicks_ms), Inputs(ends, fetched)
    Backpressure(log, task.fold.state_bytes() * share - 1).adjust({0: task})
    assert log.paused == paused
    task.close()


def test_input_goes_on_once_the_other_has_caught_up() -> None:
    task, log = task_at(51, 0), Inputs({"impressions": 9, "clicks": 9})
    backpressure = Backpressure(log, 0)
    backpressure.adjust({0: task})
    task.fold.step(columns("clicks", [click("k2", "j", T0 + 1, offset=1)]))
    backpressure.adjust({0: task})
    assert log.paused == set()
    task.close()


def test_budget_that_slowing_cannot_keep_stops_the_worker_and_loses_nothing() -> None:
    life = Life(BOUNDS)
    for number in range(40):
        life.append("impressions", impression(f"i{number}", T0 + number, offset=number, country=f"c{number}"))
    pace = Pace(commit_s=0.1, report_s=0.2, checkpoint_s=0.5, idle_s=1e9, state_bytes=2_000)
    with small_sizes():
        with pytest.raises(SettingsError, match=r"over the budget of 0 MB: raise --state-budget"):
            life.run(60, pace)
        life.run(60, Pace(commit_s=0.1, report_s=0.2, checkpoint_s=0.5, idle_s=1e9, state_bytes=1 << 30))
    life.check()


@pytest.mark.parametrize(("text", "found"), [("1MiB", 1 << 20), ("4GiB", 4 << 30), ("500MB", 500_000_000)])
def test_budget_is_a_size(text: str, found: int) -> None:
    assert budget_bytes("--state-budget", text) == found


@pytest.mark.parametrize("text", ["", "4", "1KiB", "much", "-1GiB"])
def test_budget_that_is_none_names_the_option_and_a_remedy(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--state-budget is .*such as 4GiB"):
        budget_bytes("--state-budget", text)


def test_automatic_budget_leaves_memory_for_the_rest() -> None:
    assert 0 < budget_bytes("--state-budget", "auto") < limit_bytes()

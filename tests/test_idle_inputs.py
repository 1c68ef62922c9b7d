"""An input falls silent: what was decided for want of it holds for ever, live, for the batch truth and in a replay."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from schemas.records import Out
from schemas.seals import Seal
from streams.engine.pace import Pace
from streams.join.fold import JoinFold
from streams.verify.oracle import truth
from tests.factories import click, impression
from tests.judging import assert_agrees, decided_of
from tests.simulation.disk import SimulatedDisk
from tests.simulation.life import Life
from tests.sizes import small_sizes
from tests.strategies import BOUNDS, T0, columns

HOUR_MS = 3_600_000
PACE = Pace(commit_s=0.1, report_s=0.2, checkpoint_s=0.5, idle_s=2.0)


@pytest.fixture
def life() -> Life:
    """Clicks stop; impressions go on for an hour; then a click comes that belongs to one of them, long closed."""
    life = Life(BOUNDS)
    for number in range(3):
        show(life, number, T0 + number)
        press(life, number, f"i{number}", T0 + number + 5)
    with small_sizes():
        life.run(20, PACE)
        for number in range(3, 63):
            show(life, number, T0 + (number - 2) * HOUR_MS // 60)
        life.run(80, PACE)
        press(life, 3, "i5", T0 + 3 * HOUR_MS // 60 + 50)
        press(life, 4, "i62", T0 + HOUR_MS + 50)
        life.run(80, PACE)
    return life


def show(life: Life, number: int, ts: int) -> None:
    life.append("impressions", impression(f"i{number}", ts, offset=number))


def press(life: Life, number: int, impression_id: str, ts: int) -> None:
    life.append("clicks", click(f"k{number}", impression_id, ts, offset=number))


def test_impressions_close_though_clicks_have_stopped_for_an_hour(life: Life) -> None:
    unclicked = {one.impression_id for one in decided_of(life.broker.outputs()) if one.kind == "unclicked"}
    assert any(isinstance(seal, Seal) and seal.input == "clicks" for seal in life.seals())
    assert len(unclicked) > 40
    life.check()


def test_straggler_behind_a_seal_is_late_and_one_in_time_is_billed(life: Life) -> None:
    judged = truth([], life.broker.inputs["clicks", 0].records, BOUNDS, seals=life.seals(), ended=False).clicks
    assert judged.counts["late"] == 1
    assert {one.click_id for one in decided_of(life.broker.outputs()) if one.kind == "click"} == {
        "k0",
        "k1",
        "k2",
        "k4",
    }


@pytest.mark.parametrize("first", ["impressions", "clicks"])
def test_replay_over_the_silence_decides_the_same_in_whatever_order_it_reads(life: Life, first: str) -> None:
    logs = {log: life.broker.inputs[log, 0].records for log in ("impressions", "clicks")}
    judged = truth(logs["impressions"], logs["clicks"], BOUNDS, seals=life.seals(), ended=False)
    with small_sizes():
        fold = JoinFold(BOUNDS, SimulatedDisk())
        fold.begin(None, offsets={"impressions": 0, "clicks": 0}, epoch=1)
        fold.take_side_log(life.broker.side_log(0))
        outs: list[Out] = []
        for log in sorted(logs, key=lambda log: log != first):
            outs += fold.step(columns(log, logs[log]))
            while fold.can_sweep():
                outs += fold.sweep(5)
        outs += fold.report(10_000)
        fold.close()
    assert_agrees(outs, judged)
    assert_agrees(list(life.broker.outputs()), judged)


def test_when_all_inputs_are_silent_open_impressions_close_by_the_clock() -> None:
    """Both logs end at T0: nothing in them can raise a watermark, but the time that passes is written down."""
    life = Life(BOUNDS)
    wall_ms = life.clock.now_s() * 1_000
    for number in range(5):
        show(life, number, wall_ms - 1_000 + number)
    press(life, 0, "i0", wall_ms - 900)
    with small_sizes():
        life.run(100, replace(PACE, close_idle_s=3.0))
    kinds = Counter(one.kind for one in decided_of(life.broker.outputs()))
    assert kinds == Counter(click=1, unclicked=4)
    life.check()


def test_what_comes_below_an_advance_is_late_and_counted_apart() -> None:
    life = Life(BOUNDS)
    wall_ms = life.clock.now_s() * 1_000
    show(life, 0, wall_ms)
    with small_sizes():
        life.run(100, replace(PACE, close_idle_s=3.0))
        show(life, 1, wall_ms + 1)
        life.run(20, PACE)
    judged = truth(life.broker.inputs["impressions", 0].records, [], BOUNDS, seals=life.seals(), ended=False)
    assert (judged.impressions.counts["late"], judged.impressions.counts["late_by_seal"]) == (1, 1)
    life.check()


def test_transactions_of_one_output_each_decide_all_the_same() -> None:
    """The bound is shared by all tasks: of very many each would get none."""
    life = Life(BOUNDS)
    for number in range(20):
        show(life, number, T0 + 30 * number)
        press(life, number, f"x{number}", T0 + 30 * number)
    with small_sizes():
        life.run(300, replace(PACE, transaction_outs=1))
    assert sum(one.kind == "orphan" for one in decided_of(life.broker.outputs())) > 10
    life.check()

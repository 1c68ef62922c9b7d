"""Event time: the wall's in live work, behind it in a replay, past midnight also when nothing is shown any more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.totals import QUARTER_MS
from streams.pacing.clock import LIVE_MS, Anchor, EventClock

NOON_MS = 1_800_000_000_000 // QUARTER_MS * QUARTER_MS
YEAR_MS = 365 * 86_400_000


def test_live_totals_leave_the_wall_in_charge() -> None:
    for lag_ms in (0, 1_500, LIVE_MS):
        clock = EventClock()
        clock.seen(NOON_MS, written_ms=NOON_MS + lag_ms)
        assert clock.now_ms(wall_ms=NOON_MS + lag_ms) == NOON_MS + lag_ms


def test_older_ones_put_event_time_behind_and_the_wall_carries_it_on() -> None:
    for lag_ms in (LIVE_MS + 1, YEAR_MS, -1):
        clock = EventClock()
        clock.seen(NOON_MS, written_ms=NOON_MS + lag_ms)
        assert clock.now_ms(wall_ms=NOON_MS + lag_ms + 5_000) == NOON_MS + 5_000


def test_midnight_comes_without_any_impression() -> None:
    clock = EventClock()
    clock.seen(NOON_MS, written_ms=NOON_MS + 1_000)
    assert clock.now_ms(wall_ms=NOON_MS + 12 * 4 * QUARTER_MS) == NOON_MS + 12 * 4 * QUARTER_MS


def test_a_decision_by_the_wall_alone_does_not_hold_back_a_replay() -> None:
    clock = EventClock()
    assert clock.now_ms(wall_ms=NOON_MS + YEAR_MS) == NOON_MS + YEAR_MS
    clock.seen(NOON_MS, written_ms=NOON_MS + YEAR_MS)
    assert clock.now_ms(wall_ms=NOON_MS + YEAR_MS) == NOON_MS


def test_a_restart_goes_on_from_the_newest_anchor() -> None:
    clock = EventClock()
    for anchor in (Anchor(NOON_MS, YEAR_MS), Anchor(NOON_MS + QUARTER_MS, 7), Anchor(NOON_MS - QUARTER_MS, 0)):
        clock.resumed(anchor)
    assert clock.anchor == Anchor(NOON_MS + QUARTER_MS, 7)


def test_the_lag_grows_while_no_total_comes_although_the_wall_carries_time_on() -> None:
    clock = EventClock()
    assert clock.behind_ms(wall_ms=NOON_MS) is None
    clock.seen(NOON_MS, written_ms=NOON_MS + 1_000)
    assert clock.behind_ms(wall_ms=NOON_MS + 3_000) == 2_000
    half_an_hour_later_ms = NOON_MS + 1_000 + 2 * QUARTER_MS
    assert clock.behind_ms(wall_ms=half_an_hour_later_ms) == 2 * QUARTER_MS
    assert clock.now_ms(wall_ms=half_an_hour_later_ms) == half_an_hour_later_ms


def test_the_lag_of_a_replay_is_how_old_its_totals_are() -> None:
    clock = EventClock()
    clock.seen(NOON_MS, written_ms=NOON_MS + YEAR_MS)
    assert clock.behind_ms(wall_ms=NOON_MS + YEAR_MS + 5_000) == YEAR_MS + 5_000


def test_after_a_restart_the_lag_is_at_least_that_of_the_newest_quarter_hour() -> None:
    clock = EventClock()
    clock.resumed(Anchor(NOON_MS, 0))
    assert clock.behind_ms(wall_ms=NOON_MS + QUARTER_MS - 1) == 0
    assert clock.behind_ms(wall_ms=NOON_MS + 3 * QUARTER_MS) == 2 * QUARTER_MS


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1))
def test_time_never_goes_back_once_there_was_a_total(steps: list[tuple[int, int, int]]) -> None:
    clock, wall_ms, told = EventClock(), NOON_MS, []
    for quarter, later_ms, delay_ms in steps:
        wall_ms += later_ms
        clock.seen(NOON_MS - YEAR_MS + quarter * QUARTER_MS, written_ms=wall_ms - delay_ms)
        told.append(clock.now_ms(wall_ms=wall_ms))
    assert told == sorted(told)

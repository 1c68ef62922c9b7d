"""The clock of a join partition's labels: it follows clicks, and impressions only as far as clicks are not behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.label_clock import LabelClock
from schemas.events import MIN_TS_MS

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
KINDS = ("shown", "clicked", "unclicked")


def moved(*records: tuple[str, int, int]) -> LabelClock:
    """A clock after records: what it is, impression time and click time, both from `START_MS` on."""
    clock = LabelClock()
    for kind, ts_ms, clicked_ms in records:
        given_ms = (START_MS + ts_ms, START_MS + clicked_ms) if kind == "clicked" else (START_MS + ts_ms,)
        getattr(clock, kind)(*given_ms)
    return clock


def test_before_the_first_label_the_clock_stands_and_with_only_unclicked_ones_it_is_at_their_time() -> None:
    shown = ("shown", HOUR_MS, 0)
    assert moved(shown).reached_ms == MIN_TS_MS
    assert not moved(shown).labelled
    assert moved(shown, ("unclicked", 5_000, 0)).reached_ms == START_MS + 5_000
    assert moved(shown, ("unclicked", 5_000, 0), ("shown", 2 * HOUR_MS, 0)).reached_ms == START_MS + 5_000


def test_where_clicks_are_not_behind_impressions_carry_the_clock_on() -> None:
    live = moved(("shown", 60_000, 0), ("clicked", 0, 60_000), ("shown", HOUR_MS, 0))
    assert live.reached_ms == START_MS + HOUR_MS
    # A join that has read clicks ahead: they have come up to their time.
    assert moved(("shown", 0, 0), ("clicked", 0, 60_000)).reached_ms == START_MS + 60_000


@pytest.mark.parametrize(("passed_ms", "carried_ms"), [(0, 0), (16, 17), (160_000, 170_000)])
def test_where_clicks_are_behind_impressions_carry_the_clock_on_by_that_much_less_and_the_lag_fades(
    passed_ms: int, carried_ms: int
) -> None:
    behind = (("shown", HOUR_MS, 0), ("clicked", 0, 60_000))
    # 59 minutes behind.
    assert moved(*behind).reached_ms == START_MS + 60_000
    later = moved(*behind, ("shown", HOUR_MS + passed_ms, 0))
    assert later.reached_ms == START_MS + 60_000 + carried_ms


def test_a_lag_is_gone_after_sixteen_times_as_long() -> None:
    behind = (("shown", HOUR_MS, 0), ("clicked", 0, 0))
    for passed_ms, left_ms in ((16 * HOUR_MS - 16, 1), (16 * HOUR_MS, 0)):
        latest_ms = HOUR_MS + passed_ms
        assert moved(*behind, ("shown", latest_ms, 0)).reached_ms == START_MS + latest_ms - left_ms


def test_the_greatest_lag_counts_not_the_last_one() -> None:
    behind = (("shown", HOUR_MS, 0), ("clicked", 0, 0), ("clicked", HOUR_MS, HOUR_MS))
    assert moved(*behind).reached_ms == START_MS + HOUR_MS
    # Impressions of the next turn: their clicks are to come.
    assert moved(*behind, ("shown", 2 * HOUR_MS, 0)).reached_ms == START_MS + HOUR_MS + HOUR_MS // 16


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, HOUR_MS), st.integers(0, HOUR_MS)), max_size=30))
def test_it_never_goes_back_nor_beyond_what_it_has_seen_and_a_kept_one_goes_on_alike(
    found: list[tuple[str, int, int]],
) -> None:
    ours, reached_ms, seen_ms = LabelClock(), MIN_TS_MS, MIN_TS_MS
    for kind, ts_ms, delay_ms in found:
        times = (START_MS + ts_ms, START_MS + ts_ms + delay_ms)[: 1 + (kind == "clicked")]
        again = LabelClock()
        again.restore(ours.state())
        for each in (ours, again):
            getattr(each, kind)(*times)
        seen_ms = max(seen_ms, *times)
        assert again.state() == ours.state()
        assert reached_ms <= ours.reached_ms <= seen_ms
        reached_ms = ours.reached_ms

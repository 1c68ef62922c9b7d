"""A soak fails for what grows, and for nothing that only moves up and down."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.soak_trends import FEWEST, Trend, trend

HOUR_S = 3_600.0


def of(what: str, value: Callable[[int], float], *, count: int = 120) -> Trend:
    """The trend of one reading every 20 s."""
    return trend("kafka", what, [(20.0 * at, value(at)) for at in range(count)])


def test_slope_is_that_of_an_hour() -> None:
    found = of("memory MB", lambda at: 100.0 + 20.0 * at / HOUR_S * 6.0)
    assert found.slope == pytest.approx(6.0)
    # The level is the median of the first third, a sixth of the 40 minutes after their start.
    assert found.level == pytest.approx(100.65, abs=0.01)
    assert found.share == pytest.approx(6.0 / 100.65, abs=1e-4)


@pytest.mark.parametrize(("grown_mb", "grows"), [(4.9, False), (5.2, True)])
def test_memory_and_disk_may_grow_by_five_percent_of_their_level_in_an_hour(grown_mb: float, grows: bool) -> None:
    for what in ("memory MB", "disk MB"):
        assert of(what, lambda at: 100.0 + 20.0 * at / HOUR_S * grown_mb).grows == grows


def test_sawtooth_and_a_single_peak_do_not_grow() -> None:
    assert not of("disk MB", lambda at: 100.0 + 3.0 * (at % 10)).grows
    assert not of("memory MB", lambda at: 900.0 if at == 100 else 100.0).grows
    assert not of("memory MB", lambda at: 300.0 - at).grows
    # Higher and higher peaks over one level, and a level that rises under the same peaks: neither leaks.
    assert not of("disk MB", lambda at: 100.0 + 0.2 * at * (at % 10 == 9)).grows
    assert not of("disk MB", lambda at: 150.0 if at % 10 == 9 else 100.0 + 0.2 * at).grows


def test_a_few_files_that_come_and_go_do_not_grow_by_the_chance_of_when_they_are_counted() -> None:
    """As the folder of state did: the highest and the lowest MB of each span of time."""
    highest, lowest = (5, 5, 6, 5, 6, 5), (3, 3, 2, 3, 3, 3)
    assert not of("disk MB", lambda at: (highest, lowest)[at % 2][at // 20]).grows


def test_memory_that_rises_once_in_the_middle_and_stays_grows() -> None:
    assert of("memory MB", lambda at: 300.0 if at >= 60 else 200.0).grows


@pytest.mark.parametrize(("last", "grows"), [(250, False), (900, True)])
def test_old_parts_may_double_in_an_hour(last: int, grows: bool) -> None:
    assert of("old parts", lambda at: 150 + (last - 150) * at / 120).grows == grows


def test_sawtooth_that_rises_as_a_whole_grows() -> None:
    assert of("disk MB", lambda at: 100.0 + 3.0 * (at % 10) + 0.1 * at).grows


@pytest.mark.parametrize("what", ["descriptors", "threads"])
def test_one_more_descriptor_or_thread_that_stays_is_growth(what: str) -> None:
    assert of(what, lambda at: 170 + (at >= 60)).grows
    assert of(what, lambda at: 170 + at // 30 + at % 3).grows
    assert not of(what, lambda at: 170 + at % 3).grows
    assert not of(what, lambda at: 172 - (at >= 60)).grows
    assert not of(what, lambda at: 170 + 5 * (at == 100)).grows


def test_too_few_readings_decide_nothing() -> None:
    with pytest.raises(ValueError, match=f"at least {FEWEST}"):
        of("threads", lambda _: 1, count=FEWEST - 1)
    assert not of("threads", lambda _: 1, count=FEWEST).grows

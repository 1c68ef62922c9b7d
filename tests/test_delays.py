"""The distribution of click delays that a learner draws from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.delays import LONGEST_WAIT_MS, PARTS, Delays, least_of, part_of


@given(st.integers(0, LONGEST_WAIT_MS))
def test_a_delay_is_in_its_part_which_is_a_fifth_wide_or_a_millisecond(delay_ms: int) -> None:
    part = part_of(delay_ms)
    assert 0 <= part < PARTS
    assert least_of(part) <= delay_ms < least_of(part + 1)
    assert least_of(part + 1) - least_of(part) <= max(1, delay_ms // 4)


def test_draws_are_spread_as_the_delays_that_came() -> None:
    delays, random = Delays(), np.random.default_rng(1)
    came = np.exp(random.normal(11.0, 1.0, 4_000)).astype(np.int64)
    for each in came.tolist():
        delays.add(each)
    drawn = np.array([delays.draw(share) for share in random.random(4_000).tolist()])
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert np.mean(drawn <= np.quantile(came, share)) == pytest.approx(share, abs=0.03)


def test_before_the_first_click_draws_are_from_a_second_to_half_an_hour() -> None:
    delays = Delays()
    assert delays.draw(0.0) <= 1_000
    assert 1_800_000 <= delays.draw(1.0 - 1e-12) < 2_250_000


def test_what_came_long_ago_counts_less_than_what_comes_now() -> None:
    delays = Delays()
    for delay_ms in [1_000] * 4_000 + [60_000] * 4_000:
        delays.add(delay_ms)
    # Two windows later an eighth is left of what came first.
    assert delays.draw(0.1) < 1_300
    assert delays.draw(0.14) > 57_000


@pytest.mark.parametrize("delay_ms", [-5_000, 2 * LONGEST_WAIT_MS])
def test_delays_out_of_bounds_count_as_the_bound(delay_ms: int) -> None:
    delays = Delays()
    for _ in range(20_000):
        delays.add(delay_ms)
    assert delays.draw(0.5) == pytest.approx(min(max(delay_ms, 0), LONGEST_WAIT_MS), rel=0.25)

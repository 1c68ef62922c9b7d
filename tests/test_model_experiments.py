"""Comparing arms: intervals against published figures, and verdicts that claim no more than was shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.experiments import Arm, compare, wilson
from schemas.errors import SettingsError


def test_intervals_equal_newcombes_published_example() -> None:
    # Newcombe 1998, table II, contrast (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339.
    found = compare(Arm("a", 80, 48), Arm("b", 70, 56))
    assert found.difference == pytest.approx(0.2)
    assert (round(found.interval.low, 4), round(found.interval.high, 4)) == (0.0524, 0.3339)
    assert found.lift == pytest.approx(1 / 3)
    assert found.verdict == "b"


def test_wilson_of_no_click_starts_at_zero_and_is_not_empty() -> None:
    found = wilson(Arm("a", 100, 0))
    assert found.low == pytest.approx(0.0, abs=1e-15)
    assert 0.03 < found.high < 0.04


def test_the_open_bandit_arms_of_30000_impressions_are_undecided_and_said_so() -> None:
    found = compare(Arm("random", 30_000, 130), Arm("bts", 30_000, 157))
    assert found.verdict == "undecided"
    assert found.interval.low < 0.0 < found.interval.high
    assert "does not show that the arms are alike" in found.reason


def test_too_few_clicks_decide_nothing_whatever_the_rates() -> None:
    found = compare(Arm("a", 30, 0), Arm("b", 30, 19))
    assert (found.verdict, found.lift) == ("undecided", None)
    assert "wait for 20 together" in found.reason
    assert compare(Arm("a", 30, 0), Arm("b", 30, 20)).verdict == "b"


@given(st.integers(1, 5_000), st.integers(1, 5_000), st.floats(0, 1), st.floats(0, 1))
def test_swapping_the_arms_mirrors_the_comparison(a: int, b: int, p: float, q: float) -> None:
    first, second = Arm("a", a, int(a * p)), Arm("b", b, int(b * q))
    found, mirrored = compare(first, second), compare(second, first)
    assert found.difference == -mirrored.difference
    assert found.interval.low == pytest.approx(-mirrored.interval.high, abs=1e-12)
    assert found.p_value == pytest.approx(mirrored.p_value, abs=1e-9)
    assert {"a": "b", "b": "a", "undecided": "undecided"}[found.verdict] == mirrored.verdict
    assert found.interval.low - 1e-12 <= found.difference <= found.interval.high + 1e-12


@pytest.mark.parametrize(("impressions", "clicks"), [(0, 0), (10, 11), (10, -1)])
def test_counts_that_cannot_be_are_refused(impressions: int, clicks: int) -> None:
    with pytest.raises(SettingsError, match="give an arm with impressions"):
        Arm("a", impressions, clicks)

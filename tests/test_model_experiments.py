"""Comparing arms: intervals beside gbstats, verdicts that claim no more than was shown, however often one looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.anytime import PLANNED, half_width, shares_p_value
from online_models.experiments import Arm, Users, compare, rate_interval
from schemas.errors import SettingsError
from tests.effort import tries

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
# Looks hourly for a week, and for four weeks.
WEEK, MONTH = 168, 672


def gbstats_of(a: Any, b: Any, planned: float) -> Any:
    # Imported where it is needed: it brings pandas and scipy.
    from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest

    settings = SequentialConfig(difference_type="absolute", sequential_tuning_parameter=planned)
    return SequentialTwoSidedTTest(a, b, settings).compute_result()


@pytest.mark.parametrize("planned", [5_000, PLANNED])
@pytest.mark.parametrize(
    ("a", "b"), [((1_000, 50), (1_100, 80)), ((840_000, 8_400), (839_000, 8_820)), ((60, 9), (7, 6))]
)
def test_interval_and_p_value_are_the_sequential_ones_of_gbstats(
    a: tuple[int, int], b: tuple[int, int], planned: int
) -> None:
    from gbstats.models.statistics import ProportionStatistic

    found = compare(Arm("a", *a), Arm("b", *b), planned=planned)
    expected = gbstats_of(ProportionStatistic(n=a[0], sum=a[1]), ProportionStatistic(n=b[0], sum=b[1]), planned)
    assert [found.interval.low, found.interval.high] == pytest.approx(np.clip(expected.ci, -1.0, 1.0), abs=1e-6)
    assert found.p_value == pytest.approx(expected.p_value, abs=1e-6)


def drawn(generator: np.random.Generator, users: int, *, rate: float = 0.01, sd: float = 1.0) -> tuple[Floats, Floats]:
    """Impressions and clicks of users, each with a click rate of its own."""
    own = 1.0 / (1.0 + np.exp(-(np.log(rate / (1.0 - rate)) + sd * generator.normal(size=users))))
    shown = generator.poisson(30, users) + 1
    return shown.astype(np.float64), generator.binomial(shown, own).astype(np.float64)


def arm_of(shown: Floats, clicked: Floats) -> Arm:
    users = Users(len(shown), float(clicked @ clicked), float(clicked @ shown), float(shown @ shown))
    return Arm("x", int(shown.sum()), int(clicked.sum()), users)


def test_with_users_the_interval_is_gbstats_of_a_ratio_of_their_sums() -> None:
    from gbstats.models.statistics import RatioStatistic, SampleMeanStatistic

    generator = np.random.default_rng(1)
    pair = [drawn(generator, 3_000), drawn(generator, 2_900)]
    a, b = (arm_of(*each) for each in pair)
    ratios = [
        RatioStatistic(
            n=len(shown),
            m_statistic=SampleMeanStatistic(n=len(shown), sum=clicked.sum(), sum_squares=clicked @ clicked),
            d_statistic=SampleMeanStatistic(n=len(shown), sum=shown.sum(), sum_squares=shown @ shown),
            m_d_sum_of_products=clicked @ shown,
        )
        for shown, clicked in pair
    ]
    impressions = (a.impressions + b.impressions) * (a.independent_variance + b.independent_variance)
    # gbstats counts users, and divides by one less than there are.
    planned = PLANNED * 5_900 / (impressions / (a.variance + b.variance))
    expected = gbstats_of(ratios[0], ratios[1], planned)
    found = compare(a, b).interval
    assert (found.high - found.low) == pytest.approx(expected.ci[1] - expected.ci[0], rel=3e-4)
    assert a.variance > 1.3 * a.independent_variance


def ever_decided(clicks_a: Floats, clicks_b: Floats, each: int) -> float:
    """The share of tests, a row each, that would have named a better arm at some look."""
    shown = np.arange(1, clicks_a.shape[1] + 1) * each
    rates = [np.clip(clicks, 0.5, shown - 0.5) / shown for clicks in (clicks_a, clicks_b)]
    variance = sum(rate * (1.0 - rate) / shown for rate in rates)
    # The formula of `half_width` without its variance, which is an array here.
    widths = np.array([half_width(1.0, 2.0 * count) for count in shown.tolist()])
    out = np.abs(clicks_b - clicks_a) / shown > np.sqrt(variance) * widths
    return float((out & (clicks_a + clicks_b >= 20)).any(axis=1).mean())


@pytest.mark.parametrize("looks", [WEEK, MONTH])
@pytest.mark.parametrize("each", [500, 5_000])
def test_arms_that_are_alike_are_told_apart_in_fewer_than_5_percent_of_tests_looked_at_hourly(
    each: int, looks: int
) -> None:
    generator = np.random.default_rng(2)
    a, b = (generator.binomial(each, 0.01, (tries(2_000), looks)).cumsum(axis=1).astype(np.float64) for _ in "ab")
    assert ever_decided(a, b, each) <= 0.05


def test_a_lift_of_5_percent_is_found_in_60_percent_of_tests_with_840000_impressions_an_arm() -> None:
    generator = np.random.default_rng(3)
    a, b = (
        generator.binomial(5_000, rate, (tries(2_000), WEEK)).cumsum(axis=1).astype(np.float64)
        for rate in (0.01, 0.0105)
    )
    assert ever_decided(a, b, 5_000) >= 0.6


def sampled(generator: np.random.Generator, shown: Floats, clicked: Floats, rate: float) -> Arm:
    """The arm as outcomes give it: all clicks, and a share of the non-clicks, each with a weight."""
    kept = generator.binomial((shown - clicked).astype(np.int64), rate)
    estimated = clicked + kept / rate
    doubt = float(kept.sum()) * (1.0 / rate**2 - 1.0 / rate)
    sums = float(clicked @ clicked), float(clicked @ estimated), float(estimated @ estimated)
    return Arm("x", int(shown.sum()), int(clicked.sum()), Users(int((kept > 0).sum()), *sums, doubt))


def test_the_variance_from_a_twentieth_of_the_non_clicks_is_that_from_all_of_them_on_average() -> None:
    generator = np.random.default_rng(4)
    shown, clicked = drawn(generator, 20_000)
    whole = arm_of(shown, clicked)
    found = [sampled(generator, shown, clicked, 0.05) for _ in range(200)]
    assert np.mean([each.variance for each in found]) == pytest.approx(whole.variance, rel=0.01)
    without = np.mean([Arm("x", each.impressions, each.clicks, replaced(each)).variance for each in found])
    assert without > 1.02 * whole.variance


def replaced(arm: Arm) -> Users:
    """The users of an arm without the doubt about them."""
    assert arm.users is not None
    users = arm.users
    return Users(users.count, users.clicks_squared, users.products, users.impressions_squared)


def test_arms_of_users_that_are_alike_are_told_apart_in_fewer_than_7_percent_of_tests_looked_at_daily() -> None:
    """With a twentieth of the non-clicks sampled; counting impressions as independent decides in a third of them."""
    generator, wrong, naive, tests, days = np.random.default_rng(5), 0, 0, tries(200), 28
    for _ in range(tests):
        users = [drawn(generator, 200 * days, rate=0.03, sd=1.5) for _ in "ab"]
        verdicts, naive_verdicts = set(), set()
        for day in range(1, days + 1):
            seen = [(shown[: 200 * day], clicked[: 200 * day]) for shown, clicked in users]
            a, b = (sampled(generator, *each, 0.05) for each in seen)
            verdicts.add(compare(a, b).verdict)
            naive_verdicts.add(compare(Arm("a", a.impressions, a.clicks), Arm("b", b.impressions, b.clicks)).verdict)
        wrong += verdicts != {"undecided"}
        naive += naive_verdicts != {"undecided"}
    assert wrong / tests <= 0.07
    assert naive > wrong


def test_a_wrong_share_stands_above_any_verdict() -> None:
    found = compare(Arm("a", 100_000, 1_000), Arm("b", 104_000, 2_000))
    assert (found.verdict, found.shares_p < 1e-6) == ("undecided", True)
    assert "b got 50.98% of the impressions where 50% were intended" in found.reason
    assert compare(Arm("a", 100_000, 1_000), Arm("b", 100_300, 2_000)).verdict == "b"
    assert compare(Arm("a", 900_000, 9_000), Arm("b", 100_300, 2_000), share_b=0.1).verdict == "b"


def test_the_test_of_shares_is_the_bayes_factor_of_a_beta_distribution() -> None:
    from scipy.special import betaln

    for a, b in ((5_000, 5_300), (70, 30), (1_000_000, 1_006_000)):
        evidence = betaln(5_000 + a, 5_000 + b) - betaln(5_000, 5_000) + (a + b) * np.log(2.0)
        assert shares_p_value([a, b], [1, 1]) == pytest.approx(min(1.0, float(np.exp(-evidence))), rel=1e-6)
        assert shares_p_value([a, b], [0.5, 0.5]) == shares_p_value([a, b], [1, 1])


@pytest.mark.parametrize("looks", [WEEK, MONTH])
def test_right_shares_are_doubted_in_fewer_than_a_thousandth_of_tests_looked_at_hourly(looks: int) -> None:
    generator, wrong, tests = np.random.default_rng(6), 0, tries(400)
    for _ in range(tests):
        a = generator.binomial(2_000, 0.5, looks).cumsum().tolist()
        wrong += any(shares_p_value([n, 2_000 * (at + 1) - n], [1, 1]) < 0.001 for at, n in enumerate(a))
    assert wrong / tests <= 0.005


def test_an_arm_without_a_click_has_an_interval_from_zero_that_is_not_empty() -> None:
    found = rate_interval(Arm("a", 1_000_000, 0))
    assert found.low == 0.0
    assert 0.0 < found.high < 1e-5


def test_the_open_bandit_arms_of_30000_impressions_are_undecided_and_said_so() -> None:
    found = compare(Arm("random", 30_000, 130), Arm("bts", 30_000, 157))
    assert found.verdict == "undecided"
    assert found.interval.low < 0.0 < found.interval.high
    assert "does not show that the arms are alike" in found.reason


def test_too_few_clicks_decide_nothing_whatever_the_rates() -> None:
    found = compare(Arm("a", 30_000, 0), Arm("b", 30_000, 19))
    assert (found.verdict, found.lift) == ("undecided", None)
    assert "wait for 20 together" in found.reason
    assert compare(Arm("a", 30_000, 0), Arm("b", 30_000, 20)).verdict == "b"


@given(st.integers(1, 5_000), st.integers(1, 5_000), st.floats(0, 1), st.floats(0, 1))
def test_swapping_the_arms_mirrors_the_comparison(a: int, b: int, p: float, q: float) -> None:
    first, second = Arm("a", a, int(a * p)), Arm("b", b, int(b * q))
    found, mirrored = compare(first, second), compare(second, first)
    assert found.difference == -mirrored.difference
    assert found.interval.low == pytest.approx(-mirrored.interval.high, abs=1e-12)
    assert found.p_value == pytest.approx(mirrored.p_value, abs=1e-9)
    assert {"a": "b", "b": "a", "undecided": "undecided"}[found.verdict] == mirrored.verdict
    assert found.interval.low - 1e-12 <= found.difference <= found.interval.high + 1e-12
    if found.p_value > 0.05:
        assert found.interval.low <= 0.0 <= found.interval.high


@pytest.mark.parametrize(("impressions", "clicks"), [(0, 0), (10, 11), (10, -1)])
def test_counts_that_cannot_be_are_refused(impressions: int, clicks: int) -> None:
    with pytest.raises(SettingsError, match="give an arm with impressions"):
        Arm("a", impressions, clicks)


def test_a_share_that_cannot_be_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"share_b is 1\.0; give a share above 0 and below 1"):
        compare(Arm("a", 10, 1), Arm("b", 10, 1), share_b=1.0)

"""`experiment_arms` held against statsmodels and against the summary's own comparison of two arms."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client
from scipy.stats import chisquare
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest
from statsmodels.stats.proportion import test_proportions_2indep as score_test

from online_models.experiments import Arm, compare
from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import run_query
from schemas.errors import ClickfoldError, SettingsError
from streams.cli.connections import clickhouse_errors_as_sentences
from tests.golden import insert, total

pytestmark = pytest.mark.clickhouse

# By experiment and arm: impressions and clicks.
COUNTS: dict[str, dict[str, tuple[int, int]]] = {
    "many": {"a": (10_000, 120), "b": (10_100, 171), "c": (9_900, 95), "d": (10_050, 122), "e": (9_990, 150)},
    "none": {"a": (50, 0), "b": (60, 0)},
    "one": {"only": (1_000, 10)},
    "sure": {"a": (40, 40), "b": (30, 30)},
    "three": {"x": (5_000, 50), "y": (5_200, 61), "z": (4_700, 40)},
    "two": {"a": (20_000, 77), "b": (20_000, 114)},
    "zero": {"a": (900, 0), "b": (1_000, 7)},
}
PAIRS = [(name, arm) for name, arms in COUNTS.items() for arm in list(arms)[1:]]

Ask = Callable[..., dict[tuple[str, str], dict[str, Any]]]


@pytest.fixture(scope="module")
def arms(clickhouse: Any) -> Any:
    """A database with the counts, for reading only."""
    from streams.warehouse.client import connect

    with connect(clickhouse.url) as client:
        migrate(client, database="arms")
        half = [
            total(
                at,
                version=1,
                final=True,
                experiment=name,
                arm=arm,
                impressions=n - n // 3 if at else n // 3,
                attributed_clicks=x if at else 0,
                attributed_spend_micros=x * 300_000 if at else 0,
            )
            for name, counts in COUNTS.items()
            for arm, (n, x) in counts.items()
            for at in (0, 1)
        ]
        insert(client, "totals", half)
        # An arm clicked in these minutes but shown before them has no impression of its own.
        insert(client, "totals", [total(2, version=1, experiment="two", arm="0", clicks=3)])
        yield client
        client.command("DROP DATABASE arms SYNC")


@pytest.fixture
def ask(arms: Client) -> Ask:
    """The rows by experiment and arm."""

    def rows(**values: str) -> dict[tuple[str, str], dict[str, Any]]:
        table = run_query(arms, "experiment_arms", values)
        found = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        return {(row["experiment"], row["arm"]): row for row in found}

    return rows


def counts(name: str, arm: str, control: str = "") -> tuple[int, int, int, int]:
    """Clicks and impressions of the arm, then of its control."""
    (n, x), (control_n, control_x) = COUNTS[name][arm], COUNTS[name][control or min(COUNTS[name])]
    return x, n, control_x, control_n


@pytest.mark.parametrize(("name", "arm"), PAIRS)
def test_difference_interval_and_p_are_those_of_statsmodels_and_of_the_summary(ask: Ask, name: str, arm: str) -> None:
    row = ask()[name, arm]
    clicks, shown, control_clicks, control_shown = four = counts(name, arm)
    low, high = confint_proportions_2indep(*four, method="newcomb", compare="diff")
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high), abs=1.1e-6)
    summary = compare(Arm("a", control_shown, control_clicks), Arm("b", shown, clicks))
    assert row["p_value"] == pytest.approx(summary.p_value, abs=1.1e-6)
    assert row["difference"] == pytest.approx(summary.difference, abs=1.1e-6)
    assert row["lift"] == (None if summary.lift is None else pytest.approx(summary.lift, abs=1.1e-4))
    if name not in ("none", "sure"):
        with np.errstate(divide="ignore"):
            assert row["p_value"] == pytest.approx(score_test(*four, method="score").pvalue, abs=1.1e-6)
        # The pooled z test leaves out one observation in n.
        pooled = proportions_ztest([clicks, control_clicks], [shown, control_shown])[1]
        assert row["p_value"] == pytest.approx(pooled, rel=0.01)


@pytest.mark.parametrize("name", ["many", "three"])
def test_p_values_allow_for_every_arm_as_holm_says(ask: Ask, name: str) -> None:
    rows = [row for (of, _), row in ask().items() if of == name and row["p_value"] is not None]
    assert len(rows) == len(COUNTS[name]) - 1
    adjusted = multipletests([row["p_value"] for row in rows], method="holm")[1]
    assert [row["p_holm"] for row in rows] == pytest.approx(list(adjusted), abs=1e-5)


@pytest.mark.parametrize(("name", "arm"), [("many", "b"), ("two", "b"), ("three", "z")])
def test_a_test_of_these_sizes_finds_the_detectable_difference_in_four_of_five_cases(
    ask: Ask, name: str, arm: str
) -> None:
    _, shown, control_clicks, control_shown = counts(name, arm)
    rate = control_clicks / control_shown
    effect = ask()[name, arm]["detectable_difference"] / (rate * (1 - rate)) ** 0.5
    power = NormalIndPower().power(effect_size=effect, nobs1=control_shown, ratio=shown / control_shown, alpha=0.05)
    assert power == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize("name", ["many", "three", "two", "zero"])
def test_uneven_splits_are_found_by_chi_square(ask: Ask, name: str) -> None:
    rows = [row for (of, _), row in ask().items() if of == name]
    shown = [n for n, _ in COUNTS[name].values()]
    assert [row["share_p"] for row in rows] == pytest.approx([chisquare(shown).pvalue] * len(rows), abs=1e-6)
    assert [row["share"] for row in rows] == pytest.approx([n / sum(shown) for n in shown], abs=1e-4)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ("x=1,y=1,z=1", [1, 1, 1, 0]),
        ("x=0.5,y=0.25,z=0.25", [2, 1, 1, 0]),
        # An arm that was meant to be shown and was not.
        ("x=50,y=52,z=47,w=0.01", [50, 52, 47, 0.01]),
    ],
)
def test_shares_may_be_given(ask: Ask, shares: str, expected: list[float]) -> None:
    rows = ask(experiment="three", shares=shares)
    shown = [*(n for n, _ in COUNTS["three"].values()), 0]
    kept = [(seen, meant) for seen, meant in zip(shown, expected, strict=True) if meant]
    p = chisquare([seen for seen, _ in kept], [sum(shown) * meant / sum(expected) for _, meant in kept]).pvalue
    assert rows["three", "x"]["share_p"] == pytest.approx(p, abs=1e-6)
    assert rows["three", "x"]["expected_share"] == pytest.approx(expected[0] / sum(expected), abs=1e-4)


def test_an_arm_nobody_meant_to_show_is_no_chance(ask: Ask) -> None:
    rows = ask(experiment="two", shares="a=1")
    assert {row["share_p"] for row in rows.values()} == {0}


def test_shares_that_cannot_be_read_are_refused(ask: Ask) -> None:
    for shares in ("half", "a=", "a=0,b=1", "a=1;b=1"):
        with pytest.raises(ClickfoldError, match="shares are written as"), clickhouse_errors_as_sentences():
            ask(shares=shares)


def test_a_control_may_be_named(ask: Ask) -> None:
    rows = ask(experiment="many", control="c")
    low, high = confint_proportions_2indep(*counts("many", "a", "c"), method="newcomb", compare="diff")
    row = rows["many", "a"]
    assert (row["control"], row["difference_low"], row["difference_high"]) == (
        "c",
        pytest.approx(low, abs=1.1e-6),
        pytest.approx(high, abs=1.1e-6),
    )
    assert rows["many", "c"]["difference"] is None


@pytest.mark.parametrize("values", [{}, {"control": "x"}])
def test_an_arm_without_another_has_counts_and_nothing_to_compare(ask: Ask, values: dict[str, str]) -> None:
    row = ask(**values)["one", "only"]
    assert (row["impressions"], row["attributed_clicks"], row["ctr"]) == (1_000, 10, 0.01)
    tested = ("difference", "difference_low", "difference_high", "lift", "p_value", "p_holm", "detectable_difference")
    assert {row[name] for name in (*tested, "share_p")} == {None}


def test_a_control_that_is_no_arm_is_named_and_not_compared_with(ask: Ask) -> None:
    for values in ({"control": "nope"}, {"control": "x", "experiment": "many"}):
        with pytest.raises(SettingsError, match=f"control='{values['control']}'.*there is no such arm"):
            ask(**values)
    assert ask(control="nope", experiment="nothing of that name") == {}


def test_the_detectable_difference_is_not_yet_known_while_the_control_has_no_click(ask: Ask) -> None:
    rows = ask()
    for name in ("none", "zero", "sure"):
        assert rows[name, "b"]["detectable_difference"] is None
    assert all(row["detectable_difference"] != 0 for row in rows.values())


def test_revenue_is_of_the_arms_own_impressions(ask: Ask) -> None:
    row = ask()["two", "b"]
    assert (row["attributed_spend_micros"], row["spend_per_thousand_micros"]) == (114 * 300_000, 1_710_000)
    assert ("two", "0") not in ask()

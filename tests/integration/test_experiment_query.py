"""`experiment_arms` held against `online_models.experiments`, which gbstats is the oracle of, and statsmodels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from online_models.anytime import half_width, shares_p_value
from online_models.experiments import Arm, Users, compare
from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import run_query
from schemas.errors import ClickfoldError, SettingsError
from schemas.outcomes import Outcome
from streams.cli.connections import clickhouse_errors_as_sentences
from tests.golden import HOUR_MS, MINUTE_MS, insert, total

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


@pytest.mark.parametrize("planned", ["500000", "5000"])
@pytest.mark.parametrize(("name", "arm"), PAIRS)
def test_difference_interval_and_p_are_those_of_the_summary(ask: Ask, name: str, arm: str, planned: str) -> None:
    row = ask(planned=planned)[name, arm]
    clicks, shown, control_clicks, control_shown = counts(name, arm)
    summary = compare(Arm("a", control_shown, control_clicks), Arm("b", shown, clicks), planned=int(planned))
    low, high = summary.interval.low, summary.interval.high
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((low, high), abs=1.1e-6)
    assert row["p_value"] == pytest.approx(summary.p_value, abs=1.1e-6)
    assert row["difference"] == pytest.approx(summary.difference, abs=1.1e-6)
    assert row["lift"] == (None if summary.lift is None else pytest.approx(summary.lift, abs=1.1e-4))


def outcome_of(user: str, arm: str, number: int, *, clicked: bool) -> Outcome:
    """A click of a user, or a non-click that stands for twenty."""
    return Outcome(
        "click" if clicked else "unclicked",
        f"{user}-{clicked}-{number}",
        0,
        weight=1.0 if clicked else 20.0,
        click_id=f"{user}-{number}" if clicked else None,
        click_ts=HOUR_MS + 3 * MINUTE_MS + 1 if clicked else None,
        ts=HOUR_MS + 3 * MINUTE_MS,
        campaign_id="k1",
        creative_id="k",
        user_id=user,
        experiment="users",
        arm=arm,
    )


def test_users_who_were_divided_make_the_interval_that_of_their_sums(arms: Client, ask: Ask) -> None:
    """Impressions of the totals are not the sum of the weights, as sampling is by chance."""
    outcomes, sums = [], {}
    generator = np.random.default_rng(1)
    for arm, shown in (("a", 4_000), ("b", 4_100)):
        clicked = generator.integers(0, 4, 60)
        kept = generator.integers(0, 5, 60)
        for user, (clicks, others) in enumerate(zip(clicked.tolist(), kept.tolist(), strict=True)):
            outcomes += [
                outcome_of(f"{arm}{user}", arm, number, clicked=is_click)
                for is_click, many in ((True, clicks), (False, others))
                for number in range(many)
            ]
        k = clicked + 20.0 * kept
        squares = float(clicked @ clicked), float(clicked @ k), float(k @ k)
        users = Users(int((kept > 0).sum()), *squares, float(kept.sum()) * 380.0)
        sums[arm] = Arm(arm, shown, int(clicked.sum()), users)
    insert(arms, "outcomes", outcomes)
    of_arms = [(arm.name, arm.impressions, arm.clicks) for arm in sums.values()]
    insert(
        arms,
        "totals",
        [
            total(3, version=1, final=True, experiment="users", arm=name, impressions=n, attributed_clicks=x)
            for name, n, x in of_arms
        ],
    )
    row = ask(experiment="users", split="user")["users", "b"]
    found = compare(sums["a"], sums["b"])
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(
        (found.interval.low, found.interval.high), abs=1.1e-6
    )
    assert row["p_value"] == pytest.approx(found.p_value, abs=1.1e-6)
    assert row["share_p"] == pytest.approx(found.shares_p, abs=1.1e-6)
    narrower = ask(experiment="users")["users", "b"]
    assert narrower["difference_high"] < row["difference_high"]


def test_a_split_or_a_plan_that_cannot_be_is_refused(ask: Ask) -> None:
    with pytest.raises(ClickfoldError, match="split is impression or user"), clickhouse_errors_as_sentences():
        ask(split="campaign")
    with pytest.raises(ClickfoldError, match="at least 1"), clickhouse_errors_as_sentences():
        ask(planned="0")


@pytest.mark.parametrize("name", ["many", "three"])
def test_p_values_allow_for_every_arm_as_holm_says(ask: Ask, name: str) -> None:
    rows = [row for (of, _), row in ask().items() if of == name and row["p_value"] is not None]
    assert len(rows) == len(COUNTS[name]) - 1
    adjusted = multipletests([row["p_value"] for row in rows], method="holm")[1]
    assert [row["p_holm"] for row in rows] == pytest.approx(list(adjusted), abs=1e-5)


@pytest.mark.parametrize(("name", "arm"), [("many", "b"), ("two", "b"), ("three", "z")])
def test_a_look_at_these_sizes_finds_the_detectable_difference_in_four_of_five_cases(
    ask: Ask, name: str, arm: str
) -> None:
    row = ask()[name, arm]
    _, shown, control_clicks, control_shown = counts(name, arm)
    rate = control_clicks / control_shown
    effect = row["detectable_difference"] / (rate * (1 - rate)) ** 0.5
    # The normal test whose critical value is as many standard errors as the interval has.
    errors = half_width(1.0, shown + control_shown)
    alpha = 2 * norm.sf(errors)
    power = NormalIndPower().power(effect_size=effect, nobs1=control_shown, ratio=shown / control_shown, alpha=alpha)
    assert power == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize("name", ["many", "three", "two", "zero"])
def test_shares_are_tested_at_any_time(ask: Ask, name: str) -> None:
    rows = [row for (of, _), row in ask().items() if of == name]
    shown = [n for n, _ in COUNTS[name].values()]
    expected = shares_p_value(shown, [1.0] * len(shown))
    assert [row["share_p"] for row in rows] == pytest.approx([expected] * len(rows), abs=1e-6)
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
    p = shares_p_value([seen for seen, _ in kept], [meant for _, meant in kept])
    assert rows["three", "x"]["share_p"] == pytest.approx(p, abs=1e-6)
    assert rows["three", "x"]["expected_share"] == pytest.approx(expected[0] / sum(expected), abs=1e-4)


def test_an_arm_nobody_meant_to_show_is_no_chance(ask: Ask) -> None:
    rows = ask(experiment="two", shares="a=1,c=1")
    assert {row["share_p"] for row in rows.values()} == {0}


def test_shares_that_cannot_be_read_are_refused(ask: Ask) -> None:
    for shares in ("half", "a=", "a=0,b=1", "a=1;b=1"):
        with pytest.raises(ClickfoldError, match="shares are written as"), clickhouse_errors_as_sentences():
            ask(shares=shares)


def test_a_control_may_be_named(ask: Ask) -> None:
    rows = ask(experiment="many", control="c")
    x, n, control_x, control_n = counts("many", "a", "c")
    interval = compare(Arm("c", control_n, control_x), Arm("a", n, x)).interval
    low, high = interval.low, interval.high
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

"""Named queries about models, held against figures worked out here, one outcome after the other."""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pyarrow
import pytest
from clickhouse_connect.driver.client import Client
from statsmodels.stats.proportion import proportion_confint

from schemas.clickhouse.queries import arrow, bind, run_query
from schemas.errors import ClickfoldError
from schemas.outcomes import Outcome
from streams.cli.connections import clickhouse_errors_as_sentences
from tests.golden import HOUR_MS, MINUTE_MS, insert

pytestmark = pytest.mark.clickhouse

Rows = list[dict[str, Any]]


def outcome(number: int, kind: str, pctr: float | None, **more: Any) -> Outcome:
    """A click, or an unclicked outcome, of the impression of that number, in the first hour unless said otherwise."""
    given = {"ts": HOUR_MS + number, "campaign_id": "k1", "model_version": "m1", "pctr": pctr, **more}
    clicked = {"click_id": f"c{number}", "click_ts": given["ts"] + 9} if kind in ("click", "repeat") else {}
    return Outcome(kind, f"i{number}", 0, **clicked, **given)  # type: ignore[arg-type]  # kinds of values


def traffic() -> list[Outcome]:
    """600 outcomes of three versions, four hours and two campaigns: tied, missing and certain predictions, and weights
    of two samplings.
    """
    chance = random.Random(7)
    made = []
    for number in range(600):
        # m3 never met the others in an hour.
        version = chance.choice(["m1", "m1", "m2"]) if number % 4 else "m3"
        hour = 3 if version == "m3" else chance.randrange(3)
        pctr = chance.choice(
            [None, 0.0, 1.0, *[round(chance.betavariate(2, 8), chance.choice([1, 4])) for _ in range(17)]]
        )
        clicked = chance.random() < (pctr or 0.2)
        made.append(
            outcome(
                number,
                "click" if clicked else "unclicked",
                pctr,
                weight=1.0 if clicked else chance.choice([1.0, 4.0, 100 / 3]),
                ts=HOUR_MS + hour * 60 * MINUTE_MS + number,
                campaign_id=chance.choice(["k1", "k2"]),
                model_version=version,
            )
        )
    # Neither is a labelled impression.
    made.append(outcome(601, "repeat", 0.9))
    made.append(Outcome("orphan", "i602", 0, click_id="c602", click_ts=HOUR_MS))
    return made


def labelled(model_version: str | None = None) -> list[Outcome]:
    """Clicks and unclicked of the traffic with a prediction."""
    return [
        one
        for one in traffic()
        if one.kind in ("click", "unclicked") and one.pctr is not None and model_version in (None, one.model_version)
    ]


def loss(one: Outcome) -> float:
    """Log loss of one outcome, nats."""
    assert one.pctr is not None
    return -math.log(max(one.pctr if one.kind == "click" else 1 - one.pctr, 1e-15))


def weight(some: Iterable[Outcome]) -> float:
    """Impressions they stand for."""
    return math.fsum(one.weight for one in some)


def mean(some: list[Outcome], of: Callable[[Outcome], float]) -> float:
    """Weighted mean."""
    return math.fsum(one.weight * of(one) for one in some) / weight(some)


def auc(some: list[Outcome]) -> float:
    """Every click against every other impression."""
    clicked = [one for one in some if one.kind == "click"]
    others = [one for one in some if one.kind != "click"]
    won = math.fsum(
        a.weight * b.weight * (1.0 if a.pctr > b.pctr else 0.5 if a.pctr == b.pctr else 0.0)  # type: ignore[operator]
        for a in clicked
        for b in others
    )
    return won / weight(clicked) / weight(others)


def hour_of(one: Outcome) -> str:
    """As ClickHouse writes it."""
    assert one.ts is not None
    return f"{datetime.fromtimestamp(one.ts / 1000, UTC):%Y-%m-%d %H}:00:00"


@pytest.fixture
def rows(ads: Client) -> Callable[..., Rows]:
    """The rows of a query on the traffic."""
    insert(ads, "outcomes", traffic())

    def ask(name: str, **values: str) -> Rows:
        table = run_query(ads, name, values)
        return [dict(zip(table.columns, row, strict=True)) for row in table.rows]

    return ask


def test_scores_by_hour_are_those_of_every_pair_and_every_outcome(rows: Callable[..., Rows]) -> None:
    groups: defaultdict[tuple[str, str | None], list[Outcome]] = defaultdict(list)
    for one in labelled():
        groups[hour_of(one), one.model_version].append(one)
    found = rows("log_loss_by_hour")
    by_version = sorted(groups, key=lambda key: str(key[1]))
    assert [(row["hour"], row["model_version"]) for row in found] == sorted(
        by_version, key=lambda key: key[0], reverse=True
    )
    for row in found:
        some = groups[row["hour"], row["model_version"]]
        clicked = [one for one in some if one.kind == "click"]
        rate = weight(clicked) / weight(some)
        entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
        assert row["clicks"] == len(clicked)
        assert row["ctr"] == pytest.approx(rate, abs=1e-6)
        assert row["log_loss"] == pytest.approx(mean(some, loss), abs=1e-6)
        assert row["auc"] == pytest.approx(auc(some), abs=1e-4)
        assert row["calibration"] == pytest.approx(mean(some, lambda one: one.pctr or 0.0) / rate, abs=1e-4)
        assert row["normalised_entropy"] == pytest.approx(mean(some, loss) / entropy, abs=1e-4)
    left_out = [one for one in traffic() if one.kind in ("click", "unclicked") and one.pctr is None]
    assert sum(row["unpredicted"] for row in found) == pytest.approx(weight(left_out), abs=len(found) / 2)
    assert sum(row["impressions"] for row in found) == pytest.approx(
        weight([*left_out, *labelled()]), abs=len(found) / 2
    )


def test_an_hour_of_one_class_or_without_predictions_has_empty_scores(ads: Client) -> None:
    alone = [
        outcome(1, "unclicked", 0.1),
        outcome(2, "click", 0.1, model_version="m2"),
        outcome(3, "click", None, model_version=""),
    ]
    insert(ads, "outcomes", alone)
    found = run_query(ads, "log_loss_by_hour")
    shown = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    assert [(row["model_version"], row["auc"], row["calibration"], row["normalised_entropy"]) for row in shown] == [
        ("", None, None, None),
        ("m1", None, None, None),
        ("m2", None, 0.1, None),
    ]
    assert [row["log_loss"] for row in shown] == [None, 0.105361, 2.302585]
    # JSON writes NaN as null; Arrow keeps it.
    for name in ("log_loss_by_hour", "calibration", "model_versions", "experiment_arms"):
        query, bound = bind(name)
        for row in pyarrow.ipc.open_stream(arrow(ads, query.sql, bound)).read_all().to_pylist():
            assert not [
                column for column, value in row.items() if isinstance(value, float) and not math.isfinite(value)
            ]
    versions = run_query(ads, "model_versions")
    assert [(row[0], row[versions.columns.index("auc")]) for row in versions.rows] == [("m1", None), ("m2", None)]


def test_deciles_hold_a_tenth_of_the_weight_and_never_split_equal_predictions(rows: Callable[..., Rows]) -> None:
    found = rows("calibration", model_version="m1")
    some = labelled("m1")
    parts: defaultdict[int, list[Outcome]] = defaultdict(list)
    for one in some:
        lighter = weight(other for other in some if other.pctr < one.pctr)  # type: ignore[operator]
        parts[1 + min(9, int(10 * lighter / weight(some)))].append(one)
    predicted = [row for row in found if row["decile"]]
    assert [row["decile"] for row in predicted] == sorted(parts)
    for row in predicted:
        part = parts[row["decile"]]
        clicks = sum(one.kind == "click" for one in part)
        assert row["impressions"] == pytest.approx(weight(part), abs=0.5)
        assert row["clicks"] == clicks
        assert (row["lowest_pctr"], row["highest_pctr"]) == (
            min(one.pctr or 0 for one in part),
            max(one.pctr or 0 for one in part),
        )
        expected = mean(part, lambda one: one.pctr or 0.0)
        observed = clicks / weight(part)
        assert (row["predicted"], row["observed"]) == pytest.approx((expected, observed), abs=1e-6)
        assert row["ratio"] == (pytest.approx(observed / expected, abs=1e-4) if expected else None)
    # Those without a prediction are a row of their own.
    (none,) = [row for row in found if not row["decile"]]
    without = [one for one in traffic() if one.pctr is None and one.model_version == "m1"]
    assert none["impressions"] == pytest.approx(weight(without), abs=0.5)
    assert none["clicks"] == sum(one.kind == "click" for one in without)
    assert none["ratio"] is None


@pytest.mark.parametrize("clicks", [0, 1, 7, 40])
def test_with_every_outcome_kept_the_interval_is_wilsons(ads: Client, clicks: int) -> None:
    insert(ads, "outcomes", [outcome(at, "click" if at < clicks else "unclicked", 0.1) for at in range(40)])
    (row,) = [dict(zip(table.columns, table.rows[0], strict=True)) for table in [run_query(ads, "calibration")]]
    low, high = proportion_confint(clicks, 40, method="wilson")
    assert (row["observed_low"], row["observed_high"]) == pytest.approx((low, high), abs=1e-6)
    assert (row["ratio_low"], row["ratio_high"]) == pytest.approx((low / 0.1, high / 0.1), abs=1e-4)


def test_a_sample_of_the_unclicked_is_as_uncertain_as_its_log_odds_say(ads: Client) -> None:
    kept = [outcome(at, "unclicked", 0.1, weight=20.0) for at in range(1_000)]
    insert(ads, "outcomes", [*kept, *[outcome(2_000 + at, "click", 0.1) for at in range(200)]])
    table = run_query(ads, "calibration")
    row = dict(zip(table.columns, table.rows[0], strict=True))
    rate = 200 / 20_200
    spread = 1.96 * math.sqrt(1 / 200 + 1 / 1_000)
    odds = [rate / (1 - rate) * math.exp(side * spread) for side in (-1, 1)]
    assert (row["observed_low"], row["observed_high"]) == pytest.approx([each / (1 + each) for each in odds], rel=0.02)
    # As if all had been kept it would be narrower.
    assert row["observed_high"] - row["observed_low"] > 1.05 * (lambda ends: ends[1] - ends[0])(
        proportion_confint(200, 20_200, method="wilson")
    )


def test_a_slice_is_one_value_of_a_dimension(rows: Callable[..., Rows]) -> None:
    found = rows("calibration", slice="campaign_id=k2", model_version="m2")
    part = [one for one in traffic() if one.campaign_id == "k2" and one.model_version == "m2"]
    assert sum(row["clicks"] for row in found) == sum(one.kind == "click" for one in part) > 0
    assert sum(row["impressions"] for row in found) == pytest.approx(weight(part), abs=len(found) / 2)
    assert rows("calibration", slice="country=DE") == []
    with pytest.raises(ClickfoldError, match="a slice is all, or dimension=value"), clickhouse_errors_as_sentences():
        rows("calibration", slice="user=7")


def test_versions_are_compared_within_hours_and_campaigns_of_both(rows: Callable[..., Rows]) -> None:
    found = {row["model_version"]: row for row in rows("model_versions")}
    # m3 is a quarter of the outcomes, m1 half of them.
    assert list(found) == ["m1", "m2", "m3"] or list(found) == ["m1", "m3", "m2"]
    for version, row in found.items():
        some = labelled(version)
        own = mean(some, loss)
        error = math.sqrt(math.fsum((one.weight * (loss(one) - own)) ** 2 for one in some)) / weight(some)
        assert (row["log_loss"], row["log_loss_error"]) == pytest.approx((own, error), abs=1e-6)
        assert row["auc"] == pytest.approx(auc(some), abs=1e-4)
        assert row["baseline"] == "m1"
    strata: defaultdict[tuple[str, str | None], dict[str | None, list[Outcome]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for one in labelled():
        strata[hour_of(one), one.campaign_id][one.model_version].append(one)
    both = [(each["m2"], each["m1"]) for each in strata.values() if len(each["m2"]) > 1 and len(each["m1"]) > 1]
    shares = [weight(ours) * weight(theirs) / (weight(ours) + weight(theirs)) for ours, theirs in both]
    apart = [mean(ours, loss) - mean(theirs, loss) for ours, theirs in both]
    difference = math.fsum(share * each for share, each in zip(shares, apart, strict=True)) / sum(shares)
    spread = math.fsum(
        share**2 * (variance(ours) + variance(theirs)) for share, (ours, theirs) in zip(shares, both, strict=True)
    )
    half = 1.96 * math.sqrt(spread) / sum(shares)
    row = found["m2"]
    assert row["difference"] == pytest.approx(difference, abs=1e-6)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(
        (difference - half, difference + half), rel=1e-3
    )
    assert row["matched"] == pytest.approx(
        weight(one for ours, _ in both for one in ours) / weight(labelled("m2")), abs=1e-4
    )
    assert (found["m3"]["matched"], found["m3"]["difference"]) == (0, None)
    assert (found["m1"]["matched"], found["m1"]["difference"]) == (None, None)


def variance(some: list[Outcome]) -> float:
    """Of the mean loss of a stratum."""
    own = mean(some, loss)
    squares = math.fsum((one.weight * (loss(one) - own)) ** 2 for one in some)
    return squares / weight(some) ** 2 * len(some) / (len(some) - 1)


def test_a_baseline_may_be_named(rows: Callable[..., Rows]) -> None:
    forth = {row["model_version"]: row["difference"] for row in rows("model_versions", baseline="m1")}
    back = {row["model_version"]: row["difference"] for row in rows("model_versions", baseline="m2")}
    assert back["m1"] == -forth["m2"] != 0
    assert back["m2"] is None


def test_without_a_name_the_baseline_is_the_version_of_most_impressions(ads: Client) -> None:
    shown = [outcome(1, "unclicked", 0.1), outcome(2, "unclicked", 0.1, model_version="m2", weight=2.0)]
    insert(ads, "outcomes", shown)
    table = run_query(ads, "model_versions")
    assert {row[table.columns.index("baseline")] for row in table.rows} == {"m2"}

"""Named queries about spend, held against plain Python over the records and figures told by hand."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from clickhouse_connect.driver.client import Client
from msgspec.structs import replace

from schemas.events import MAX_TS_MS, Campaign
from schemas.outcomes import Outcome
from streams.warehouse.rollups import roll_up
from tests.factories import change
from tests.golden import HOUR_MS, MINUTE_MS, announce, answered, insert, quiet, total
from tests.world import CAMPAIGNS, decisions, impressions, outcomes

pytestmark = pytest.mark.clickhouse


def day_in(zone: str, ts_ms: int) -> str:
    return str(datetime.fromtimestamp(ts_ms / 1000, ZoneInfo(zone)).date())


def test_spend_over_budget_is_by_each_campaigns_own_days(golden: Client) -> None:
    announced = {one.campaign_id: one for one in CAMPAIGNS}
    spent: Counter[tuple[str, str]] = Counter()
    for one in outcomes():
        campaign = announced.get(one.campaign_id or "")
        if one.kind == "click" and campaign:
            spent[campaign.campaign_id, day_in(campaign.timezone, one.click_ts or 0)] += one.price_micros or 0
    found = {(row["campaign_id"], row["local_day"]): row for row in answered(golden, "over_budget", within="true")}
    # k2's midnight is at 18:15 UTC, k1's at 23:00: both have clicks on either side.
    assert set(spent) == {("k1", "2023-11-14"), ("k1", "2023-11-15"), ("k2", "2023-11-14"), ("k2", "2023-11-15")}
    assert {key: found[key]["spend_micros"] for key in spent} == spent
    for (name, _), row in found.items():
        assert row["over_micros"] == row["spend_micros"] - announced[name].daily_budget_micros
    over = {key for key, micros in spent.items() if micros > announced[key[0]].daily_budget_micros}
    assert {(row["campaign_id"], row["local_day"]) for row in answered(golden, "over_budget")} == over != set()


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Australia/Eucla", "America/New_York", "UTC", "Pacific/Kiritimati"])
def test_a_campaigns_day_ends_at_its_own_midnight_to_the_minute(ads: Client, zone: str) -> None:
    # In New York this day has 25 hours.
    midnight = datetime(2023, 11, 5, tzinfo=ZoneInfo(zone))
    ends = [int(at.timestamp() * 1000 - HOUR_MS) // MINUTE_MS for at in (midnight, midnight + timedelta(days=1))]
    announce(ads, Campaign("k1", 4, zone, "active", "even", 1))
    spends = {ends[0] - 1: 1, ends[0]: 2, ends[1] - 1: 3, ends[1]: 40}
    insert(ads, "totals", [total(minute, version=1, spend_micros=spend) for minute, spend in spends.items()])
    found = answered(ads, "over_budget", within="true")
    # 2 + 3 of a budget of 4 is one too much.
    assert [(row["local_day"], row["spend_micros"], row["over_micros"], row["over_percent"]) for row in found] == [
        ("2023-11-06", 40, 36, 900),
        ("2023-11-05", 5, 1, 25),
        ("2023-11-04", 1, -3, -75),
    ]
    assert len(answered(ads, "over_budget")) == 2


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "europe/berlin", "UTC+1", "../UTC"])
def test_a_campaign_of_an_unknown_time_zone_has_days_of_utc_and_leaves_others_theirs(ads: Client, zone: str) -> None:
    announce(ads, Campaign("k1", 4, "Europe/Berlin", "active", "even", 1))
    announce(ads, Campaign("k2", 4, zone, "active", "even", 1))
    # At 23:00 UTC it is midnight in Berlin.
    insert(
        ads,
        "totals",
        [total(at, version=1, campaign_id=name, spend_micros=9) for at in (59, 60) for name in ("k1", "k2")],
    )
    columns = ("campaign_id", "local_day", "timezone", "zone_known", "spend_micros")
    assert [tuple(row[name] for name in columns) for row in answered(ads, "over_budget")] == [
        ("k2", "2023-11-14", zone, False, 18),
        ("k1", "2023-11-15", "Europe/Berlin", True, 9),
        ("k1", "2023-11-14", "Europe/Berlin", True, 9),
    ]


def test_a_budget_of_nothing_is_over_without_a_percentage(ads: Client) -> None:
    announce(ads, Campaign("k1", 0, "UTC", "active", "even", 1))
    insert(ads, "totals", [total(0, version=1, spend_micros=7), total(0, version=1, campaign_id="k9", spend_micros=7)])
    (row,) = answered(ads, "over_budget")
    assert (row["campaign_id"], row["over_micros"], row["over_percent"]) == ("k1", 7, None)


def test_a_past_day_is_judged_by_the_highest_budget_that_was_in_force_on_it(ads: Client) -> None:
    midnight = datetime(2023, 11, 14, tzinfo=ZoneInfo("Europe/Berlin"))

    def at_ms(day: int, hour: float) -> int:
        return int((midnight + timedelta(days=day, hours=hour)).timestamp() * 1000)

    first = Campaign("k1", 10, "Europe/Berlin", "active", "even", 1)
    announce(ads, first, at_ms=at_ms(0, 6))
    announce(ads, replace(first, version=2, daily_budget_micros=4), number=2, at_ms=at_ms(1, 12))
    announce(ads, replace(first, version=3, daily_budget_micros=20), number=3, at_ms=at_ms(3, 0.5))
    insert(ads, "campaign_history", [change(None, campaign_id="k1", number=4, in_force_ms=at_ms(4, 1))])
    announce(ads, replace(first, version=4, daily_budget_micros=2), number=5, at_ms=at_ms(6, 1))
    spends = [(at_ms(day, 23.5) - HOUR_MS) // MINUTE_MS for day in range(-1, 7)]
    insert(ads, "totals", [total(minute, version=1, spend_micros=11) for minute in spends])
    found = {row["local_day"]: row for row in answered(ads, "over_budget", within="true")}
    assert [(day, found[day]["budget_micros"], found[day]["budgets"]) for day in sorted(found)] == [
        ("2023-11-13", 10, 1),  # before the first budget: the first
        ("2023-11-14", 10, 1),
        ("2023-11-15", 10, 2),
        ("2023-11-16", 4, 1),
        ("2023-11-17", 20, 2),
        ("2023-11-18", 20, 2),
        ("2023-11-19", 0, 1),  # withdrawn
        ("2023-11-20", 2, 2),
    ]
    assert {row["over_micros"] for row in answered(ads, "over_budget")} == {1, 7, 9, 11}


def test_a_budget_with_a_clock_far_ahead_ends_when_a_later_one_comes_into_force(ads: Client) -> None:
    first = Campaign("k1", 10, "UTC", "active", "even", 1)
    announce(ads, first)
    announce(ads, replace(first, version=2, daily_budget_micros=4), number=2, at_ms=MAX_TS_MS)
    announce(ads, replace(first, version=3, daily_budget_micros=6), number=3, at_ms=HOUR_MS + 60 * MINUTE_MS)
    spans = "SELECT number, toString(in_force_until) FROM campaign_history ORDER BY number"
    eleven = "2023-11-14 23:00:00.000"
    assert ads.query(spans).result_rows == [(1, eleven), (2, eleven), (3, None)]
    insert(ads, "totals", [total(24 * 60, version=1, spend_micros=7)])
    (row,) = answered(ads, "over_budget")
    assert (row["budget_micros"], row["budgets"]) == (6, 1)


def test_the_pacing_curve_is_the_last_decision_of_each_step(golden: Client) -> None:
    of_k1 = [one for one in decisions() if one.campaign_id == "k1"]
    rows = answered(golden, "pacing_curve", campaign="k1", step_minutes="25")
    expected = {}
    for one in of_k1:
        # The local midnight is at 23:00 UTC; a later decision of a step takes the place of an earlier one.
        step = (one.event_ms - one.day_start) // (25 * MINUTE_MS)
        percent = round(100 * one.spend_micros / one.budget_micros, 2)
        expected[step * 25] = (one.spend_micros, one.plan_micros, percent, one.admit, one.state)
    midnight = datetime(2023, 11, 14, 23)
    found = {
        (datetime.fromisoformat(row["step"]) - midnight) // timedelta(minutes=1): (
            *(row[name] for name in ("spend_micros", "plan_micros", "spend_percent", "admit", "state")),
        )
        for row in rows
    }
    assert found == expected
    assert len(found) == 3


def test_a_day_of_spend_is_that_of_its_clicks_and_a_rate_that_of_its_impressions(golden: Client) -> None:
    day_ms = HOUR_MS + 120 * MINUTE_MS
    shown = Counter((one.campaign_id, one.ts >= day_ms) for one in impressions())
    billed = [one for one in outcomes() if one.kind == "click"]
    clicks = Counter((one.campaign_id, (one.click_ts or 0) >= day_ms) for one in billed)
    attributed = Counter((one.campaign_id, (one.ts or 0) >= day_ms) for one in billed)
    price = {one.campaign_id: one.price_micros for one in impressions()}
    rows = answered(golden, "spend_by_day")
    assert len(rows) == len(shown)
    for row in rows:
        key = (row["campaign_id"], row["day"] == "2023-11-15")
        assert (row["impressions"], row["attributed_clicks"]) == (shown[key], attributed[key])
        assert row["clicks"] == clicks[key]
        assert row["spend_micros"] == clicks[key] * price[key[0]]
        assert row["per_click_micros"] == price[key[0]]
        assert row["per_mille_micros"] == round(1000 * attributed[key] * price[key[0]] / shown[key])
    only_second = answered(golden, "spend_by_day", since="2023-11-14 00:00:01")
    assert {row["day"] for row in only_second} == {"2023-11-15"}


def test_what_comes_from_one_fold_agrees(golden: Client) -> None:
    for step in ("day", "hour"):
        assert answered(golden, "reconciliation", step=step) == []
        every = answered(golden, "reconciliation", step=step, agreeing="true")
        assert {row["difference"] for row in every} == {0}
        sources = {"hours", "outcomes"} | ({"days"} if step == "day" else set())
        assert {row["source"] for row in every} == sources
        clicks = [row for row in every if (row["source"], row["measure"]) == ("outcomes", "clicks")]
        assert sum(row["in_source"] for row in clicks) == len([one for one in outcomes() if one.kind == "click"])


def test_differences_between_roll_ups_outcomes_and_minutes_are_told(ads: Client) -> None:
    quiet(ads)
    insert(ads, "totals", [total(0, version=1, impressions=9, attributed_clicks=1, clicks=1, spend_micros=5)])
    roll_up(ads)
    insert(ads, "totals", [total(0, version=2, impressions=10, attributed_clicks=1, clicks=1, spend_micros=5)])
    # A click of an impression of the hour before, and a repeat the totals know nothing of.
    about: dict[str, Any] = {"ts": HOUR_MS - 1, "campaign_id": "k1", "price_micros": 5, "delay_ms": 1}
    insert(
        ads,
        "outcomes",
        [
            Outcome("click", "i1", 0, click_id="c1", click_ts=HOUR_MS, **about),
            Outcome("repeat", "i1", 0, click_id="c2", click_ts=HOUR_MS, **about),
        ],
    )
    found = {
        (row["from_time"][11:13], row["source"], row["measure"]): (row["in_source"], row["in_minutes"])
        for row in answered(ads, "reconciliation", step="hour")
    }
    assert found == {
        ("22", "hours", "impressions"): (9, 10),
        ("22", "outcomes", "attributed_clicks"): (0, 1),
        ("22", "outcomes", "repeats"): (1, 0),
        ("21", "outcomes", "attributed_clicks"): (1, 0),
        ("21", "outcomes", "attributed_spend_micros"): (5, 0),
    }
    assert {row["source"] for row in answered(ads, "reconciliation")} == {"hours", "days", "outcomes"}


@pytest.mark.parametrize("by", ["placement", "arm"])
def test_sums_by_a_dimension_are_those_of_the_records(golden: Client, by: str) -> None:
    shown = Counter(getattr(one, by) or "" for one in impressions())
    billed = [one for one in outcomes() if one.kind == "click"]
    clicks = Counter(getattr(one, by) or "" for one in billed)
    spent: Counter[str] = Counter()
    for one in billed:
        spent[getattr(one, by) or ""] += one.price_micros or 0
    rows = answered(golden, "by_dimension", by=by)
    assert [row["spend_micros"] for row in rows] == sorted(spent.values(), reverse=True)
    found = {row["name"]: (row["impressions"], row["clicks"], row["spend_micros"]) for row in rows}
    assert found == {name: (count, clicks[name], spent[name]) for name, count in shown.items()}

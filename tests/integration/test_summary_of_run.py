"""The summary read back from ClickHouse."""

# ruff: noqa: RUF001  # dashes of the golden text

from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from schemas.events import Campaign
from schemas.models import ModelMetrics
from schemas.pacing import PacingDecision
from streams.cli.render.summary import summary
from tests.golden import HOUR_MS, MINUTE_MS, announce, insert, total
from tests.test_summary import DAY_MINUTES, MICROS, text_of


@pytest.fixture
def ads(ads: Client) -> Client:
    """A client on a database with a small, fixed run: two campaigns, two days, two arms, one model."""
    arm: dict[str, Any] = {"experiment": "policy", "final": True}
    insert(
        ads,
        "totals",
        [
            total(0, version=1, arm="bts", impressions=400, attributed_clicks=9, attributed_spend_micros=9, **arm),
            total(0, version=1, arm="random", impressions=300, attributed_clicks=1, **arm),
            total(5, version=1, arm="bts", clicks=10, spend_micros=250 * MICROS, **arm),
            total(65, version=1, arm="random", impressions=100, attributed_clicks=3, expected_clicks_nano=10**9, **arm),
            total(DAY_MINUTES, version=1, campaign_id="k2", impressions=50, attributed_clicks=1, spend_micros=MICROS),
        ],
    )
    announce(
        ads,
        *(Campaign(name, 10**9, "Asia/Tokyo", "active", "even", 1, currency="JPY") for name in ("k1", "k2")),
    )
    decided = (HOUR_MS, HOUR_MS - 7 * 60 * MINUTE_MS)
    insert(
        ads,
        "pacing",
        [
            PacingDecision("k1", 1, *decided, "ahead", 0.25, 1_000 * MICROS, 250 * MICROS, 100 * MICROS, 800, 10),
            PacingDecision("k2", 1, *decided, "unknown", 0.0, 0, MICROS, 0, 50, 1),
        ],
    )
    windows = [
        ModelMetrics("ctr", 0, at, start, start + MINUTE_MS, name, 100, 100.0, clicks, 5.5, 0.2, None, None)
        for at, start, clicks, name in (
            (1, HOUR_MS, 4.0, "all"),
            (2, HOUR_MS + MINUTE_MS, 0.0, "all"),
            (2, HOUR_MS, 4.0, "campaign_id=k1"),
        )
    ]
    insert(ads, "model_metrics", windows)
    return ads


GOLDEN = """\
CTR and spend by campaign and day (UTC)
campaign day   impressions clicks CTR % spend JPY impressions, 0 to 23 h
──────────────────────────────────────────────────────────────────────────
k1       11-14         800     13  1.62    250.00 ······················█▂

k2       11-15          50      1  2.00      1.00 ······················▁·

k1       all           800     13  1.62    250.00
k2       all            50      1  2.00      1.00
CTR: of the day's impressions, whenever clicked; spend: by the day of the click. Hour by hour:
clickfold query ctr_by_campaign_hour

Experiments: click rate by arm, 95 % intervals at every look
experiment arm    impressions clicks CTR % low % high % predicted
─────────────────────────────────────────────────────────────────
policy     bts            400      9 2.250 0.000 18.476       0.0
policy     random         400      4 1.000 0.000 11.886       1.0
policy: random less bts is -1.250 points (-20.790 to +18.290), p 0.99: undecided; 9 and 4 clicks are
too few to tell; wait for 20 together

Pacing: last decision on each campaign, spend of its local day
campaign at (UTC)    spend JPY   plan   budget used % admit state
───────────────────────────────────────────────────────────────────
k1       11-14 22:00    250.00 100.00 1,000.00   25.0  0.25 ahead
k2       11-14 22:00      1.00   0.00     0.00      –  0.00 unknown

Model: predicted before learned, by day of the impression (UTC)
model day   outcomes clicks predicted calibration log loss constant's
─────────────────────────────────────────────────────────────────────
ctr   11-14      200      4      11.0        2.75  0.20000    0.09804
ctr   all        200      4      11.0        2.75  0.20000    0.09804
constant's: log loss of the period's own click rate, which nobody could know then.
"""


@pytest.mark.clickhouse
def test_the_summary_of_a_fixed_run_is_its_golden_text(ads: Client) -> None:
    assert text_of(summary(ads)).rstrip() == GOLDEN.rstrip()


@pytest.mark.clickhouse
def test_the_summary_of_nothing_says_so(fresh: Client) -> None:
    shown = text_of(summary(fresh))
    for sentence in ("no totals yet", "no impression names an arm", "no decisions yet", "no window is complete yet"):
        assert sentence in shown

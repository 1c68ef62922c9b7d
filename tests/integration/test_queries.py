"""Named queries on a few rows, their answers told by hand; what all of them keep to."""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import answer, bind, parse, queries, run_query
from schemas.errors import SettingsError
from schemas.events import MAX_TS_MS, MIN_TS_MS, Campaign
from schemas.models import ModelMetrics
from schemas.outcomes import Outcome
from schemas.pacing import PacingDecision
from schemas.rejects import Reason, rejected
from schemas.totals import DIMENSIONS, MEASURES, LogCounts
from streams.embedded.clickhouse import ClickHouse
from streams.warehouse.client import connect
from streams.warehouse.rollups import roll_up
from tests.golden import HOUR_MS, MINUTE_MS, announce, insert, ledger, quiet, total

pytestmark = pytest.mark.clickhouse


@pytest.fixture(scope="module")
def few(clickhouse: ClickHouse) -> Iterator[Client]:
    """A client on a database with a few rows; for reading only."""
    with connect(clickhouse.url) as client:
        migrate(client, database="few")
        insert_few(client)
        yield client
        client.command("DROP DATABASE few SYNC")


def insert_few(ads: Client) -> None:
    """A handful of rows whose answers are told by hand."""
    insert(
        ads,
        "totals",
        [
            total(0, version=1, impressions=50, attributed_clicks=1, clicks=1, spend_micros=10),
            total(0, version=2, final=True, impressions=60, attributed_clicks=3, clicks=2, spend_micros=20),
            total(
                1, version=1, final=True, partition=1, impressions=40, attributed_clicks=1, clicks=1, spend_micros=30
            ),
            total(60, version=1, impressions=8, creative_id="r2", experiment="e", arm="a", expected_clicks_nano=10**9),
            total(60, version=1, campaign_id="k2", impressions=5, attributed_clicks=1, attributed_spend_micros=70),
        ],
    )
    clicks = [("i1", 1_000), ("i2", 3_000), ("i3", -20), ("i4", 60_000)]
    insert(
        ads,
        "outcomes",
        [
            Outcome(
                "click", name, 0, click_id=name, click_ts=HOUR_MS + delay, delay_ms=delay, ts=HOUR_MS, campaign_id="k1"
            )
            for name, delay in clicks
        ],
    )
    insert(ads, "ledger", [ledger(0, watermark_minute=120, pending=1), ledger(1, watermark_minute=60)])
    insert(
        ads,
        "pacing",
        [
            PacingDecision("k1", 1, HOUR_MS, HOUR_MS, "on_plan", 1.0, 200, 10, 10, 1, 1),
            PacingDecision("k1", 2, HOUR_MS + MINUTE_MS, HOUR_MS, "ahead", 0.5, 200, 60, 50, 9, 2),
            PacingDecision("50%'s", 1, HOUR_MS, HOUR_MS, "unknown", 0.0, 0, 40, 0, 3, 1),
        ],
    )
    insert(
        ads, "model_metrics", [ModelMetrics("m", 0, 5, HOUR_MS, HOUR_MS + 9, "all", 9, 9.5, 1, 1.25, 0.1, 0.75, 1.25)]
    )
    place = {"topic": "ads.clicks", "partition": 1, "record_ts_ms": HOUR_MS}
    insert(ads, "rejects", [rejected(Reason.KEY, f"no {at}", b"x", offset=at, **place) for at in (5, 6)])  # type: ignore[arg-type]  # kinds of values


@pytest.mark.parametrize(
    ("name", "values", "rows"),
    [
        (
            "ctr_by_campaign_hour",
            {},
            [
                ["2023-11-14 23:00:00", "k1", 8, 0, 0, 0, 0, False],
                ["2023-11-14 23:00:00", "k2", 5, 1, 0.2, 0, 0, False],
                ["2023-11-14 22:00:00", "k1", 100, 4, 0.04, 3, 50, True],
            ],
        ),
        (
            "ctr_by_campaign_hour",
            {"since": "2023-11-14 22:30:00", "campaign": "k1"},
            [["2023-11-14 23:00:00", "k1", 8, 0, 0, 0, 0, False]],
        ),
        (
            "experiment_arms",
            {},
            # One arm alone: nothing to compare it with.
            [["e", "a", 8, 0, 0, 1, 0, 0, "a", *[None] * 7, 1, 1, None, False]],
        ),
        ("click_delay", {}, [["k1", 4, -20, 3_000, 60_000, 60_000, 60_000]]),
        (
            "completeness",
            {},
            [["2023-11-14 23:00:00", 1, 0, 2, 0, False], ["2023-11-14 22:00:00", 2, 2, 2, 2, True]],
        ),
        (
            "ledger",
            {},
            [
                [0, True, 12, 10, 1, 1, 0, 0, 4, 6, 5, 3, 3, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0],
                [1, False, 12, 10, 1, 1, 0, 0, 4, 6, 5, 3, 3, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0],
            ],
        ),
        (
            "pacing",
            {"campaign": "50%'s"},
            [["50%'s", "unknown", 0, 1, 40, 0, 0, 0, 40, None, 3, 1, *["2023-11-14 22:00:00.000"] * 2, ""]],
        ),
        ("rejects", {}, [["ads.clicks", "key", 2, "2023-11-14 22:00:00.000", 1, 6, "no 6"]]),
        (
            "top_creatives",
            {"impressions": "6"},
            # The intervals are statsmodels' proportion_confint(method="wilson").
            [["k1", "", 100, 4, 0.04, 0.015663, 0.098371, 0], ["k1", "r2", 8, 0, 0, 0, 0.324408, 0]],
        ),
        (
            "model_metrics",
            {},
            [
                [
                    "2023-11-14 22:00:00.000",
                    "2023-11-14 22:00:00.009",
                    "m",
                    0,
                    "all",
                    5,
                    9,
                    9.5,
                    1,
                    1.25,
                    0.1,
                    0.75,
                    1.25,
                    None,
                    0,
                ]
            ],
        ),
        (
            "model_quality",
            {},
            # The limits of `online_models.metrics.calibration_interval`.
            [
                [
                    "2023-11-14 22:00:00",
                    "m",
                    "all",
                    9,
                    10,
                    1,
                    0.2972,
                    0.1,
                    0.75,
                    1.25,
                    0.2247,
                    95.6233,
                    0,
                ]
            ],
        ),
    ],
)
def test_a_named_query_gives_the_answer_told_by_hand(
    few: Client, name: str, values: dict[str, str], rows: list[list[Any]]
) -> None:
    assert run_query(few, name, values).rows == rows


def test_pacing_shows_the_latest_decision_furthest_from_its_plan_first(few: Client) -> None:
    table = run_query(few, "pacing")
    shown = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["campaign_id"], row["over_plan_micros"], row["budget_percent"]) for row in shown] == [
        ("50%'s", 40, None),
        ("k1", 10, 30),
    ]


def test_a_named_query_names_its_columns_without_rows(ads: Client) -> None:
    for name in queries():
        table = run_query(ads, name)
        assert len(table.columns) == len(table.types) > 1
        assert table.rows == [], name


def test_no_answer_holds_a_number_that_is_none(ads: Client) -> None:
    """Of rows that leave nothing to divide by. JSON would write NaN as null, so it is asked to quote it."""
    insert(ads, "totals", [total(0, version=1, final=True, clicks=1, spend_micros=7, experiment="e", arm="a")])
    insert(ads, "outcomes", [Outcome("orphan", "i1", 0, click_id="c1", click_ts=HOUR_MS)])
    insert(ads, "outcomes", [Outcome("unclicked", "i2", 0, ts=HOUR_MS, campaign_id="k1", user_id="u")])
    announce(ads, Campaign("k1", 0, "UTC", "active", "even", 1))
    insert(ads, "pacing", [PacingDecision("k1", 1, HOUR_MS, HOUR_MS, "unknown", 0.0, 0, 0, 0, 0, 0)])
    nothing = dict.fromkeys(("open", "closed", "unclicked", "billable", "orphan"), 0)
    empty = msgspec.structs.replace(
        ledger(0, watermark_minute=0), impressions=LogCounts(), clicks=LogCounts(), **nothing
    )
    insert(ads, "ledger", [empty])
    roll_up(ads)
    for name in queries():
        query, bound = bind(name)
        table = answer(ads, query.sql, bound, {"output_format_json_quote_denormals": 1})
        values = [value for row in table.rows for value in row]
        assert not {"nan", "-nan", "inf", "-inf"} & {value for value in values if isinstance(value, str)}, name


# Texts that are no time zone, number, date, list or JSON, and the longest that a record may have.
HOSTILE = ("Mars/Olympus", "-1", "1e999", "2023-13-45", "a=b=c,", "{", "'\\\"%s", "a\0b", "é" * 256, "nan")


def test_no_text_of_a_record_breaks_a_named_query_or_a_view(ads: Client) -> None:
    quiet(ads)
    times = (MIN_TS_MS, HOUR_MS, MAX_TS_MS)
    for text in HOSTILE:
        announce(ads, Campaign(text, 10**15, text, "active", "even", 2**63 - 1, currency=text))
        given: dict[str, Any] = {**dict.fromkeys(DIMENSIONS, text), **dict.fromkeys(MEASURES, 10**12)}
        insert(ads, "totals", [total(0, version=1, **given)])
        of = {"campaign_id": text, "user_id": text, "experiment": text, "arm": text, "model_version": text}
        outcomes = [Outcome("orphan", text, 0, click_id=text, click_ts=HOUR_MS)]
        for at, pctr in itertools.product(times, (None, 0.0, 1.0)):
            about: dict[str, Any] = {"ts": at, "pctr": pctr, **of}
            outcomes.append(Outcome("click", text, 0, click_id=text, click_ts=at, delay_ms=0, **about))
            outcomes.append(Outcome("unclicked", text, 0, weight=1e300, **about))
        insert(ads, "outcomes", outcomes)
        insert(ads, "pacing", [PacingDecision(text, 1, at, at, "unknown", 0.0, 0, 0, 0, 0, 0) for at in times])
        place: dict[str, Any] = {"topic": text, "partition": 1, "offset": 0, "record_ts_ms": -1}
        insert(ads, "rejects", [rejected(Reason.KEY, text, text.encode(), **place)])
    roll_up(ads)
    for name in queries():
        run_query(ads, name)
    for (view,) in ads.query("SHOW TABLES").result_rows:
        ads.command(f"SELECT * FROM {view} FORMAT Null")
    for text in (*HOSTILE, "unheard of"):
        ads.query("SELECT dictGet('campaign_facts', 'timezone', {key:String})", parameters={"key": text})


def test_unknown_names_and_wrong_values_are_refused_in_a_sentence(few: Client) -> None:
    with pytest.raises(SettingsError, match=r"choose from .*click_delay"):
        run_query(few, "ctr")
    with pytest.raises(SettingsError, match="it takes campaign, rows"):
        run_query(few, "pacing", {"hour": "3"})
    with pytest.raises(SettingsError, match="rows='many' is not of its type"):
        run_query(few, "pacing", {"rows": "many"})


def test_every_placeholder_of_a_query_is_a_parameter_of_its_header() -> None:
    for query in queries().values():
        declared = {f"{{{parameter.name}:{parameter.type}}}" for parameter in query.parameters}
        body = [line for line in query.sql.splitlines() if not line.startswith("--")]
        used = {"{" + part.partition("}")[0] + "}" for part in "\n".join(body).split("{")[1:]}
        assert used == declared, query.name


@pytest.mark.parametrize(
    "sql", ["SELECT 1", "-- Text.\n-- param: x\nSELECT 1", "-- Text.\n-- param x T 1 -- y\nSELECT 1"]
)
def test_a_header_that_cannot_be_read_is_refused(sql: str) -> None:
    with pytest.raises(SettingsError, match="query bad"):
        parse("bad", sql)

"""Migrations, views and named queries on the embedded ClickHouse."""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse import migrations as migrations_module
from schemas.clickhouse.migrations import migrate, migrations, unapplied
from schemas.clickhouse.queries import parse, queries, run_query
from schemas.errors import SettingsError
from schemas.events import Campaign
from schemas.models import ModelMetrics
from schemas.outcomes import Outcome
from schemas.pacing import PacingDecision
from schemas.rejects import Reason, rejected
from streams.embedded.clickhouse import ClickHouse
from streams.sink.client import connect
from streams.sink.shapes import SHAPES
from tests.golden import HOUR_MS, MINUTE_MS, insert, ledger, total

pytestmark = pytest.mark.clickhouse


@pytest.fixture
def ads(database: Client) -> Client:
    """A client on a database with all tables."""
    migrate(database, database=str(database.database))
    return database


@pytest.fixture(scope="module")
def few(clickhouse: ClickHouse) -> Iterator[Client]:
    """A client on a database with a few rows; for reading only."""
    with connect(clickhouse.url) as client:
        migrate(client, database="few")
        insert_few(client)
        yield client
        client.command("DROP DATABASE few SYNC")


def test_migrating_again_applies_nothing(database: Client) -> None:
    name = str(database.database)
    assert unapplied(database) == migrations()
    assert migrate(database, database=name) == migrations()
    assert (migrate(database, database=name), unapplied(database)) == ([], [])


def test_a_migration_cut_short_is_applied_again(ads: Client) -> None:
    ads.command("DROP VIEW campaigns")
    ads.command("DELETE FROM migrations WHERE name = 'campaigns'")
    assert [migration.name for migration in migrate(ads, database=str(ads.database))] == ["campaigns"]
    assert run_query(ads, "ledger").rows == []
    assert ads.query("SELECT count() FROM campaigns").result_rows == [(0,)]


def test_a_migration_changed_after_it_was_applied_is_refused(ads: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [msgspec.structs.replace(migration, digest="other") for migration in migrations()]
    monkeypatch.setattr(migrations_module, "migrations", lambda: changed)
    with pytest.raises(SettingsError, match="belongs in a new file"):
        migrate(ads, database=str(ads.database))


def test_a_database_name_is_not_sql(database: Client) -> None:
    with pytest.raises(SettingsError, match="plain name"):
        migrate(database, database="ads; DROP TABLE x")


@pytest.mark.parametrize("role", SHAPES)
def test_every_column_of_a_shape_is_one_of_its_table_with_the_same_type(few: Client, role: str) -> None:
    sql = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
    types = {row[0]: row[1] for row in few.query(sql, parameters={"table": SHAPES[role].table}).result_rows}
    types.pop("inserted_at", None)
    assert types == {"run": "LowCardinality(String)"} | {field.name: field.type for field in SHAPES[role].fields}


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_highest_version_holds_in_whatever_order_they_come(ads: Client, blocks: int) -> None:
    orders = list(itertools.permutations((1, 2, 3)))
    # One campaign for each order.
    rounds = [
        [
            total(0, version=versions[turn], impressions=10 * versions[turn], campaign_id=str(versions))
            for versions in orders
        ]
        for turn in range(3)
    ]
    for block in rounds if blocks == 3 else [[one for some in rounds for one in some]]:
        insert(ads, "totals", block)
    seen = "SELECT campaign_id, impressions FROM minutes ORDER BY campaign_id"
    expected = [(str(versions), 30) for versions in orders]
    assert ads.query(seen).result_rows == expected
    ads.command("OPTIMIZE TABLE minute_totals FINAL")
    assert ads.query(seen).result_rows == expected


def test_rows_sent_again_change_no_view(ads: Client) -> None:
    outcomes = [
        Outcome("click", "i1", 0, click_id="c1", click_ts=HOUR_MS + 9, ts=HOUR_MS, campaign_id="k1", price_micros=5),
        Outcome("repeat", "i1", 0, click_id="c2", click_ts=HOUR_MS + 10, ts=HOUR_MS, campaign_id="k1", price_micros=5),
        Outcome("orphan", "i2", 0, click_id="c3", click_ts=HOUR_MS),
        Outcome("unclicked", "i3", 0, weight=20.0, ts=HOUR_MS, campaign_id="k1"),
        # The same ids, used again after their horizon: another fact.
        Outcome("unclicked", "i3", 0, weight=20.0, ts=HOUR_MS + 90 * MINUTE_MS, campaign_id="k1"),
    ]
    letter = rejected(Reason.LATE, "late", b"x", topic="ads.clicks", partition=0, offset=7, record_ts_ms=HOUR_MS)
    views = ("minutes", "outcomes", "clicks", "pacing", "pacing_minutes", "model_metrics", "rejects", "campaigns")

    def send() -> None:
        insert(ads, "totals", [total(0, version=1, clicks=1), total(0, version=1, partition=1, clicks=2)])
        insert(ads, "outcomes", outcomes)
        insert(ads, "rejects", [letter])
        insert(ads, "pacing", [PacingDecision("k1", 4, HOUR_MS, HOUR_MS, "ahead", 0.25, 100, 60, 50, 9, 2)])
        insert(ads, "campaigns", [Campaign("k1", 10**6, "Europe/Berlin", "active", "even", 3)])
        insert(
            ads, "model_metrics", [ModelMetrics("m", 0, 5, HOUR_MS, HOUR_MS + 1, "all", 9, 9, 1, 1, 0.1, None, None)]
        )

    def seen() -> list[tuple[str, int]]:
        return [(view, ads.query(f"SELECT count() FROM {view}").result_rows[0][0]) for view in views]

    send()
    once = seen()
    assert dict(once) == dict.fromkeys(views, 1) | {"minutes": 2, "outcomes": 5, "clicks": 2}
    send()
    assert seen() == once
    assert ads.query("SELECT sum(spend_micros) FROM clicks").result_rows == [(5,)]


def test_views_show_live_work_until_a_minute_is_promoted_and_again_when_it_is_taken_back(ads: Client) -> None:
    insert(ads, "totals", [total(minute, version=9, impressions=1) for minute in (0, 1)])
    insert(ads, "totals", [total(minute, version=1, impressions=100) for minute in (0, 1)], run="again")
    seen = "SELECT impressions FROM minutes ORDER BY minute"
    assert ads.query(seen).result_rows == [(1,), (1,)]
    names = ["version", "run", "promoted", "from_minute", "to_minute"]
    span = [HOUR_MS // 1000 + 60, HOUR_MS // 1000 + 120]
    ads.insert("promotion_rows", [[1, "again", True, *span]], column_names=names)
    assert ads.query(seen).result_rows == [(1,), (100,)]
    ads.insert("promotion_rows", [[2, "again", False, *span]], column_names=names)
    assert ads.query(seen).result_rows == [(1,), (1,)]


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
                [0, True, 12, 10, 1, 1, 0, 4, 6, 5, 3, 3, 0, 0, 0, 1, 0, 1, 1, 0, 0],
                [1, False, 12, 10, 1, 1, 0, 4, 6, 5, 3, 3, 0, 0, 0, 1, 0, 1, 0, 0, 0],
            ],
        ),
        (
            "pacing",
            {"campaign": "50%'s"},
            [["50%'s", "unknown", 0, 40, 0, 0, 40, None, 3, 1, "2023-11-14 22:00:00.000", "2023-11-14 22:00:00.000"]],
        ),
        ("rejects", {}, [["ads.clicks", "key", 2, "2023-11-14 22:00:00.000", 1, 6, "no 6"]]),
        ("top_creatives", {"impressions": "6"}, [["k1", "", 100, 4, 0.04, 0], ["k1", "r2", 8, 0, 0, 0]]),
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


def test_freshness_is_one_row_of_the_slowest_partition(few: Client) -> None:
    table = run_query(few, "freshness")
    (row,) = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert (row["newest_minute"], row["impressions_watermark"]) == ("2023-11-14 23:00:00", "2023-11-14 23:00:00.000")
    assert (row["join_partitions"], 0 <= row["inserted_ago_s"] < 3600) == (2, True)


def test_a_named_query_names_its_columns_without_rows(ads: Client) -> None:
    for name in queries():
        table = run_query(ads, name)
        assert len(table.columns) == len(table.types) > 1
        assert table.rows == [] or name == "freshness"


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

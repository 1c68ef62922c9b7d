"""Migrations, and views on what is inserted twice, late or out of order, on the embedded ClickHouse."""

import itertools

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse import migrations as migrations_module
from schemas.clickhouse.migrations import migrate, migrations, unapplied
from schemas.clickhouse.queries import run_query
from schemas.errors import SettingsError
from schemas.events import Campaign
from schemas.models import ModelMetrics
from schemas.outcomes import Outcome
from schemas.pacing import PacingDecision
from schemas.rejects import Reason, rejected
from streams.warehouse.shapes import SHAPES
from tests.golden import HOUR_MS, MINUTE_MS, announce, insert, total

pytestmark = pytest.mark.clickhouse


def test_migrating_again_applies_nothing(database: Client) -> None:
    name = str(database.database)
    assert unapplied(database) == migrations()
    assert migrate(database, database=name) == migrations()
    assert (migrate(database, database=name), unapplied(database)) == ([], [])


def test_a_migration_cut_short_is_applied_again(ads: Client) -> None:
    ads.command("DROP VIEW rejects")
    ads.command("DELETE FROM migrations WHERE name = 'rejects'")
    assert [migration.name for migration in migrate(ads, database=str(ads.database))] == ["rejects"]
    assert run_query(ads, "ledger").rows == []
    assert ads.query("SELECT count() FROM rejects").result_rows == [(0,)]


def test_a_migration_changed_after_it_was_applied_is_refused(ads: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [msgspec.structs.replace(migration, digest="other") for migration in migrations()]
    monkeypatch.setattr(migrations_module, "migrations", lambda: changed)
    with pytest.raises(SettingsError, match="belongs in a new file"):
        migrate(ads, database=str(ads.database))


def test_a_database_name_is_not_sql(database: Client) -> None:
    with pytest.raises(SettingsError, match="plain name"):
        migrate(database, database="ads; DROP TABLE x")


@pytest.mark.parametrize("role", SHAPES)
def test_every_column_of_a_shape_is_one_of_its_table_with_the_same_type(ads: Client, role: str) -> None:
    sql = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
    types = {row[0]: row[1] for row in ads.query(sql, parameters={"table": SHAPES[role].table}).result_rows}
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
    views = (
        "minutes",
        "outcomes",
        "clicks",
        "pacing",
        "pacing_minutes",
        "model_metrics",
        "rejects",
        "campaigns",
        "campaign_history",
    )

    def send() -> None:
        insert(ads, "totals", [total(0, version=1, clicks=1), total(0, version=1, partition=1, clicks=2)])
        insert(ads, "outcomes", outcomes)
        insert(ads, "rejects", [letter])
        insert(ads, "pacing", [PacingDecision("k1", 4, HOUR_MS, HOUR_MS, "ahead", 0.25, 100, 60, 50, 9, 2)])
        announce(ads, Campaign("k1", 10**6, "Europe/Berlin", "active", "even", 3))
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

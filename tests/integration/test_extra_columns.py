"""Extra dimensions in ClickHouse: columns of totals, roll-ups and views, on the embedded ClickHouse."""

from typing import Any

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse import migrations as migrations_module
from schemas.clickhouse.clustered import clustered
from schemas.clickhouse.extended import ROLLUPS, TOTALS, extra_columns
from schemas.clickhouse.extra import add_extra
from schemas.clickhouse.migrations import Migration, migrate, migrations
from schemas.clickhouse.queries import run_query
from schemas.dimensions import ExtraDimension
from schemas.errors import SettingsError
from schemas.totals import MinuteTotals
from streams.runs.compare import compare
from streams.runs.record import record_run
from streams.warehouse.drift import drift
from streams.warehouse.rollups import roll_up
from streams.warehouse.rows import rows_of
from tests.factories import record_value
from tests.golden import insert, ledger, total
from tests.integration.test_runs import minutes, run_record, show

pytestmark = pytest.mark.clickhouse

SITE, PAGE = ExtraDimension("site", "features.site"), ExtraDimension("order", "features.page's")


def add(client: Client, *dimensions: ExtraDimension, dry: bool = False) -> list[str]:
    """The statements that it takes."""
    said: list[str] = []
    assert add_extra(client, dimensions, say=said.append, dry=dry) == len(said)
    return said


def with_extra(minute: int, version: int, impressions: int, **names: str) -> MinuteTotals:
    plain = total(minute, version=version, impressions=impressions)
    columns = [[name] for name in names.values()]
    return msgspec.structs.replace(plain, dimensions=[*plain.dimensions, *columns], extra_dimensions=list(names))


def rows(client: Client, view: str, columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(f"SELECT {columns} FROM {view} ORDER BY ALL").result_rows]


def test_rows_from_before_read_empty_and_names_are_told_apart_in_minutes_hours_and_days(fresh: Client) -> None:
    insert(fresh, "totals", [total(0, version=1, impressions=5), total(1, version=1, impressions=7)])
    roll_up(fresh)
    add(fresh, SITE, PAGE)
    # The same minute again, as after the cut-over; two names; and a record that has one of the dimensions only.
    insert(fresh, "totals", [total(1, version=2, impressions=8)])
    insert(fresh, "totals", [with_extra(2, 3, 10, site="a", order="x"), with_extra(2, 3, 20, site="b", order="x")])
    insert(fresh, "totals", [with_extra(3, 4, 40, site="a"), with_extra(2, 4, 11, order="x", site="a")])
    roll_up(fresh)
    before = [("", "", 5), ("", "", 8)]
    assert rows(fresh, "minutes", "site, `order`, impressions") == [
        *before,
        *[("a", "", 40), ("a", "x", 11), ("b", "x", 20)],
    ]
    summed = [("", "", 13), ("a", "", 40), ("a", "x", 11), ("b", "x", 20)]
    for view in ("hours", "days"):
        assert rows(fresh, view, "site, `order`, impressions") == summed
    answer = run_query(fresh, "by_dimension", {"by": "order"}).rows
    assert [row[:2] for row in answer] == [["", 53], ["x", 31]]
    fresh.command("OPTIMIZE TABLE minute_totals FINAL")
    assert rows(fresh, "minutes", "sum(impressions)") == [(84,)]


def test_hours_in_which_the_run_shown_changes_have_the_names_too(fresh: Client) -> None:
    """Such an hour is summed from its minutes by the second part of the view."""
    add(fresh, SITE)
    insert(fresh, "totals", [with_extra(minute, 1, 1, site="live") for minute in (0, 20)])
    insert(fresh, "totals", [with_extra(20, 1, 6, site="again")], run="r")
    record_run(fresh, run_record("r"))
    show(fresh, "r", minutes(20, 21))
    roll_up(fresh)
    for view in ("hours", "days"):
        assert rows(fresh, view, "site, impressions") == [("again", 6), ("live", 1)]


def test_adding_again_does_nothing_and_a_dry_run_says_what_would_be_done(fresh: Client) -> None:
    assert add(fresh) == []
    said = add(fresh, SITE, dry=True)
    assert extra_columns(fresh) == []
    assert all("ON CLUSTER replicas" in clustered(statement, "replicas") for statement in said)
    assert add(fresh, SITE) == said
    assert said[0].startswith("DROP VIEW IF EXISTS day_rollup")
    assert "ADD COLUMN IF NOT EXISTS `site` LowCardinality(String) COMMENT 'features.site of the impression" in said[2]
    assert add(fresh, SITE) == add(fresh) == []
    assert [extra_columns(fresh, table) for table in TOTALS] == [["site"]] * 3
    add(fresh, PAGE)
    assert [extra_columns(fresh, table) for table in TOTALS] == [["site", "order"]] * 3
    assert add(fresh, PAGE, SITE) == []
    comments = "SELECT comment FROM system.tables WHERE database = currentDatabase() AND name IN ('hours', 'minutes')"
    assert all(row[0] for row in fresh.query(comments).result_rows)


@pytest.mark.parametrize("done", [1, 4, 9])
def test_what_was_cut_short_is_done_by_the_next_call(fresh: Client, done: int) -> None:
    insert(fresh, "totals", [total(0, version=1, impressions=5)])
    left = iter(range(done))

    def stop(statement: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt(statement)

    with pytest.raises(KeyboardInterrupt):
        add_extra(fresh, [SITE], say=stop, dry=False)
    add(fresh, SITE)
    assert [extra_columns(fresh, table) for table in TOTALS] == [["site"]] * 3
    insert(fresh, "totals", [with_extra(1, 1, 6, site="a")])
    roll_up(fresh)
    assert rows(fresh, "days", "site, impressions") == [("", 5), ("a", 6)]


def test_a_later_migration_keeps_the_columns(fresh: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    add(fresh, SITE)
    (rollups,) = [migration for migration in migrations() if migration.name == "rollups"]
    views = tuple(each for each in rollups.statements if "VIEW" in each)
    drops = tuple(f"DROP VIEW IF EXISTS {view}" for view in ROLLUPS)
    later = Migration(9000, "later", (*drops, *views), "x")
    monkeypatch.setattr(migrations_module, "migrations", lambda: [*migrations(), later])
    assert migrate(fresh, database=str(fresh.database)) == [later]
    insert(fresh, "totals", [with_extra(1, 1, 6, site="a")])
    roll_up(fresh)
    for view in ("minutes", "hours", "days"):
        assert rows(fresh, view, "site, impressions") == [("a", 6)]


def test_more_columns_than_totals_can_have_are_refused(fresh: Client) -> None:
    add(fresh, *(ExtraDimension(f"d{number}", f"features.f{number}") for number in range(4)))
    with pytest.raises(SettingsError, match=r"would have the 5 extra dimensions d0, d1, d2, d3, site; they can have 4"):
        add(fresh, SITE)


def test_a_sink_that_lacks_the_column_says_which_command_adds_it(ads: Client) -> None:
    made, _ = rows_of("totals", [record_value(with_extra(0, 1, 1, site="a"))], run="")
    assert "has no column for the extra dimension site: run `clickfold init --extra-dimensions`" in drift(ads, made)


def test_runs_that_differ_in_an_extra_dimension_only_are_not_equal(fresh: Client) -> None:
    add(fresh, SITE)
    final = [msgspec.structs.replace(with_extra(0, 1, 6, site=site), final=True) for site in ("a", "b")]
    insert(fresh, "totals", final[:1])
    insert(fresh, "ledger", [ledger(0, watermark_minute=120)])
    for run, record in zip(("same", "other"), final, strict=True):
        insert(fresh, "totals", [record], run=run)
        record_run(fresh, run_record(run))
    assert compare(fresh, "same").tables[0].equal
    assert not compare(fresh, "other").tables[0].equal

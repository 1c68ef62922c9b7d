"""Every column says what it holds, and in which unit."""

import pytest
from clickhouse_connect.driver.client import Client

from schemas.totals import DIMENSIONS

pytestmark = pytest.mark.clickhouse

# Say it by their name.
CLEAR = {*DIMENSIONS, "impression_id"}
UNITS = {"_micros": "millionths", "_nano": "billionths", "_ms": "milliseconds", "_bytes": "bytes"}


@pytest.fixture
def comments(ads: Client) -> dict[str, str]:
    """Comments by `table.column`, of all tables but the record of migrations."""
    sql = """
    SELECT table || '.' || columns.name, columns.comment
    FROM system.columns AS columns
    JOIN system.tables AS tables ON tables.database = columns.database AND tables.name = columns.table
    WHERE columns.database = currentDatabase() AND endsWith(tables.engine, 'MergeTree') AND table != 'migrations'
    """
    return {str(name): str(comment) for name, comment in ads.query(sql).result_rows}


def test_every_column_has_a_comment_unless_its_name_says_it(comments: dict[str, str]) -> None:
    assert {name.partition(".")[0] for name in comments} >= {"minute_totals", "hour_totals", "day_totals", "run_rows"}
    assert [name for name, said in comments.items() if not said and name.partition(".")[2] not in CLEAR] == []


def test_a_column_named_by_a_unit_says_which_it_is(comments: dict[str, str]) -> None:
    for suffix, unit in UNITS.items():
        named = {name: said for name, said in comments.items() if name.endswith(suffix)}
        assert named
        assert [name for name, said in named.items() if unit not in said] == []

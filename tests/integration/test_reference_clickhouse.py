"""docs/reference/clickhouse.md says what the engine says after all migrations."""

import pytest
from clickhouse_connect.driver.client import Client

from streams.cli.reference.clickhouse import clickhouse_page, relations
from streams.cli.reference.pages import FOLDER

pytestmark = pytest.mark.clickhouse


def test_page_is_what_the_engine_says(ads: Client) -> None:
    page = (FOLDER / "clickhouse.md").read_text(encoding="utf-8")
    assert clickhouse_page(ads) == page, "run `make reference` and commit docs/reference"


def test_every_view_says_what_a_row_is(ads: Client) -> None:
    internal = ("active_runs", "run_piles")
    views = [each for each in relations(ads).values() if each.engine == "View" and each.name not in internal]
    assert len(views) >= 13
    assert [each.name for each in views if not each.comment] == []

"""Runs in ClickHouse: their records, comparing them with live work, promoting them, and dropping them."""

from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrations import migrate
from schemas.errors import SettingsError
from streams.replay.runs import RunRecord, all_runs, checked_name, find_run, known_run, record_run
from tests.integration.test_queries import HOUR_MS, MINUTE_MS

pytestmark = pytest.mark.clickhouse


def run_record(name: str, **more: Any) -> RunRecord:
    """A complete join run that owns the hour."""
    given: dict[str, Any] = {
        "run": name,
        "kind": "join",
        "state": "complete",
        "from_minute_ms": HOUR_MS,
        "to_minute_ms": HOUR_MS + 60 * MINUTE_MS,
        "settings": {"window_ms": "1800000", "skew_ms": "5000"},
        "offsets": {"impressions": {"0": [3, 900], "1": [0, 7]}, "clicks": {"0": [0, 0]}},
        "started_ms": HOUR_MS + 5,
        "finished_ms": HOUR_MS + 6,
        "version": 1,
    }
    return RunRecord(**(given | more))


@pytest.fixture
def ads(database: Client) -> Client:
    """A client on a database with all tables."""
    migrate(database, database=str(database.database))
    return database


def test_a_run_is_found_as_it_was_last_recorded(ads: Client) -> None:
    assert find_run(ads, "again") is None
    first = run_record("again", state="running", finished_ms=0, to_minute_ms=HOUR_MS, settings={}, offsets={})
    last = run_record("again", version=2, settings={"dimensions": 'campaign\'s, \\ "x"'})
    for record in (last, first, last):
        record_run(ads, record)
    record_run(ads, run_record("earlier", started_ms=HOUR_MS))
    assert find_run(ads, "again") == last
    assert [record.run for record in all_runs(ads)] == ["again", "earlier"]
    with pytest.raises(SettingsError, match="there are again, earlier"):
        known_run(ads, "other")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a'b", "é", "a\n", "x" * 65])
def test_what_is_no_name_of_a_run_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="1 to 64"):
        checked_name(name)


@pytest.mark.parametrize("name", ["a", "2026-11-01", "x" * 64, "_.-"])
def test_a_name_of_a_run_may_have_digits_dots_and_dashes(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("more", [{"from_minute_ms": 1}, {"to_minute_ms": 1}, {"to_minute_ms": 0}])
def test_a_span_that_is_not_of_whole_minutes_is_refused(ads: Client, more: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="whole minutes"):
        record_run(ads, run_record("again", **more))

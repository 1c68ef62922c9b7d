"""Records of runs in ClickHouse, and how runs are listed, dropped and pruned."""

from typing import Any, cast

import msgspec
import orjson
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient
from typer.testing import CliRunner

from schemas.errors import ClickfoldError, SettingsError
from schemas.outcomes import Outcome
from streams.cli.app import app
from streams.runs.drop import TABLES, drop_run, holdings, prunable
from streams.runs.minutes import Span
from streams.runs.promote import PromotionPlan, pile_spans, write_promotion
from streams.runs.record import RunRecord, all_runs, checked_name, find_run, known_run, record_run
from tests.golden import HOUR_MS, MINUTE_MS, insert, ledger, total

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


def minutes(first: int, last: int) -> Span:
    """From the first-th minute of the hour up to, not including, the last-th."""
    return Span(HOUR_MS + first * MINUTE_MS, HOUR_MS + last * MINUTE_MS)


def show(client: Client, name: str, *spans: Span, undo: bool = False) -> None:
    """Promotes a run, or takes it back, without asking whether it may be."""
    write_promotion(client, PromotionPlan(name, undo, list(spans), 0, 0))


def said(client: Client, *arguments: str, code: int = 0) -> str:
    """What a command prints on this client's database; raises what it raises."""
    environment = {"CLICKHOUSE_URL": cast(HttpClient, client).url, "CLICKHOUSE_DATABASE": str(client.database)}
    result = CliRunner().invoke(app, arguments, env=environment)
    if isinstance(result.exception, ClickfoldError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


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


@pytest.mark.parametrize("name", ["", "-x", "a b", "a'b", "é", "a\n", "x" * 65, "live", "active"])
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


def fill(ads: Client, run: str) -> None:
    """A total, an outcome and a ledger of a run."""
    insert(ads, "totals", [total(at, version=1, final=True, impressions=1) for at in (0, 1)], run=run)
    insert(ads, "outcomes", [Outcome("orphan", "i", 0, click_id="c", click_ts=HOUR_MS)], run=run)
    insert(ads, "ledger", [ledger(0, watermark_minute=60, pending=1)], run=run)


def test_runs_are_listed_with_what_they_own_read_hold_and_where_they_are_shown(ads: Client) -> None:
    for run in ("", "again"):
        fill(ads, run)
    record_run(ads, run_record("again"))
    record_run(ads, run_record("none", to_minute_ms=HOUR_MS, state="running", offsets={}, settings={}, started_ms=1))
    show(ads, "again", minutes(0, 5), minutes(7, 8))
    (again, none) = holdings(ads)
    assert (again.rows, again.promoted, none.rows, none.promoted) == (4, [minutes(0, 5), minutes(7, 8)], 0, [])
    assert again.bytes > none.bytes == 0
    rows = orjson.loads(said(ads, "runs", "--format", "json"))
    assert {name: rows[0][name] for name in ("owns from", "owns to", "minutes", "promoted minutes", "read")} == {
        "owns from": "2023-11-14 22:00",
        "owns to": "2023-11-14 23:00",
        "minutes": 60,
        "promoted minutes": 6,
        "read": "clicks 0: 0-0; impressions 0: 3-900, 1: 0-7",
    }
    assert (rows[1]["owns from"], rows[1]["state"], rows[1]["minutes"]) == (None, "running", 0)


def test_a_dropped_run_is_gone_from_every_table_and_live_work_is_not(ads: Client) -> None:
    for run in ("", "again", "other"):
        fill(ads, run)
    for run in ("again", "other"):
        record_run(ads, run_record(run))
    assert said(ads, "runs", "drop", "again") == "dropped: run again, 4 rows\n"
    assert find_run(ads, "again") is None
    left = {
        table: ads.query(f"SELECT run, count() FROM {table} GROUP BY run ORDER BY run").result_rows for table in TABLES
    }
    expected = {"minute_totals": 2, "outcome_rows": 1, "ledger_rows": 1}
    assert left == {
        table: [("", expected[table]), ("other", expected[table])] if table in expected else [] for table in TABLES
    }
    with pytest.raises(SettingsError, match="no run 'again'"):
        drop_run(ads, "again")
    # A name may be used again, with versions that begin anew.
    fill(ads, "again")
    record_run(ads, run_record("again"))
    assert holdings(ads)[0].rows == 4


def test_rows_without_a_record_can_be_dropped(ads: Client) -> None:
    fill(ads, "again")
    assert drop_run(ads, "again") == 4


def test_a_run_that_is_shown_is_not_dropped(ads: Client) -> None:
    fill(ads, "again")
    record_run(ads, run_record("again"))
    show(ads, "again", minutes(0, 2))
    with pytest.raises(SettingsError, match="shown for 2023-11-14 22:00 to 2023-11-14 22:02"):
        drop_run(ads, "again")
    assert (known_run(ads, "again").state, holdings(ads)[0].rows) == ("complete", 4)
    show(ads, "again", minutes(0, 2), undo=True)
    assert drop_run(ads, "again") == 4


def test_undoing_what_lay_on_a_dropped_run_shows_live_work(ads: Client) -> None:
    for run in ("", "below", "above"):
        fill(ads, run)
    for run in ("below", "above"):
        record_run(ads, run_record(run))
        show(ads, run, minutes(0, 2))
    drop_run(ads, "below")
    assert pile_spans(ads, "below") == []
    show(ads, "above", minutes(0, 2), undo=True)
    assert ads.query("SELECT sum(impressions) FROM minutes").result_rows == [(2,)]


def test_a_run_at_work_is_dropped_only_when_told_that_none_is(ads: Client) -> None:
    fill(ads, "again")
    record_run(ads, run_record("again", state="running"))
    with pytest.raises(SettingsError, match="--unfinished"):
        drop_run(ads, "again")
    assert drop_run(ads, "again", unfinished=True) == 4


def test_prune_names_complete_runs_that_are_promoted_nowhere(ads: Client) -> None:
    for at, name in enumerate(("a", "b", "c", "shown", "below")):
        record_run(ads, run_record(name, finished_ms=HOUR_MS + at))
    record_run(ads, run_record("running", state="running", finished_ms=0))
    show(ads, "below", minutes(0, 2))
    show(ads, "shown", minutes(0, 2))
    assert prunable(ads) == ["c", "b", "a"]
    assert prunable(ads, keep=1) == ["b", "a"]
    assert prunable(ads, finished_before_ms=HOUR_MS + 2) == ["b", "a"]
    assert prunable(ads, keep=2, finished_before_ms=HOUR_MS + 2) == ["a"]
    assert said(ads, "runs", "prune", "--keep", "2", "--dry-run") == "a: would be dropped\n"
    assert said(ads, "runs", "prune", "--older", "1d", "--keep", "2") == "a: dropped, 0 rows\n"
    assert find_run(ads, "a") is None
    with pytest.raises(SettingsError, match="neither --keep nor --older"):
        said(ads, "runs", "prune")


def test_a_promotion_that_meets_a_drop_is_taken_back(ads: Client) -> None:
    record_run(ads, run_record("again"))
    record_run(ads, msgspec.structs.replace(known_run(ads, "again"), state="running", version=2))
    with pytest.raises(ClickfoldError, match="being dropped"):
        show(ads, "again", minutes(0, 2))
    assert pile_spans(ads, "again") == []

"""Hours and days are what their minutes sum to, whatever comes twice, late or out of order, or is cut short."""

import random
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse import migrations as migrations_module
from schemas.clickhouse.migrations import migrate, migrations
from schemas.totals import DIMENSIONS, MEASURES
from streams.embedded.clickhouse import ClickHouse
from streams.runs.drop import drop_run
from streams.runs.record import record_run
from streams.warehouse.client import connect
from streams.warehouse.rollups import ROLLUPS, roll_up, wait_for
from tests.golden import HOUR_MS, insert, quiet, total
from tests.integration.test_runs import minutes, run_record, show

pytestmark = pytest.mark.clickhouse

HOUR = 60
SUMS = ", ".join(f"sum({name}) AS {name}" for name in MEASURES)
SPANS = {"hours": "toStartOfHour(minute)", "days": "toDate(minute)"}


@pytest.fixture
def ads(fresh: Client) -> Client:
    """A client on a database with all tables, whose roll-ups are refreshed when told to only."""
    quiet(fresh)
    return fresh


def forget(client: Client) -> None:
    """As a restart of the server: what the views remember is gone; they refresh at once, and then when told to only."""
    for view in ROLLUPS:
        client.command(f"DROP VIEW {view}")
        client.command(made(view))
        assert wait_for(client, view) == ""


def made(view: str) -> str:
    """The statement that makes a view, without a refresh each minute: one could come between two lines of a test."""
    every = (statement for migration in migrations() for statement in migration.statements)
    (found,) = (statement for statement in every if f"MATERIALIZED VIEW IF NOT EXISTS {view}\n" in statement)
    assert "EVERY 1 MINUTE" in found
    return found.replace("EVERY 1 MINUTE", "EVERY 1 YEAR")


def pass_minutes(client: Client, count: int) -> None:
    """As if so many minutes went by in which the views refreshed and nothing came: what is stored is older by them."""
    for table in ("minute_totals", *ROLLUPS.values()):
        client.command(
            f"ALTER TABLE {table} UPDATE inserted_at = inserted_at - toIntervalMinute({count}) WHERE true "
            "SETTINGS mutations_sync = 2"
        )
    for table in ROLLUPS.values():
        client.command(
            f"ALTER TABLE {table} UPDATE since = since - toIntervalMinute({count}) WHERE since > 0 "
            "SETTINGS mutations_sync = 2"
        )


def written(client: Client, view: str) -> int:
    """Rows of its last refresh."""
    sql = "SELECT written_rows FROM system.view_refreshes WHERE database = currentDatabase() AND view = {view:String}"
    ((rows,),) = client.query(sql, parameters={"view": view}).result_rows
    return int(rows)


def assert_right(client: Client, *, rows: int | None = None) -> None:
    """Each row of hours and days is the sum of its minutes, and no minute is missing; before merges and after."""
    for merged in (False, True):
        for view, span in SPANS.items():
            keys = f"span, {', '.join(DIMENSIONS)}"
            expected = client.query(
                f"SELECT {span} AS span, {', '.join(DIMENSIONS)}, min(final) AS final, {SUMS} FROM minutes "
                f"GROUP BY {keys} ORDER BY {keys}"
            ).result_rows
            found = client.query(f"SELECT * FROM {view} ORDER BY {view[:-1]}, {', '.join(DIMENSIONS)}").result_rows
            assert found == expected, (view, merged)
            assert rows is None or len(found) == rows
        for table in ROLLUPS.values():
            client.command(f"OPTIMIZE TABLE {table} FINAL")


def impressions(client: Client, view: str) -> int:
    ((found,),) = client.query(f"SELECT sum(impressions) FROM {view}").result_rows
    return int(found)


def test_hours_and_days_are_the_sums_of_minutes_over_partitions_versions_and_copies(ads: Client) -> None:
    first = [
        total(minute, version=5 + minute, partition=partition, impressions=1, spend_micros=10, campaign_id=campaign)
        for minute in (0, 59, 60, 119, 120)  # the day changes behind 119
        for partition in (0, 1)
        for campaign in ("k1", "k2")
    ]
    insert(ads, "totals", first)
    roll_up(ads)
    assert_right(ads)
    newer = [total(minute, version=900, impressions=7, final=True) for minute in (0, 59)]
    for block in (newer, first, [total(59, version=4, impressions=1_000)], newer):
        insert(ads, "totals", block)
        roll_up(ads)
        assert_right(ads)
    assert impressions(ads, "days") == impressions(ads, "hours") == 20 + 2 * 6


@pytest.mark.parametrize("late", [1, HOUR])
def test_a_rollup_of_an_older_state_changes_nothing_when_it_comes_last(ads: Client, late: int) -> None:
    insert(ads, "totals", [total(0, version=10, impressions=1)])
    roll_up(ads)
    for table in ROLLUPS.values():
        ads.command(f"CREATE TABLE older_{table} AS {table}")
        ads.command(f"INSERT INTO older_{table} SELECT * FROM {table}")
    # Late: of another minute, or hour, with a version lower than the highest there is.
    insert(ads, "totals", [total(late, version=5, impressions=1)])
    roll_up(ads)
    for table in ROLLUPS.values():
        ads.command(f"INSERT INTO {table} SELECT * FROM older_{table}")
    assert_right(ads)


def test_only_hours_that_were_touched_are_summed_again(ads: Client) -> None:
    insert(ads, "totals", [total(hour * HOUR, version=1, impressions=1) for hour in range(100)])
    roll_up(ads)
    assert written(ads, "hour_rollup") == 100
    pass_minutes(ads, 60)
    insert(ads, "totals", [total(3 * HOUR + 1, version=1, impressions=1, campaign_id="k2")])
    roll_up(ads)
    assert (written(ads, "hour_rollup"), written(ads, "day_rollup")) == (2, 2)
    assert_right(ads)
    pass_minutes(ads, 60)
    roll_up(ads)
    assert (written(ads, "hour_rollup"), written(ads, "day_rollup")) == (0, 0)


@pytest.mark.parametrize(("minutes_ago", "seen"), [(9, True), (11, False)])
def test_rows_that_could_be_seen_up_to_ten_minutes_after_they_came_are_not_missed(
    ads: Client, minutes_ago: int, seen: bool
) -> None:
    insert(ads, "totals", [total(0, version=1, impressions=1)])
    roll_up(ads)
    insert(ads, "totals", [total(1, version=1, impressions=1)])
    pass_minutes(ads, minutes_ago)
    roll_up(ads)
    assert impressions(ads, "hours") == (2 if seen else 1)


def test_a_refresh_cut_short_is_repeated_as_a_whole_after_a_restart(ads: Client) -> None:
    insert(ads, "totals", [total(0, version=1, impressions=1, campaign_id=f"k{at}") for at in range(6)])
    roll_up(ads)
    pass_minutes(ads, 60)
    insert(ads, "totals", [total(1, version=1, impressions=1, campaign_id=f"k{at}") for at in range(6)])
    pass_minutes(ads, 5)
    roll_up(ads)
    cut_short(ads)
    pass_minutes(ads, 60)
    forget(ads)
    assert_right(ads, rows=6)


def cut_short(client: Client) -> None:
    """As if the last refresh of each view had not come to write every other campaign."""
    for table in ROLLUPS.values():
        last = f"since = (SELECT max(since) FROM {table})"
        client.command(f"DELETE FROM {table} WHERE {last} AND campaign_id IN ('k1', 'k3', 'k5')")
        ((left, all_),) = client.query(f"SELECT countIf({last}), count() FROM {table}").result_rows
        assert 0 < left < all_


def test_a_restart_sums_again_what_the_last_refresh_did_and_not_all_there_is(ads: Client) -> None:
    insert(ads, "totals", [total(hour * HOUR, version=1, impressions=1) for hour in range(50)])
    roll_up(ads)
    pass_minutes(ads, 60)
    insert(ads, "totals", [total(1, version=1, impressions=1)])
    roll_up(ads)
    pass_minutes(ads, 60)
    forget(ads)
    assert written(ads, "hour_rollup") == 1
    assert_right(ads)


def test_what_another_server_rolled_up_says_nothing_of_what_this_one_saw(ads: Client) -> None:
    insert(ads, "totals", [total(minute, version=1, impressions=1) for minute in (0, HOUR)])
    roll_up(ads)
    pass_minutes(ads, 60)
    insert(ads, "totals", [total(1, version=1, impressions=1)])
    pass_minutes(ads, 60)
    # A replica went on without that row and rolled up another hour meanwhile.
    for table in ROLLUPS.values():
        ads.command(
            f"INSERT INTO {table} SELECT * REPLACE (now() AS since, now() AS inserted_at, generateUUIDv4() AS made_by) "
            f"FROM {table}"
        )
    forget(ads)
    assert_right(ads)


@pytest.mark.parametrize("view", ROLLUPS)
def test_a_failed_refresh_of_emptied_rollups_is_repeated_as_a_whole(ads: Client, view: str) -> None:
    insert(ads, "totals", [total(0, version=1, impressions=1, campaign_id=f"k{at}") for at in range(6)])
    roll_up(ads)
    pass_minutes(ads, 60)
    table = ROLLUPS[view]
    ads.command(f"CREATE TABLE half AS {table}")
    ads.command(f"INSERT INTO half SELECT * FROM {table} WHERE campaign_id IN ('k1', 'k2')")
    ads.command(f"TRUNCATE TABLE {table}")
    ads.command(f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK campaign_id = ''")
    ads.command(f"SYSTEM REFRESH VIEW {view}")
    assert "refused" in wait_for(ads, view)
    ads.command(f"ALTER TABLE {table} DROP CONSTRAINT refused")
    # As if it had come to write these.
    ads.command(f"INSERT INTO {table} SELECT * FROM half")
    roll_up(ads)
    assert_right(ads, rows=6)


def test_emptied_rollups_are_made_anew(ads: Client) -> None:
    insert(ads, "totals", [total(0, version=1, impressions=1)])
    roll_up(ads)
    pass_minutes(ads, 60)
    for table in ROLLUPS.values():
        ads.command(f"TRUNCATE TABLE {table}")
    roll_up(ads)
    assert_right(ads, rows=1)


def test_rollups_go_on_after_the_server_was_stopped(tmp_path: Path) -> None:
    with ClickHouse(tmp_path) as server:
        with connect(server.url) as client:
            migrate(client)
            quiet(client)
            insert(client, "totals", [total(0, version=1, impressions=1, campaign_id=f"k{at}") for at in range(6)])
            roll_up(client)
            pass_minutes(client, 60)
            insert(client, "totals", [total(1, version=1, impressions=1, campaign_id=f"k{at}") for at in range(6)])
            pass_minutes(client, 5)
            roll_up(client)
            cut_short(client)
            pass_minutes(client, 60)
        server.kill()
        server.start()
        with connect(server.url, database="ads") as client:
            roll_up(client)
            assert_right(client, rows=6)


def test_an_hour_and_a_day_in_which_the_run_shown_changes_are_the_sums_of_the_minutes_shown(ads: Client) -> None:
    every = [total(minute, version=1, impressions=1) for minute in range(-2 * HOUR, 6 * HOUR, 7)]
    insert(ads, "totals", every)
    again = [total(minute, version=1, impressions=10, country="FR") for minute in range(-2 * HOUR, 6 * HOUR, 7)]
    insert(ads, "totals", again, run="again")
    record_run(ads, run_record("again"))
    roll_up(ads)
    for span in (minutes(20, 40), minutes(0, HOUR), minutes(30, 2 * HOUR + 30), minutes(2 * HOUR, 26 * HOUR)):
        show(ads, "again", span)
        assert impressions(ads, "minutes") > len(every)
        assert_right(ads)
    show(ads, "again", minutes(0, HOUR), undo=True)
    assert_right(ads)
    show(ads, "again", minutes(-2 * HOUR, 26 * HOUR), undo=True)
    assert_right(ads)
    assert impressions(ads, "hours") == len(every)


def test_a_promoted_run_is_in_hours_at_once(ads: Client) -> None:
    roll_up(ads)
    insert(ads, "totals", [total(0, version=1, impressions=1)], run="again")
    record_run(ads, run_record("again"))
    show(ads, "again", minutes(0, 24 * HOUR))
    assert_right(ads, rows=1)


def test_minutes_that_no_question_needs_are_not_read(ads: Client) -> None:
    ads.command(
        "INSERT INTO minute_totals (run, minute, campaign_id, creative_id, version, impressions) "
        f"SELECT '', toDateTime({HOUR_MS // 1000}) + 600 * intDiv(number, 1000), 'k', toString(number % 1000), 1, 1 "
        "FROM numbers(300000)"
    )
    record_run(ads, run_record("again"))
    show(ads, "again", minutes(30, 40))
    # Of each of them the run shown changes in the first hour alone.
    for view, where in (
        ("hours", f"hour >= toDateTime({HOUR_MS // 1000})"),
        ("days", "campaign_id = 'k'"),
        ("days", "day = '2023-11-15'"),
    ):
        estimates = ads.query(f"EXPLAIN ESTIMATE SELECT sum(impressions) FROM {view} WHERE {where}").result_rows
        rows = {table: found for _, table, _, found, _ in estimates}
        assert rows.get("minute_totals", 0) < 40_000
    touched = "SELECT toStartOfHour(minute) FROM minute_totals WHERE inserted_at >= now() - 600"
    ((_, _, _, reads, _),) = ads.query(f"EXPLAIN ESTIMATE {touched}").result_rows
    assert reads == 300_000
    pass_minutes(ads, 60)
    ((_, _, _, reads, _),) = ads.query(f"EXPLAIN ESTIMATE {touched}").result_rows
    assert reads == 0


def test_a_dropped_run_leaves_nothing_that_holds_against_its_next_namesake(ads: Client) -> None:
    insert(ads, "totals", [total(0, version=100, impressions=1)], run="again")
    record_run(ads, run_record("again"))
    roll_up(ads)
    drop_run(ads, "again")
    assert [ads.command(f"SELECT count() FROM {table}") for table in ROLLUPS.values()] == [0, 0]
    insert(ads, "totals", [total(0, version=1, impressions=2)], run="again")
    record_run(ads, run_record("again"))
    show(ads, "again", minutes(0, 24 * HOUR))
    assert_right(ads, rows=1)


def test_a_dropped_runs_rollups_are_deleted_behind_refreshes_that_may_have_read_its_rows(
    ads: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(ads, "totals", [total(0, version=1, impressions=1)], run="again")
    record_run(ads, run_record("again"))
    roll_up(ads)
    command, sent = ads.command, list[str]()

    def noted(sql: str, *rest: Any, **more: Any) -> Any:
        sent.append(sql)
        return command(sql, *rest, **more)

    monkeypatch.setattr(ads, "command", noted)
    drop_run(ads, "again")
    steps = ("minute_totals", "WAIT VIEW hour_rollup", "hour_totals", "WAIT VIEW day_rollup", "day_totals")
    told = [step for sql in sent for step in steps if step in sql and ("WAIT" in sql or "DELETE" in sql)]
    assert told == list(steps)


@pytest.mark.parametrize("seed", range(3))
def test_rollups_equal_plain_sums_whatever_order_rows_and_refreshes_come_in(ads: Client, seed: int) -> None:
    chance = random.Random(seed)
    held: dict[tuple[int, int, str], tuple[int, int]] = {}
    sent: list[tuple[tuple[int, int, str], int, int]] = []
    versions = chance.sample(range(1, 10_000), 60)
    for version in versions:
        act = chance.random()
        if act < 0.6:
            sent.append(
                ((chance.randrange(-180, 180), chance.randrange(2), f"k{chance.randrange(3)}"), version, version)
            )
        if sent and act < 0.75:
            # The newest, or any sent before: again, late, or under a version that was overtaken.
            key, version, figure = sent[-1] if act < 0.6 else chance.choice(sent)
            held[key] = max(held.get(key, (0, 0)), (version, figure))
            minute, partition, campaign = key
            row = total(minute, version=version, partition=partition, campaign_id=campaign, impressions=figure)
            insert(ads, "totals", [row])
        elif act < 0.9:
            view = chance.choice(list(ROLLUPS))
            ads.command(f"SYSTEM REFRESH VIEW {view}")
            assert wait_for(ads, view) == ""
        elif act < 0.95:
            roll_up(ads)
            pass_minutes(ads, 20)
        else:
            forget(ads)
    roll_up(ads)
    expected: dict[tuple[int, str], int] = {}
    for (minute, _, campaign), (_, figure) in held.items():
        at = HOUR_MS // 1000 + minute // HOUR * 3600, campaign
        expected[at] = expected.get(at, 0) + figure
    rows = ads.query("SELECT toUnixTimestamp(hour), campaign_id, impressions FROM hours").result_rows
    assert {(hour, campaign): figure for hour, campaign, figure in rows} == expected
    assert_right(ads)


def test_a_database_from_before_rollups_is_rolled_up_and_its_rows_are_not_taken_for_new(
    database: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, every = str(database.database), migrations()
    with monkeypatch.context() as patched:
        patched.setattr(migrations_module, "migrations", lambda: every[:10])
        migrate(database, database=name)
    # A column to a file, as in large parts: small ones are written anew as a whole by any change.
    database.command("ALTER TABLE minute_totals MODIFY SETTING min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0")
    insert(database, "totals", [total(hour * HOUR, version=1, impressions=1) for hour in range(50)])
    assert next(migration.number for migration in migrate(database, database=name)) == 11
    quiet(database)
    roll_up(database)
    assert_right(database)
    insert(database, "totals", [total(1, version=1, impressions=1)])
    pass_minutes(database, 0)
    roll_up(database)
    assert_right(database)
    seen = "SELECT countIf(inserted_at = 0), countIf(inserted_at > now() - 600) FROM minute_totals"
    assert database.query(seen).result_rows == [(50, 1)]

"""`clickfold forget` on a real ClickHouse: a user is gone from every run, all else stays, and none comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash
from clickhouse_connect.driver.client import Client
from typer.testing import CliRunner

from schemas.clickhouse.queries import run_query
from schemas.codec import encode
from schemas.errors import SettingsError
from schemas.rejects import Reason, Rejected, rejected
from streams.cli.app import app
from streams.embedded.clickhouse import ClickHouse
from streams.erasure import warehouse
from streams.runs.compare import compare
from streams.runs.record import record_run
from streams.verify.clickhouse_rows import ClickHouseRows
from streams.warehouse.client import connect
from streams.warehouse.forgotten import TOMBSTONE
from streams.warehouse.rows import Rows, rows_of
from streams.warehouse.writer import Writer
from tests.golden import insert
from tests.integration.test_runs import run_record
from tests.world import ledger_of, totals_of, truths

pytestmark = pytest.mark.clickhouse
ANN = "user 3"
HASH = xxhash.xxh3_64_intdigest(ANN.encode())


def outcome_rows(run: str = "") -> Rows:
    """The outcomes of the world as rows; some are of the user."""
    lines: list[bytes | None] = [encode(each) for truth in truths() for each in truth.decided()]
    return rows_of("outcomes", lines, run=run)[0]


@pytest.fixture
def filled(ads: Client) -> Client:
    """The totals and outcomes of the world."""
    for partition, truth in enumerate(truths()):
        insert(ads, "totals", totals_of(truth, partition, version=1))
        insert(ads, "outcomes", truth.decided())
        insert(ads, "outcomes", truth.decided(), run="again")
    return ads


@pytest.fixture
def environment(clickhouse: ClickHouse, filled: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse.url)
    monkeypatch.setenv("CLICKHOUSE_DATABASE", str(filled.database))
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("CLICKFOLD_DATA_DIR", str(tmp_path))


def forget(*words: str) -> str:
    """What the command says."""
    ended = CliRunner().invoke(app, ["forget", *words], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return str(ended.output)


def of_user(client: Client) -> tuple[int, int]:
    """Rows that store the hash of the user, and rows of the view that show it."""
    sql = "SELECT (SELECT count() FROM outcome_rows WHERE user_hash = {h:UInt64}), countIf(user_hash = {h:UInt64})"
    return tuple(client.query(f"{sql} FROM outcomes", parameters={"h": HASH}).result_rows[0])


def figures(client: Client) -> list[Any]:
    """Answers that do not ask for users."""
    names = ("spend_by_day", "reconciliation", "unclicked", "orphans_and_repeats", "calibration", "click_delay")
    asked = {"reconciliation": {"agreeing": "true"}}
    return [run_query(client, name, asked.get(name)).rows for name in names]


@pytest.mark.usefixtures("environment")
def test_user_is_gone_from_every_run_and_every_figure_stays(filled: Client) -> None:
    before, stored = figures(filled), of_user(filled)[0]
    assert stored > 4
    said = forget("--user", ANN, "--yes")
    assert f"forgotten: 1 users, {stored} rows" in said
    assert f"{stored} rows of 2 runs, 2023-11-14 18:" in said
    assert of_user(filled) == (0, 0)
    assert figures(filled) == before
    others = "SELECT count(), uniqExact(user_hash), countIf(user_hash = 0) FROM outcome_rows"
    ((rows, users, without),) = filled.query(others).result_rows
    assert rows == len(outcome_rows()) * 2
    assert (users, without > stored) == (6, True)


@pytest.mark.usefixtures("environment")
def test_dry_run_shows_the_counts_and_changes_nothing(filled: Client) -> None:
    before = of_user(filled)
    said = forget("--user", ANN, "--dry-run")
    assert f"{before[0]} rows of 2 runs" in said
    assert "outcome_rows" in said
    assert "checkpoints of the join" in said
    assert of_user(filled) == before
    assert filled.query("SELECT count() FROM forgotten_users").result_rows == [(0,)]


@pytest.mark.usefixtures("environment")
def test_nothing_is_forgotten_unless_somebody_says_yes(filled: Client) -> None:
    before = of_user(filled)
    with pytest.raises(SettingsError, match="give --yes"):
        forget("--user", ANN)
    assert of_user(filled) == before


@pytest.mark.usefixtures("environment")
def test_rows_that_come_later_do_not_bring_the_user_back(filled: Client, clickhouse: ClickHouse) -> None:
    forget("--user", ANN, "--yes")
    writer = Writer(lambda: connect(clickhouse.url, database=str(filled.database)), give_up=threading.Event())
    # As a replay, a sink that starts again, and a backfill do.
    for run in ("", "again", "third"):
        assert writer.write(outcome_rows(run)) == []
    writer.close()
    assert of_user(filled) == (0, 0)
    ((others,),) = filled.query("SELECT count() FROM outcome_rows WHERE run = 'third'").result_rows
    assert others == len(outcome_rows())


@pytest.mark.usefixtures("environment")
def test_row_that_was_on_its_way_is_hidden_and_the_next_call_takes_it_out(filled: Client) -> None:
    forget("--user", ANN, "--yes")
    # A sink that has not looked at the list yet.
    for truth in truths():
        insert(filled, "outcomes", truth.decided())
    stored, shown = of_user(filled)
    assert (stored > 0, shown) == (True, 0)
    assert ClickHouseRows.open(filled).still_stored == stored
    assert f"0 users, {stored} rows" in forget("--yes")
    assert of_user(filled) == (0, 0)
    assert ClickHouseRows.open(filled).still_stored == 0


@pytest.mark.usefixtures("environment")
def test_runs_agree_although_the_user_is_stored_in_one_of_them(filled: Client) -> None:
    for partition, truth in enumerate(truths()):
        insert(filled, "totals", totals_of(truth, partition, version=1), run="again")
        insert(filled, "ledger", [ledger_of(truth, partition)])
    record_run(filled, run_record("again"))
    warehouse.forget(filled, [HASH])
    filled.command(
        f"ALTER TABLE outcome_rows UPDATE user_hash = 0 WHERE run = '' AND user_hash = {HASH}",
        settings={"mutations_sync": 2},
    )
    outcomes = compare(filled, "again").tables[1]
    assert (outcomes.table, outcomes.equal) == ("outcomes", True)


@pytest.mark.usefixtures("environment")
def test_ids_come_from_a_file_and_are_hashed_as_by_the_mapping(
    filled: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALT", "s3cret")
    hashed = "2c9e8d4a"  # another id than the stored one
    (tmp_path / "users").write_text(f"{ANN}\n\n{hashed}\n")
    before = of_user(filled)
    assert "0 rows of 0 runs" in forget("--users", str(tmp_path / "users"), "--hash-with", "SALT", "--dry-run")
    forget("--users", str(tmp_path / "users"), "--yes")
    assert before[0] > 0
    assert of_user(filled) == (0, 0)
    assert filled.query("SELECT count() FROM forgotten_users").result_rows == [(2,)]
    with pytest.raises(SettingsError, match="the variable NONE is empty"):
        forget("--user", ANN, "--hash-with", "NONE")


def test_outcomes_without_a_user_are_never_forgotten(filled: Client) -> None:
    warehouse.forget(filled, [])
    assert warehouse.erase(filled) == 0


@pytest.mark.usefixtures("environment")
def test_more_users_than_an_address_has_room_for_are_forgotten(filled: Client, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("".join(f"somebody {number}\n" for number in range(60_000)))
    (tmp_path / "users").write_text(f"{ANN}\n" + (tmp_path / "users").read_text())
    stored = of_user(filled)[0]
    assert stored > 0
    assert f"{stored} rows" in forget("--users", str(tmp_path / "users"), "--yes")
    assert of_user(filled) == (0, 0)


def letters(run: str = "") -> Rows:
    """Dead letters as rows: two quote the user, of which one is cut, one another user, one nobody."""
    rule = "m.toml line 5, user_id: "
    details = [
        (Reason.MAPPING, f'{rule}{{"id": "{ANN}"}} is no text and no number'),
        (Reason.MAPPING, f'{rule}{{"name": "{"x" * 40}", "id": "use… is no text and no number'),
        (Reason.MAPPING, f'{rule}{{"id": "user 4"}} is no text and no number'),
        (Reason.UNDECODABLE, "JSON is malformed: invalid character (byte 0)"),
    ]
    made: list[bytes | None] = [encode(_letter(reason, detail, at)) for at, (reason, detail) in enumerate(details)]
    return rows_of("rejects", made, run=run)[0]


def _letter(reason: Reason, detail: str, offset: int) -> Rejected:
    value = b'{"user_id": {"id": "user 3"}}'
    return rejected(reason, detail, value, topic="shop", partition=1, offset=offset, record_ts_ms=1_700_000_000_000)


def details_kept(client: Client, run: str = "") -> list[tuple[str, bool]]:
    """The details of a run, and whether the hash of the value is kept."""
    sql = "SELECT detail, xxh3 != '' FROM reject_rows FINAL WHERE run = {run:String} ORDER BY offset"
    return [(detail, bool(kept)) for detail, kept in client.query(sql, parameters={"run": run}).result_rows]


@pytest.fixture
def writer(environment: None, filled: Client, clickhouse: ClickHouse) -> Iterator[Writer]:
    made = Writer(lambda: connect(clickhouse.url, database=str(filled.database)), give_up=threading.Event())
    yield made
    made.close()


def test_dead_letters_that_quote_the_user_become_tombstones_in_every_run_and_replays_bring_none_back(
    filled: Client, writer: Writer
) -> None:
    for run in ("", "again"):
        assert writer.write(letters(run)) == []
    before = details_kept(filled)
    assert all(kept for _, kept in before)
    counted = run_query(filled, "rejects", None).rows
    said = forget("--user", ANN, "--dry-run")
    assert "2 more are cut and may quote it" in said
    assert details_kept(filled) == before
    assert "4 details of dead letters" not in said

    # Both rows of the user are at one place.
    assert "3 details of dead letters" in forget("--user", ANN, "--yes")
    tombstone = (f"m.toml line 5, user_id: {TOMBSTONE}", False)
    after = [tombstone, tombstone, *before[2:]]
    assert details_kept(filled) == details_kept(filled, "again") == after
    assert [row[:3] for row in run_query(filled, "rejects", None).rows] == [row[:3] for row in counted]
    # A sink that starts again, a replay, and a backfill of another name.
    for run in ("", "again", "third"):
        assert writer.write(letters(run)) == []
    assert [details_kept(filled, run) for run in ("", "again", "third")] == [after] * 3
    assert ClickHouseRows.open(filled).tombstoned() == 2
    # What ClickHouse keeps of a mutation names nobody.
    commands = (
        "SELECT countIf(position(command, 'user 3') > 0), count() FROM system.mutations WHERE table = 'reject_rows'"
    )
    assert filled.query(commands).result_rows[0] == (0, 2)


def test_dead_letter_that_was_on_its_way_is_a_tombstone_after_the_next_call(filled: Client, writer: Writer) -> None:
    forget("--user", ANN, "--yes")
    # A sink that asked for the list just before.
    filled.insert(
        *("reject_rows", letters().columns),
        column_names=letters().names,
        column_type_names=letters().types,
        column_oriented=True,
    )
    assert ClickHouseRows.open(filled).tombstoned() == 0
    assert "2 details of dead letters" in forget("--yes")
    assert [TOMBSTONE in detail for detail, _ in details_kept(filled)] == [True, True, False, False]
    assert "details of dead letters" not in forget("--yes")


def test_details_have_the_id_as_it_came_although_a_mapping_hashes_it(
    filled: Client, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALT", "s3cret")
    assert writer.write(letters()) == []
    forget("--user", ANN, "--hash-with", "SALT", "--yes")
    assert TOMBSTONE in details_kept(filled)[0][0]

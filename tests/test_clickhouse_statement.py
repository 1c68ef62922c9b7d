"""A request is split where a ClickHouse server splits it."""

import pytest

from streams.embedded.clickhouse.statement import Statement, read_statement, reading_from
from streams.embedded.clickhouse.wire import MAX_SQL_BYTES


@pytest.mark.parametrize("rows", [b"", b"\n", b" \n", b"\x20\x00FORMAT", b"\nVALUES (1)", b"1,2\n"])
def test_rows_are_untouched_after_one_line_end(rows: bytes) -> None:
    # 0x20 first is a Native block of 32 columns, which a reader that skips blanks would damage.
    read = read_statement(b"INSERT INTO t (a, b) FORMAT Native\n" + rows)
    assert read == Statement("INSERT INTO t (a, b) ", rows=rows, rows_format="Native")


@pytest.mark.parametrize(
    "head",
    [
        b"insert into t ",
        b"-- FORMAT CSV\nINSERT INTO t ",
        b"/* VALUES\n */ INSERT INTO t ",
        b"INSERT INTO `FORMAT x` (format, values) ",
        b'INSERT INTO "a\\"FORMAT CSV" ',
        b"INSERT INTO FUNCTION file('SELECT.csv', 'a Int8') ",
        b"INSERT INTO t SETTINGS async_insert = 0, log_comment = 'it''s FORMAT' ",
    ],
)
def test_keywords_in_names_literals_and_comments_do_not_end_the_statement(head: bytes) -> None:
    assert read_statement(head + b"FORMAT CSV\n1") == Statement(head.decode(), rows=b"1", rows_format="CSV")
    assert read_statement(head + b"VALUES (1)") == Statement(head.decode(), rows=b" (1)", rows_format="Values")


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT * FROM u",
        b"INSERT INTO t (a) WITH x AS (SELECT 1) SELECT * FROM x",
        b"SELECT 'INSERT INTO t FORMAT CSV'",
        b"CREATE TABLE t (format String)",
        b"not sql at all \xff 'open",
        b"",
    ],
)
def test_everything_else_is_one_statement(text: bytes) -> None:
    assert read_statement(text) == Statement(text.decode("utf-8", errors="surrogateescape"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"select 1 format Native ;\n", "Native"),
        (b"SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "CSV"),
        (b"SELECT 1", None),
        (b"SELECT 'FORMAT JSON'", None),
        (b"SELECT 1 FORMAT JSON SETTINGS log_comment = 'x FORMAT CSV', a = 'it''s'", "JSON"),
        (b"SELECT 1 FORMAT JSON -- FORMAT CSV", "JSON"),
        (b"SELECT 1 FORMAT JSON /* x */ ; -- hi", "JSON"),
        (b"SELECT 1 SETTINGS max_threads = 1 FORMAT `JSON`", "JSON"),
        (b"SELECT format FROM t", None),
        (b"SELECT 1 AS format, 2 AS x", None),
    ],
)
def test_format_of_the_answer_is_the_one_at_the_end(text: bytes, named: str | None) -> None:
    assert read_statement(text).answer_format == named


@pytest.mark.parametrize(
    ("text", "changes", "temporary"),
    [
        (b"SET max_threads = 1", True, False),
        (b"/* x */ use ads", True, False),
        (b"-- x\n set a = 1", True, False),
        (b"create or replace temporary table t (a Int8)", True, True),
        (b"CREATE TEMPORARY TABLE IF NOT EXISTS t AS SELECT 1", True, True),
        (b"CREATE TABLE temporary (a Int8) ENGINE = Memory", False, False),
        (b"SELECT 'SET a = 1'", False, False),
        (b"INSERT INTO t VALUES (1)", False, False),
        (b"", False, False),
    ],
)
def test_what_changes_a_session_is_seen(text: bytes, changes: bool, temporary: bool) -> None:
    statement = read_statement(text)
    assert (statement.changes_session, statement.is_temporary) == (changes, temporary)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        (b"SELECT now() SETTINGS max_threads = 1, session_timezone = 'Asia/Tokyo'", "Asia/Tokyo"),
        (b"SELECT 'session_timezone = x'", None),
    ],
)
def test_zone_that_a_statement_sets_is_seen(text: bytes, zone: str | None) -> None:
    assert read_statement(text).timezone == zone


def test_setting_of_an_insert_is_added_behind_its_own() -> None:
    plain = reading_from(read_statement(b"INSERT INTO t FORMAT CSV\n1"), "FROM INFILE 'f'", "a = 1")
    assert plain == "INSERT INTO t  FROM INFILE 'f' SETTINGS a = 1 FORMAT CSV"
    # A comment behind them must not hide it.
    own = reading_from(read_statement(b"INSERT INTO t SETTINGS b = 2 -- x\nFORMAT CSV\n1"), "FROM INFILE 'f'", "a = 1")
    assert own == "INSERT INTO t  FROM INFILE 'f' SETTINGS b = 2 -- x\n\n, a = 1 FORMAT CSV"


def test_a_statement_beyond_the_bound_is_not_split() -> None:
    statement = read_statement(b"SELECT 1" + b" " * MAX_SQL_BYTES + b"FORMAT CSV")
    assert (statement.words, statement.answer_format) == ((), None)

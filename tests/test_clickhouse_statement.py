"""A request is split where a ClickHouse server splits it."""

import pytest

from streams.embedded.clickhouse.statement import Statement, read_statement


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
    ],
)
def test_format_of_the_answer_is_the_one_at_the_end(text: bytes, named: str | None) -> None:
    assert read_statement(text).answer_format == named

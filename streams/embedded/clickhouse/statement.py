"""Splits one HTTP request: the statement, the rows of an INSERT, the format of the answer."""

import re
from dataclasses import dataclass

# The part of ClickHouse's lexer that skips literals, quoted names and comments, which may contain a keyword.
_TOKEN = re.compile(
    rb"'(?:\\.|''|[^'\\])*'|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\])*\"|--[^\n]*|/\*.*?\*/|\w+|[()]|[^\s\w]", re.DOTALL
)
_DATA_STARTS = re.compile(rb"[ \t]*;?[ \t]*(?:\r?\n)?")
_FORMAT_AT_END = re.compile(rb"\bFORMAT\s+(\w+)\s*(?:\bSETTINGS\b[^']*)?;?\s*$", re.IGNORECASE)
# A table may be called settings: a clause has a name and an equals sign behind it.
_SETTINGS_CLAUSE = re.compile(rb"SETTINGS\s+\w+\s*=", re.IGNORECASE)
_STATEMENT_CONTINUES = {b"SELECT", b"WITH", b"FROM", b"WATCH", b"EXPLAIN"}


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL without the rows. ``rows`` (encoded as ``rows_format``) is None unless the request contains the rows of an
    INSERT; ``answer_format`` is None where the SQL has no FORMAT."""

    sql: str
    rows: bytes | None = None
    rows_format: str = ""
    answer_format: str | None = None

    @property
    def without_format(self) -> str:
        """The SQL up to its FORMAT clause."""
        sql = self.sql.encode("utf-8", errors="surrogateescape")
        named = _FORMAT_AT_END.search(sql)
        return (sql[: named.start()] if named else sql).decode("utf-8", errors="surrogateescape")


def read_statement(text: bytes) -> Statement:
    """Split what the client sent (``query`` parameter, newline, body) as a ClickHouse server does. Pure.

    Text that is not SQL is returned unchanged: the engine's message about it is the best one.
    """
    inserted = _insert_with_rows(text)
    if inserted is not None:
        return inserted
    named = _FORMAT_AT_END.search(text[-4096:])
    return Statement(
        sql=text.decode("utf-8", errors="surrogateescape"),
        answer_format=named.group(1).decode() if named else None,
    )


def reading_from(statement: Statement, source: str) -> str:
    """SQL of an INSERT with its rows from `source` (FROM INFILE and so on) instead of the request."""
    # The grammar requires the source before SETTINGS, and a client writes SETTINGS before FORMAT.
    sql = statement.sql.encode()
    starts = (token.start() for token in _TOKEN.finditer(sql) if _SETTINGS_CLAUSE.match(sql, token.start()))
    at = next(starts, len(sql))
    head, settings = sql[:at].decode(), sql[at:].decode()
    return f"{head} {source} {settings} FORMAT {statement.rows_format}"


def _insert_with_rows(text: bytes) -> Statement | None:
    depth, first, in_format = 0, True, None
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word.startswith((b"--", b"/*")):
            continue
        if first and word.upper() != b"INSERT":
            return None
        first = False
        depth += (word == b"(") - (word == b")")
        if in_format is not None:
            return _with_rows(text, head=in_format, rows_from=token.end(), rows_format=word.decode())
        if depth == 0 and word.upper() == b"FORMAT":
            in_format = token.start()
        elif depth == 0 and word.upper() == b"VALUES":
            return Statement(text[: token.start()].decode(), rows=text[token.end() :], rows_format="Values")
        elif depth == 0 and word.upper() in _STATEMENT_CONTINUES:
            return None
    return None


def _with_rows(text: bytes, *, head: int, rows_from: int, rows_format: str) -> Statement:
    separator = _DATA_STARTS.match(text, rows_from)
    assert separator is not None, "every part of the pattern may be empty"
    return Statement(text[:head].decode(), rows=text[separator.end() :], rows_format=rows_format)

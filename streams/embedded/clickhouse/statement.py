"""Splits one HTTP request: the statement, the rows of an INSERT, the format of the answer."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from streams.embedded.clickhouse.sql import sql_bytes, sql_text
from streams.embedded.clickhouse.wire import MAX_SQL_BYTES

# The part of ClickHouse's lexer that skips literals, quoted names and comments, which may contain a keyword.
_TOKEN = re.compile(
    rb"'(?:\\.|''|[^'\\])*'|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\])*\"|--[^\n]*|/\*.*?\*/|\w+|[()]|[^\s\w]", re.DOTALL
)
_DATA_STARTS = re.compile(rb"[ \t]*;?[ \t]*(?:\r?\n)?")
# A table may be called settings: a clause has a name and an equals sign behind it.
_SETTINGS_CLAUSE = re.compile(rb"SETTINGS\s+\w+\s*=", re.IGNORECASE)
_STATEMENT_CONTINUES = {b"SELECT", b"WITH", b"FROM", b"WATCH", b"EXPLAIN"}
_TEMPORARY: Final = (
    (b"CREATE", b"TEMPORARY"),
    (b"CREATE", b"OR", b"REPLACE", b"TEMPORARY"),
    (b"REPLACE", b"TEMPORARY"),
)
# What a statement begins with, behind brackets: enough to tell its kind.
_FIRST_WORDS: Final = 5


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL without the rows. ``rows`` (encoded as ``rows_format``) is None unless the request contains the rows of an
    INSERT; ``answer_format`` is None where the SQL has no FORMAT, ``timezone`` where it sets none. ``words`` are the
    first ones in upper case, and all of a SET."""

    sql: str
    rows: bytes | None = None
    rows_format: str = ""
    answer_format: str | None = None
    timezone: str | None = None
    words: tuple[bytes, ...] = field(default=(), compare=False)

    @property
    def is_temporary(self) -> bool:
        """Whether it makes what ends with the session."""
        return any(self.words[: len(words)] == words for words in _TEMPORARY)

    @property
    def changes_session(self) -> bool:
        """Whether later statements of the session see what it did."""
        return self.sets or self.is_temporary

    @property
    def sets(self) -> bool:
        """Whether it sets settings, parameters, roles or the current database of the session."""
        return self.words[:1] in ((b"SET",), (b"USE",))

    @property
    def without_format(self) -> str:
        """The SQL without its FORMAT clause and without a semicolon at its end."""
        sql = sql_bytes(self.sql)
        tokens = list(tokens_of(sql))
        if tokens and tokens[-1].group() == b";":
            sql = sql[: tokens.pop().start()]
        at = _format_clause([token.group() for token in tokens])
        return sql_text(sql if at is None else sql[: tokens[at].start()] + sql[tokens[at + 1].end() :])


def read_statement(text: bytes) -> Statement:
    """Split what the client sent (``query`` parameter, newline, body) as a ClickHouse server does. Pure.

    Text that is not SQL is returned unchanged: the engine's message about it is the best one.
    """
    inserted = _insert_with_rows(text)
    if inserted is not None:
        return inserted
    sql = sql_text(text)
    if len(sql) > MAX_SQL_BYTES:
        # It is refused; its tokens would take many times its bytes, and seconds.
        return Statement(sql)
    tokens = [token.group() for token in tokens_of(text)]
    return Statement(
        sql=sql,
        answer_format=_answer_format(tokens),
        timezone=_timezone(tokens),
        words=_first_words(tokens),
    )


def tokens_of(text: bytes) -> Iterator[re.Match[bytes]]:
    """Words, literals and signs of SQL, without comments."""
    return (token for token in _TOKEN.finditer(text) if not token.group().startswith((b"--", b"/*")))


def reading_from(statement: Statement, source: str, setting: str = "") -> str:
    """SQL of an INSERT with its rows from `source` (FROM INFILE and so on) instead of the request, and with one more
    `setting` (``name = value``)."""
    # The grammar requires the source before SETTINGS, and a client writes SETTINGS before FORMAT.
    sql = sql_bytes(statement.sql)
    starts = (token.start() for token in _TOKEN.finditer(sql) if _SETTINGS_CLAUSE.match(sql, token.start()))
    at = next(starts, len(sql))
    head, settings = sql_text(sql[:at]), sql_text(sql[at:])
    if setting:
        # On a line of its own: a comment may be before it.
        settings = f"{settings}\n, {setting}" if settings else f"SETTINGS {setting}"
    return f"{head} {source} {settings} FORMAT {statement.rows_format}"


def _insert_with_rows(text: bytes) -> Statement | None:
    depth, first, in_format = 0, True, None
    for token in tokens_of(text):
        word = token.group()
        if first and word.upper() != b"INSERT":
            return None
        first = False
        depth += (word == b"(") - (word == b")")
        if in_format is not None:
            return _with_rows(text, head=in_format, rows_from=token.end(), rows_format=word.decode())
        if depth == 0 and word.upper() == b"FORMAT":
            in_format = token.start()
        elif depth == 0 and word.upper() == b"VALUES":
            return Statement(sql_text(text[: token.start()]), rows=text[token.end() :], rows_format="Values")
        elif depth == 0 and word.upper() in _STATEMENT_CONTINUES:
            return None
    return None


def _with_rows(text: bytes, *, head: int, rows_from: int, rows_format: str) -> Statement:
    separator = _DATA_STARTS.match(text, rows_from)
    assert separator is not None, "every part of the pattern may be empty"
    return Statement(sql_text(text[:head]), rows=text[separator.end() :], rows_format=rows_format)


def _answer_format(tokens: list[bytes]) -> str | None:
    at = _format_clause(tokens)
    return None if at is None else sql_text(tokens[at + 1].strip(b'`"'))


def _format_clause(tokens: list[bytes]) -> int | None:
    # The last clause but SETTINGS. A column may be called format, too: that has other signs behind it.
    for at in range(len(tokens) - 2, 0, -1):
        behind = tokens[at + 2].upper() if at + 2 < len(tokens) else b";"
        if tokens[at].upper() == b"FORMAT" and behind in (b";", b"SETTINGS"):
            return at
    return None


def _timezone(tokens: list[bytes]) -> str | None:
    for at in range(len(tokens) - 3, -1, -1):
        if tokens[at : at + 2] == [b"session_timezone", b"="]:
            return sql_text(tokens[at + 2].strip(b"'"))
    return None


def _first_words(tokens: list[bytes]) -> tuple[bytes, ...]:
    words = [token.upper() for token in tokens[: 2 * _FIRST_WORDS] if token != b"("]
    # Any of the settings of a SET may matter.
    return tuple(token.upper() for token in tokens) if words[:1] == [b"SET"] else tuple(words[:_FIRST_WORDS])

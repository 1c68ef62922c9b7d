"""What runs, under the query ids of the clients: `system.processes`, SHOW PROCESSLIST, KILL QUERY, queryID().

chDB gives each statement an id of its own and takes none. So the client's id travels in a setting that has no effect
here, a view over `system.processes` shows it in place of the engine's, and what asks for processes asks that view.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from schemas.clickhouse.quoting import literal
from streams.embedded.clickhouse.connection import Connection
from streams.embedded.clickhouse.sql import sql_bytes, sql_text
from streams.embedded.clickhouse.statement import tokens_of

# Any text may be in it, and only statements of a dialect read it that `users.xml` forbids.
ID_SETTING: Final = "promql_table"
_ID: Final = f"Settings['{ID_SETTING}']"
_VIEW: Final = "system.processes_by_query_id"
# A database that lives in memory: the view is made at each start.
VIEW_SQL: Final = (
    f"CREATE OR REPLACE VIEW {_VIEW} AS SELECT * REPLACE (if({_ID} = '', query_id, {_ID}) AS query_id, "
    f"if({_ID} = '', initial_query_id, {_ID}) AS initial_query_id, "
    f"mapFilter((name, value) -> name != '{ID_SETTING}', Settings) AS Settings) "
    # In a query of its own: beside the REPLACE it would be the id that replaces it.
    "FROM (SELECT *, query_id AS engine_id FROM system.processes)"
)
_MENTIONS: Final = re.compile(r"processes|processlist|queryid|query_id", re.IGNORECASE)
_READING_KINDS: Final = ("Select", "Show", "Describe", "Explain", "Check", "Exists")
_COLUMNS: Final = "kill_status String, query_id String, user String, query String"
_ROW: Final = "query_id, user, query"


def by_query_id(sql: str) -> str:
    """A statement that reads, asking for the ids of clients where it asks for processes or for its own id."""
    if not _MENTIONS.search(sql):
        return sql
    text = sql_bytes(sql)
    tokens = list(tokens_of(text))
    words = [token.group().strip(b'`"').lower() for token in tokens]
    parts: list[bytes] = []
    done = at = 0
    while at < len(tokens):
        length, new = _in_place_of(words[at : at + 3], first=at == 0)
        if length:
            parts += [text[done : tokens[at].start()], new]
            done = tokens[at + length - 1].end()
        at += length or 1
    return sql_text(b"".join([*parts, text[done:]]))


def _in_place_of(words: list[bytes], *, first: bool) -> tuple[int, bytes]:
    """How many of the words are replaced, and by what; 0 for none."""
    if words == [b"system", b".", b"processes"]:
        # Without the column that only this module asks for.
        return 3, f"(SELECT * EXCEPT engine_id FROM {_VIEW})".encode()
    if words in ([b"queryid", b"(", b")"], [b"query_id", b"(", b")"]):
        return 3, f"getSetting('{ID_SETTING}')".encode()
    if first and words[:2] == [b"show", b"processlist"]:
        return 2, f"SELECT * EXCEPT engine_id FROM {_VIEW} ORDER BY elapsed DESC".encode()
    return 0, b""


def is_kill(words: tuple[bytes, ...]) -> bool:
    """Whether a statement with these first words ends queries."""
    return words[:2] == (b"KILL", b"QUERY")


def watches(words: tuple[bytes, ...]) -> bool:
    """Whether it must not wait for the queries that it is about."""
    return is_kill(words) or words[:2] == (b"SHOW", b"PROCESSLIST")


def selection_of(kill_sql: str) -> tuple[str, str]:
    """A SELECT of what a KILL QUERY that parses means, and its mode: SYNC, ASYNC or TEST."""
    text = sql_bytes(kill_sql)
    tokens = list(tokens_of(text))
    words = [token.group().upper() for token in tokens]
    end = len(words)
    if words[end - 1] == b";":
        end -= 1
    if words[end - 2] == b"FORMAT":
        end -= 2
    mode = b"ASYNC"
    if words[end - 1] in (b"SYNC", b"ASYNC", b"TEST"):
        mode, end = words[end - 1], end - 1
    condition = text[tokens[words.index(b"WHERE")].end() : tokens[end - 1].end()]
    where = by_query_id(sql_text(condition))
    return f"SELECT {_ROW}, engine_id FROM {_VIEW} WHERE ({where}\n)", mode.decode()


def kill(connection: Connection, selection: str, mode: str, *, own_id: str, answer_format: str) -> Any:
    """Ends the queries of a `selection`, except this one; chDB's result in `answer_format`, None if there are none."""
    found = [
        tuple(bytes.fromhex(cell).decode("utf-8", errors="surrogateescape") for cell in line.split("\t"))
        for line in connection.text(
            f"SELECT hex(query_id), hex(user), hex(query), hex(engine_id) FROM ({selection}) "
            f"WHERE query_id != {literal(own_id)}"
        ).splitlines()
    ]
    if not found:
        return None
    status = {} if mode == "TEST" else _kill(connection, [engine_id for *_, engine_id in found], mode)
    rows = ", ".join(
        f"({', '.join(map(literal, (status.get(engine_id, 'finished'), *row)))})" for *row, engine_id in found
    )
    columns = _ROW if mode == "TEST" else f"kill_status, {_ROW}"
    return connection.query(f"SELECT {columns} FROM values({literal(_COLUMNS)}, {rows})", answer_format)


def _kill(connection: Connection, engine_ids: list[str], mode: str) -> Mapping[str, str]:
    """The status of each by the engine's id. Those that ended by themselves are left out."""
    ids = ", ".join(map(literal, engine_ids))
    lines = connection.query(f"KILL QUERY WHERE query_id IN ({ids}) {mode}", "TSV").bytes().decode().splitlines()
    return {line.split("\t")[1]: line.split("\t")[0] for line in lines}


def kill_reader(connection: Connection, query_id: str) -> None:
    """End what a client that has gone was reading, but nothing that writes."""
    kinds = ", ".join(map(literal, _READING_KINDS))
    connection.query(f"KILL QUERY WHERE {_ID} = {literal(query_id)} AND query_kind IN ({kinds}) ASYNC")

"""Named queries: the SQL files of `queries/`, their headers parsed, run with parameters bound by the server.

    -- What the query answers, in one line.
    -- param: campaign String '' -- only this campaign; empty: all

Every parameter has a default, so that every query runs as it is. Binding by the server (`{campaign:String}`) keeps
values out of the SQL, whatever is in them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_PARAMETER = re.compile(r"-- param: (\w+) ([\w()']+) (?:'([^']*)'|(\S+)) -- (.+)")
# ClickHouse's numbers for a parameter that can't be read as its type: CANNOT_PARSE_TEXT and its kin, and
# BAD_QUERY_PARAMETER.
_BAD_VALUE_CODES = frozenset({6, 27, 32, 38, 41, 72, 321, 457})


class Parameter(msgspec.Struct, frozen=True):
    """A value the query takes: ClickHouse type, default as text, and what it is."""

    name: str
    type: str
    default: str
    text: str


class Query(msgspec.Struct, frozen=True):
    """One file: what it answers, its parameters in order of the header, and the SQL with its comments."""

    name: str
    text: str
    parameters: tuple[Parameter, ...]
    sql: str


class Table(msgspec.Struct, frozen=True):
    """An answer. Values are as in ClickHouse's JSON: numbers, strings (times too, in UTC), booleans, null."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[list[Any]]


class _Column(msgspec.Struct):
    name: str
    type: str


class _Answer(msgspec.Struct):
    meta: list[_Column]
    data: list[list[Any]]


@functools.cache
def queries() -> dict[str, Query]:
    """All named queries by name, in alphabetical order."""
    folder = resources.files("schemas.clickhouse") / "queries"
    files = sorted((file.name, file.read_text(encoding="utf-8")) for file in folder.iterdir())
    return {name.removesuffix(".sql"): parse(name.removesuffix(".sql"), sql) for name, sql in files}


def parse(name: str, sql: str) -> Query:
    """The query of one file. Raises SettingsError naming the line of the header that can't be read."""
    first, *rest = sql.splitlines()
    if not first.startswith("-- "):
        raise SettingsError(f"query {name}: its first line {first!r} must be a comment that says what it answers")
    parameters = []
    for line in rest:
        found = _PARAMETER.fullmatch(line)
        if found:
            default = found[4] if found[3] is None else found[3]
            parameters.append(Parameter(name=found[1], type=found[2], default=default, text=found[5]))
        elif line.startswith("-- param"):
            raise SettingsError(f"query {name}: {line!r} is not '-- param: name Type default -- text'")
    return Query(name=name, text=first[3:], parameters=tuple(parameters), sql=sql.strip())


def run_query(client: Client, name: str, values: Mapping[str, str] | None = None) -> Table:
    """The answer to a named query on the client's database; `values` override defaults, all as text.

    Raises SettingsError for an unknown query or parameter, or a value that isn't of its type.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError  # 0.2 s to import, for those who query only

    if name not in queries():
        raise SettingsError(f"there is no query {name!r}; choose from {', '.join(queries())}")
    query = queries()[name]
    bound = {parameter.name: parameter.default for parameter in query.parameters}
    unknown = sorted(set(values or {}) - set(bound))
    if unknown:
        raise SettingsError(f"query {name} takes no {unknown[0]!r}; it takes {', '.join(bound) or 'no parameters'}")
    bound |= values or {}
    try:
        return answer(client, query.sql, bound)
    except DatabaseError as failure:
        if failure.code in _BAD_VALUE_CODES and values:
            given = ", ".join(f"{key}={value!r}" for key, value in values.items())
            raise SettingsError(f"query {name}: one of {given} is not of its type: {failure}") from failure
        raise


def answer(
    client: Client, sql: str, values: Mapping[str, str] | None = None, settings: Mapping[str, Any] | None = None
) -> Table:
    """The answer to any question on the client's database, parameters bound by the server, all as text."""
    # JSON and not Native: clickhouse-connect gives no column names for an answer without rows. And no parameters
    # at all rather than an empty dict's worth: without a placeholder it would format the SQL with %.
    body = client.raw_query(
        sql,
        parameters=dict(values) if values else None,
        fmt="JSONCompact",
        settings={"output_format_json_quote_64bit_integers": 0, **(settings or {})},
    )
    read = msgspec.json.decode(body, type=_Answer)
    return Table(
        columns=tuple(column.name for column in read.meta),
        types=tuple(column.type for column in read.meta),
        rows=read.data,
    )

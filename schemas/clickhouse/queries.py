"""Named queries: the SQL files of `queries/`. Their headers are parsed here, and the server binds their parameters.

    -- What the query answers, in one line.
    -- param: campaign String '' -- only this campaign; empty: all
    -- chart: line x=hour y=ctr by=campaign_id unit=% -- click-through rate of each campaign

Other comments before the SQL say how to read the answer. Every parameter has a default, so every query can be run as it
is. The server binds values (`{campaign:String}`), so that no value becomes part of the SQL.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import msgspec

from schemas.clickhouse.quoting import identifier
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_PARAMETER = re.compile(r"-- param: (\w+) ([\w()']+) (?:'([^']*)'|(\S+)) -- (.+)")
_CHART = re.compile(r"-- chart: (\w+)((?: \w+=\S+)+) -- (.+)")
# The keys that each kind of chart must have, and those that every kind may have.
_CHART_NEEDS: Final = {"line": {"x", "y"}, "bar": {"x", "y"}, "histogram": {"x"}, "points": {"x", "y", "low", "high"}}
_CHART_TAKES: Final = {"x", "y", "low", "high", "by", "unit", "at"}
_SELECTS = re.compile(r"\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*\(*\s*(SELECT|WITH)\b", re.I | re.S)
_SECONDS = re.compile(r"(LowCardinality\()?(Nullable\()?DateTime\b")
# The error with which a query refuses a value by itself, and its own sentence in the text of the error.
_THROW_IF_CODE = 395
_THROWN = re.compile(r"DB::Exception: (.+?)(?:: [Ww]hile |: In scope |\. \(FUNCTION_THROW|$)", re.M)
# ClickHouse's error numbers for a value that does not fit the type of its parameter: CANNOT_PARSE_TEXT and similar
# ones, and BAD_QUERY_PARAMETER.
_BAD_VALUE_CODES = frozenset({6, 27, 32, 38, 41, 72, 321, 457})


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a query: ClickHouse type, default as text, and what it means."""

    name: str
    type: str
    default: str
    text: str


class Chart(msgspec.Struct, frozen=True):
    """How an answer is drawn. `kind` is line, bar, histogram or points (each with an interval from `low` to `high`).

    `x`, `y`, `low`, `high` and `by` (a series for each value) are names of columns; `by`, and the `x` of bars and
    points, may be several, joined by commas. In a histogram `y` is how often the `x` of the row counts. `unit` is the
    unit of `y`; with % it is drawn times 100. `at` is a value at which a line is drawn.
    """

    kind: str
    text: str
    x: str
    y: str = ""
    low: str = ""
    high: str = ""
    by: str = ""
    unit: str = ""
    at: float | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns that it draws."""
        return tuple(name for name in (*self.x.split(","), self.y, self.low, self.high, *self.by.split(",")) if name)


class Query(msgspec.Struct, frozen=True):
    """One file: what it answers, its parameters in the order of the header, and the SQL with all comments.

    `notes` are the lines that say how to read the answer.
    """

    name: str
    text: str
    parameters: tuple[Parameter, ...]
    sql: str
    notes: tuple[str, ...] = ()
    chart: Chart | None = None


class Table(msgspec.Struct, frozen=True):
    """An answer. Values are those of ClickHouse's JSON: numbers, booleans, null, strings; times are strings in UTC."""

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
    """The query of one file. Raises SettingsError that names the wrong line of the header."""
    first, *rest = sql.splitlines()
    if not first.startswith("-- "):
        raise SettingsError(f"query {name}: its first line {first!r} must be a comment that says what it answers")
    parameters, notes, chart = [], [], None
    for line in itertools.takewhile(lambda line: line.startswith("--"), rest):
        match = _PARAMETER.fullmatch(line)
        if match:
            default = match[4] if match[3] is None else match[3]
            parameters.append(Parameter(name=match[1], type=match[2], default=default, text=match[5]))
        elif line.startswith("-- param"):
            raise SettingsError(f"query {name}: {line!r} is not '-- param: name Type default -- text'")
        elif line.startswith("-- chart"):
            if chart is not None:
                raise SettingsError(f"query {name}: {line!r} is a second chart; leave one")
            chart = _chart(name, line)
        else:
            notes.append(line.removeprefix("--").strip())
    return Query(
        name=name, text=first[3:], parameters=tuple(parameters), sql=sql.strip(), notes=tuple(notes), chart=chart
    )


def _chart(name: str, line: str) -> Chart:
    match = _CHART.fullmatch(line)
    if not match or match[1] not in _CHART_NEEDS:
        kinds = ", ".join(_CHART_NEEDS)
        raise SettingsError(
            f"query {name}: {line!r} is not '-- chart: kind x=column y=column -- text', kind of {kinds}"
        )
    given = dict(part.split("=", 1) for part in match[2].split())
    missing, unknown = sorted(_CHART_NEEDS[match[1]] - set(given)), sorted(set(given) - _CHART_TAKES)
    if missing or unknown:
        wrong = f"lacks {missing[0]}=" if missing else f"knows no {unknown[0]}="
        raise SettingsError(
            f"query {name}: the {match[1]} of {line!r} {wrong}; it takes {', '.join(sorted(_CHART_TAKES))}"
        )
    try:
        return msgspec.convert({**given, "kind": match[1], "text": match[3]}, Chart, strict=False)
    except msgspec.ValidationError as failure:
        raise SettingsError(f"query {name}: {line!r} has an at= that is no number") from failure


def run_query(client: Client, name: str, values: Mapping[str, str] | None = None) -> Table:
    """The answer to a named query on the client's database. `values`, as text, replace the defaults.

    Raises SettingsError for an unknown query or parameter, and for a value that does not fit its type.
    """
    query, bound = bind(name, values)
    with values_named(query, values):
        return answer(client, query.sql, bound)


def bind(name: str, values: Mapping[str, str] | None = None) -> tuple[Query, dict[str, str]]:
    """The named query and the value of each of its parameters. Raises SettingsError for an unknown one of either."""
    if name not in queries():
        raise SettingsError(f"there is no query {name!r}; choose from {', '.join(queries())}")
    query = queries()[name]
    bound = {parameter.name: parameter.default for parameter in query.parameters}
    unknown = sorted(set(values or {}) - set(bound))
    if unknown:
        raise SettingsError(f"query {name} takes no {unknown[0]!r}; it takes {', '.join(bound) or 'no parameters'}")
    return query, bound | dict(values or {})


@contextlib.contextmanager
def values_named(query: Query, values: Mapping[str, str] | None) -> Iterator[None]:
    """Turns ClickHouse's refusal of a value in the block into a SettingsError that names the given values."""
    from clickhouse_connect.driver.exceptions import DatabaseError  # takes 0.2 s to import, so only when called

    try:
        yield
    except DatabaseError as failure:
        if failure.code in _BAD_VALUE_CODES and values:
            given = ", ".join(f"{key}={value!r}" for key, value in values.items())
            raise SettingsError(f"query {query.name}: one of {given} is not of its type: {failure}") from failure
        refused = _THROWN.search(str(failure))
        if failure.code == _THROW_IF_CODE and refused and values:
            given = ", ".join(f"{key}={value!r}" for key, value in values.items())
            raise SettingsError(f"query {query.name} with {given}: {refused[1]}") from failure
        raise


def answer(
    client: Client, sql: str, values: Mapping[str, str] | None = None, settings: Mapping[str, Any] | None = None
) -> Table:
    """The answer to any SQL on the client's database. The server binds `values`, which are all text."""
    # JSON and not Native: of a Native answer without rows clickhouse-connect gives no column names. None and not an
    # empty dict: with a dict clickhouse-connect would apply % formatting to SQL that has no placeholders.
    body = client.raw_query(
        sql,
        parameters=dict(values) if values else None,
        fmt="JSONCompact",
        settings={"output_format_json_quote_64bit_integers": 0, **(settings or {})},
    )
    decoded = msgspec.json.decode(body, type=_Answer)
    return Table(
        columns=tuple(column.name for column in decoded.meta),
        types=tuple(column.type for column in decoded.meta),
        rows=decoded.data,
    )


def arrow(client: Client, sql: str, values: Mapping[str, str] | None = None) -> bytes:
    """The answer to any SQL as an Arrow IPC stream, which ClickHouse makes; times are timestamps in UTC."""
    described = answer(client, f"DESCRIBE TABLE (\n{sql}\n)", values) if _SELECTS.match(sql) else Table((), (), [])
    # Arrow has no type for DateTime: ClickHouse would write plain seconds.
    times = [str(row[0]) for row in described.rows if _SECONDS.match(str(row[1]))]
    if times:
        replaced = ", ".join(f"toDateTime64({identifier(name)}, 0, 'UTC') AS {identifier(name)}" for name in times)
        sql = f"SELECT * REPLACE ({replaced}) FROM (\n{sql}\n)"
    # Read as a whole: a reader of a stream would take an error in the middle for the end of the answer.
    return client.raw_query(
        sql,
        parameters=dict(values) if values else None,
        fmt="ArrowStream",
        settings={"output_format_arrow_string_as_string": 1, "query_plan_remove_redundant_sorting": 0},
    )

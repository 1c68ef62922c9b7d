"""`clickfold query`: a named query or any SQL; the answer as a table, other formats or a chart."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from schemas.clickhouse.queries import Query, Table, answer, arrow, bind, queries, values_named
from schemas.errors import SettingsError
from schemas.moments import FORMS, moment_ms
from streams.cli.connections import clickhouse_client
from streams.cli.render.answers import Format, QueryFormat, refuse_terminal, write, write_arrow, write_chart
from streams.cli.render.explanations import explain, list_queries

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Statements with a result. Others return nothing, or a line of text.
_HAS_RESULT: Final = re.compile(
    r"\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*\(*\s*(SELECT|WITH|SHOW|DESC|EXPLAIN|EXISTS)", re.I | re.S
)
# The parameters that hold a time, with their options.
_MOMENTS: Final = {"since": "--from", "until": "--to"}
_EPOCH_SECONDS: Final = re.compile(r"\d{9,10}")
# The default of `rows` is meant for reading: a line chart with it would show only the newest hours.
_LINE_ROWS: Final = "100000"


def query(
    name: Annotated[
        str, typer.Argument(help="Named query; without it all queries are listed.", show_default=False)
    ] = "",
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="A parameter as NAME=VALUE.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only this campaign.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="From this time on, ISO 8601; UTC by default.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Up to this time, which is not included.")] = None,
    rows: Annotated[int | None, typer.Option(min=0, help="At most this many rows.", show_default=False)] = None,
    sql: Annotated[str | None, typer.Option(help="Any SQL instead of a named query.")] = None,
    format_: Annotated[QueryFormat, typer.Option("--format", help="How the answer is written.")] = QueryFormat.TABLE,
    explained: Annotated[
        bool, typer.Option("--explain", help="Explain the query and how to read its answer; needs no ClickHouse.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="List queries with their parameters.")] = False,
) -> None:
    """Ask ClickHouse: a named query, or any SQL."""
    shortcuts = {"campaign": campaign, "since": since, "until": until, "rows": None if rows is None else str(rows)}
    values = parameters(param or (), shortcuts)
    if name and sql is not None:
        raise SettingsError(f"query {name} and --sql are given; give one of them")
    if explained and not name:
        raise SettingsError("--explain says how to read a named query; name one")
    if name:
        chosen = named_query(name, values)
        if explained:
            explain(chosen)
        else:
            _ask(chosen, values, format_)
    elif sql is not None:
        _ask_sql(sql, values, format_)
    elif values:
        raise SettingsError("parameters are given without a query; name one, or give neither to list the queries")
    else:
        list_queries(verbose=verbose)


def parameters(given: list[str] | tuple[str, ...], options: Mapping[str, str | None]) -> dict[str, str]:
    """Values by name of parameter, from texts NAME=VALUE and from options that are given. Raises SettingsError."""
    values = {name: value for name, value in options.items() if value is not None}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise SettingsError(f"parameter {text!r} is not NAME=VALUE, such as campaign=k1")
        values[name] = value
    read = {name: _moment(name, value) if name in _MOMENTS else value for name, value in values.items()}
    if read.keys() >= _MOMENTS.keys() and read["since"] >= read["until"]:
        raise SettingsError(
            f"--from {values['since']} is not before --to {values['until']}, so no row can be between them; exchange "
            "them, or give a later --to"
        )
    return read


def named_query(name: str, values: Mapping[str, str]) -> Query:
    """The query of this name. Raises SettingsError when there is none, or it does not take a parameter of `values`."""
    query = queries().get(name)
    if query is None:
        near = difflib.get_close_matches(name, queries(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(queries())}"
        raise SettingsError(f"there is no query {name!r}; {hint}")
    names = [parameter.name for parameter in query.parameters]
    for value in values:
        if value not in names:
            shown = f"{_MOMENTS[value]} ({value})" if value in _MOMENTS else repr(value)
            raise SettingsError(f"query {name} takes no {shown}; it takes {', '.join(names) or 'no parameters'}")
    return query


def _ask(query: Query, values: Mapping[str, str], format_: QueryFormat) -> None:
    chart = query.chart
    if format_ is QueryFormat.CHART and chart is None:
        formats = ", ".join(each for each in QueryFormat if each is not QueryFormat.CHART)
        raise SettingsError(f"query {query.name} has no chart; --format takes {formats}")
    if format_ is QueryFormat.ARROW:
        refuse_terminal()
    _, bound = bind(query.name, values)
    if format_ is QueryFormat.CHART and chart is not None and chart.kind == "line" and "rows" in bound:
        bound["rows"] = values.get("rows", _LINE_ROWS)
    with clickhouse_client() as client, values_named(query, values):
        if format_ is QueryFormat.ARROW:
            write_arrow(arrow(client, query.sql, bound))
        elif format_ is QueryFormat.CHART and chart is not None:
            write_chart(answer(client, query.sql, bound), chart)
        else:
            write(answer(client, query.sql, bound), Format(format_))


def _ask_sql(sql: str, values: Mapping[str, str], format_: QueryFormat) -> None:
    if format_ is QueryFormat.CHART:
        raise SettingsError(
            "--format chart draws named queries, whose files describe the chart; with --sql choose another format"
        )
    if format_ is QueryFormat.ARROW:
        refuse_terminal()
        if not _HAS_RESULT.match(sql):
            raise SettingsError("--format arrow writes rows, and this statement returns none; leave out --format")
    with clickhouse_client() as client:
        if format_ is QueryFormat.ARROW:
            write_arrow(arrow(client, sql.strip().rstrip(";"), values))
        else:
            write(run_sql(client, sql, values), Format(format_))


def run_sql(client: Client, sql: str, values: Mapping[str, str]) -> Table:
    """The answer to any statement; a table without columns for a statement that returns none."""
    sql = sql.strip().rstrip(";")
    if not _HAS_RESULT.match(sql):
        client.command(sql, parameters=dict(values) or None)
        return Table((), (), [])
    return answer(client, sql, values)


def _moment(name: str, text: str) -> str:
    """ClickHouse's DateTime in UTC of an ISO 8601 moment, or of seconds since 1970.

    The parameters hold whole seconds. A fraction is rounded up, which is exact for minutes, hours and days.
    """
    try:
        seconds = int(text) if _EPOCH_SECONDS.fullmatch(text.strip()) else -(-moment_ms(text) // 1_000)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"{_MOMENTS[name]} {text!r} is not a time; write it as {FORMS}") from error

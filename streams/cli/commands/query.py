"""`clickfold query`: named questions to ClickHouse, or any SQL, written, drawn or explained."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from schemas.clickhouse.queries import Query, Table, answer, arrow, bind, queries, values_named
from schemas.errors import ClickfoldError, SettingsError
from streams.cli.render.answers import Format, QueryFormat, refuse_terminal, write, write_arrow, write_chart
from streams.cli.render.explanations import explain, list_queries
from streams.worker.environment import Environment

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Resolve = Callable[[], "AbstractContextManager[Client]"]

# What follows is a result; everything else is an order and answers nothing, or a line of text.
_ASKS: Final = re.compile(r"\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*\(*\s*(SELECT|WITH|SHOW|DESC|EXPLAIN|EXISTS)", re.I | re.S)
# Rows of lines to be drawn: the defaults bound them for reading, and would cut off all but the newest hours.
_LINE_ROWS: Final = "100000"
_VERSION_TAIL: Final = re.compile(r"\s*\(version [^)]*\)\s*$")


@contextlib.contextmanager
def from_environment() -> Iterator[Client]:
    """A client of the ClickHouse named by the environment. Raises SettingsError when none is."""
    from streams.warehouse.client import connect  # clickhouse-connect takes 0.3 s to import

    environment = Environment()
    client = connect(
        environment.clickhouse(),
        database=environment.clickhouse_database,
        user=environment.clickhouse_user,
        password=environment.clickhouse_password.get_secret_value(),
    )
    try:
        yield client
    finally:
        client.close()


def query_command(resolve: Resolve) -> Callable[..., None]:
    """The command, asking the ClickHouse that `resolve` opens: `app.command("query")(query_command(...))`."""

    def query(
        name: Annotated[str, typer.Argument(help="Named query; none: list them.", show_default=False)] = "",
        param: Annotated[list[str] | None, typer.Option("--param", "-p", help="A parameter as NAME=VALUE.")] = None,
        campaign: Annotated[str | None, typer.Option(help="Only this campaign.")] = None,
        since: Annotated[str | None, typer.Option("--from", help="First moment, UTC: '2019-11-24 00:00:00'.")] = None,
        until: Annotated[str | None, typer.Option("--to", help="First moment no longer included, UTC.")] = None,
        rows: Annotated[int | None, typer.Option(min=0, help="At most so many rows.", show_default=False)] = None,
        sql: Annotated[str | None, typer.Option(help="Any SQL instead of a named query.")] = None,
        format_: Annotated[
            QueryFormat, typer.Option("--format", help="How the answer is written.")
        ] = QueryFormat.TABLE,
        explained: Annotated[bool, typer.Option("--explain", help="Say how to read the answer; ask nothing.")] = False,
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
            query = known(name, values)
            if explained:
                explain(query)
            else:
                _ask(resolve, query, values, format_)
        elif sql is not None:
            _ask_sql(resolve, sql, values, format_)
        elif values:
            raise SettingsError("parameters without a query; name one, or give none of both to list them")
        else:
            list_queries(verbose=verbose)

    return query


query = query_command(from_environment)


def parameters(given: list[str] | tuple[str, ...], options: Mapping[str, str | None]) -> dict[str, str]:
    """Values by parameter: NAME=VALUE texts, and options that are not None. Raises SettingsError."""
    values = {name: value for name, value in options.items() if value is not None}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise SettingsError(f"parameter {text!r} is not NAME=VALUE, as campaign=k1")
        values[name] = value
    return {name: _moment(value) if name in ("since", "until") else value for name, value in values.items()}


def known(name: str, values: Mapping[str, str]) -> Query:
    """The named query. Raises SettingsError, with what is nearest, for a query or parameter there is none of."""
    found = queries().get(name)
    if found is None:
        near = difflib.get_close_matches(name, queries(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(queries())}"
        raise SettingsError(f"there is no query {name!r}; {hint}")
    taken = [parameter.name for parameter in found.parameters]
    for value in values:
        if value not in taken:
            shown = {"since": "--from (since)", "until": "--to (until)"}.get(value, repr(value))
            raise SettingsError(f"query {name} takes no {shown}; it takes {', '.join(taken) or 'no parameters'}")
    return found


def _ask(resolve: Resolve, query: Query, values: Mapping[str, str], format_: QueryFormat) -> None:
    chart = query.chart
    if format_ is QueryFormat.CHART and chart is None:
        others = ", ".join(each for each in QueryFormat if each is not QueryFormat.CHART)
        raise SettingsError(f"query {query.name} has no chart; --format takes {others}")
    if format_ is QueryFormat.ARROW:
        refuse_terminal()
    _, bound = bind(query.name, values)
    if format_ is QueryFormat.CHART and chart is not None and chart.kind == "line" and "rows" in bound:
        bound["rows"] = values.get("rows", _LINE_ROWS)
    with told(), resolve() as client, values_named(query, values):
        if format_ is QueryFormat.ARROW:
            write_arrow(arrow(client, query.sql, bound))
        elif format_ is QueryFormat.CHART and chart is not None:
            write_chart(answer(client, query.sql, bound), chart)
        else:
            write(answer(client, query.sql, bound), Format(format_))


def _ask_sql(resolve: Resolve, sql: str, values: Mapping[str, str], format_: QueryFormat) -> None:
    if format_ is QueryFormat.CHART:
        raise SettingsError(
            "--format chart draws named queries, whose files say what; with --sql choose another format"
        )
    if format_ is QueryFormat.ARROW:
        refuse_terminal()
        if not _ASKS.match(sql):
            raise SettingsError("--format arrow writes answers, and this statement gives none; leave the format out")
    with told(), resolve() as client:
        if format_ is QueryFormat.ARROW:
            write_arrow(arrow(client, sql.strip().rstrip(";"), values))
        else:
            write(run_sql(client, sql, values), Format(format_))


def run_sql(client: Client, sql: str, values: Mapping[str, str]) -> Table:
    """The answer to any statement; one that answers nothing gives a table without columns."""
    sql = sql.strip().rstrip(";")
    if not _ASKS.match(sql):
        client.command(sql, parameters=dict(values) or None)
        return Table((), (), [])
    return answer(client, sql, values)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Errors of ClickHouse within the block as a ClickfoldError of one sentence: its number and what it says."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    try:
        yield
    except ClickHouseError as failure:
        code = getattr(failure, "code", None)
        text = str(failure).strip()
        # The server's own words come behind clickhouse-connect's, which name the URL and may span lines.
        text = (
            _VERSION_TAIL.sub("", text.rpartition("DB::Exception: ")[2].splitlines()[0]) if text else "no reason given"
        )
        raise ClickfoldError(f"ClickHouse error {code}: {text}" if code else f"ClickHouse: {text}") from failure


def _moment(text: str) -> str:
    """ClickHouse's DateTime of a day alone, or of ISO with T and Z."""
    text = text.strip().removesuffix("Z").replace("T", " ")
    return f"{text} 00:00:00" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text

"""`clickfold query`: named questions to ClickHouse, or any SQL, as a table, CSV or JSON."""

from __future__ import annotations

import contextlib
import csv
import difflib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import rich.table
import typer
from rich import box
from rich.console import Console
from rich.text import Text

from schemas.clickhouse.queries import Query, Table, answer, queries, run_query
from schemas.errors import ClickfoldError, SettingsError
from streams.cli.figures import DASH
from streams.environment import Environment

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Resolve = Callable[[], "AbstractContextManager[Client]"]

# A pipe has no width; rows must not be cut where nobody sees that they were.
_PIPE_COLUMNS: Final = 10_000
_NUMBER: Final = re.compile(r"(Nullable\()?(U?Int|Float|Decimal)")
# What follows is a result; everything else is an order and answers nothing, or a line of text.
_ASKS: Final = re.compile(r"\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*\(*\s*(SELECT|WITH|SHOW|DESC|EXPLAIN|EXISTS)", re.I | re.S)
_VERSION_TAIL: Final = re.compile(r"\s*\(version [^)]*\)\s*$")


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@contextlib.contextmanager
def from_environment() -> Iterator[Client]:
    """A client of the ClickHouse named by the environment. Raises SettingsError when none is."""
    from streams.sink.client import connect  # clickhouse-connect takes 0.3 s to import

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
        sql: Annotated[str | None, typer.Option(help="Any SQL instead of a named query.")] = None,
        format_: Annotated[Format, typer.Option("--format", help="How the answer is written.")] = Format.TABLE,
    ) -> None:
        """Ask ClickHouse: a named query, or any SQL."""
        values = parameters(param or (), {"campaign": campaign, "since": since, "until": until})
        if name and sql is not None:
            raise SettingsError(f"query {name} and --sql are given; give one of them")
        if sql is not None:
            with told(), resolve() as client:
                write(run_sql(client, sql, values), format_)
        elif name:
            known(name, values)
            with told(), resolve() as client:
                write(run_query(client, name, values), format_)
        elif values:
            raise SettingsError("parameters without a query; name one, or give none of both to list them")
        else:
            _list()

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


def write(table: Table, format_: Format) -> None:
    """An answer to standard output."""
    if format_ is Format.JSON:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        sys.stdout.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    elif format_ is Format.CSV:
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerows([table.columns, *([_text(value, none="") for value in row] for row in table.rows)])
    elif table.columns:
        shown = rich.table.Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for name, type_ in zip(table.columns, table.types, strict=True):
            shown.add_column(Text(name), justify="right" if _NUMBER.match(type_) else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*(Text(_text(value, none=DASH)) for value in row))
        console = Console()
        (console if console.is_terminal else Console(width=_PIPE_COLUMNS)).print(shown)


def _text(value: Any, *, none: str) -> str:
    if value is None:
        return none
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _moment(text: str) -> str:
    """ClickHouse's DateTime of a day alone, or of ISO with T and Z."""
    text = text.strip().removesuffix("Z").replace("T", " ")
    return f"{text} 00:00:00" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text


def _list() -> None:
    console = Console()
    for each in queries().values():
        console.print(Text.assemble((each.name, "bold"), "  ", each.text))
        for parameter in each.parameters:
            default = f" [{parameter.default}]" if parameter.default else ""
            console.print(Text(f"    -p {parameter.name}=…  {parameter.text}{default}", style="dim"))

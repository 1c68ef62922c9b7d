"""Writes answers of ClickHouse to standard output as a table, CSV, JSON, Arrow or a chart."""

from __future__ import annotations

import csv
import re
import sys
from enum import StrEnum
from typing import Any, Final

import orjson
import rich.table
from rich import box
from rich.console import Console
from rich.text import Text

from schemas.clickhouse.queries import Chart, Table
from schemas.errors import SettingsError
from streams.cli.render.escape import escaped_json, escaped_table
from streams.cli.render.figures import DASH

# Characters of a line in a pipe, which has no width of its own. More than any row needs, so that no row is cut.
PIPE_COLUMNS: Final = 10_000
# The size of a chart in a pipe: it fits a page of a document or a message.
_CHART_COLUMNS: Final = 100
_CHART_LINES: Final = 20
_NUMBER: Final = re.compile(r"(Nullable\()?(U?Int|Float|Decimal)")


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class QueryFormat(StrEnum):
    """How the answer to a query is written: as a Format, as Arrow for other programs, or as a chart."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    ARROW = "arrow"
    CHART = "chart"


def terminal(columns: int = PIPE_COLUMNS) -> Console:
    """Standard output, as wide as the terminal; in a pipe `columns` characters wide."""
    console = Console()
    return console if console.is_terminal else Console(width=columns)


def write(table: Table, format_: Format) -> None:
    """Writes an answer as table, CSV or JSON. On a terminal no text of a record can control it; a CSV file is exact."""
    if format_ is Format.JSON:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        text = orjson.dumps(rows, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
        sys.stdout.write(escaped_json(text))
    elif format_ is Format.CSV:
        table = escaped_table(table) if sys.stdout.isatty() else table
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerows([table.columns, *([_text(value, none="") for value in row] for row in table.rows)])
    elif table.columns:
        table = escaped_table(table)
        shown = rich.table.Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for name, type_ in zip(table.columns, table.types, strict=True):
            shown.add_column(Text(name), justify="right" if _NUMBER.match(type_) else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*(Text(_text(value, none=DASH)) for value in row))
        terminal().print(shown)


def write_chart(table: Table, chart: Chart) -> None:
    """Draws an answer in the size of the terminal."""
    from streams.cli.render.charts import Canvas, draw

    console = terminal(_CHART_COLUMNS)
    lines = min(_CHART_LINES, max(8, console.height - 8)) if console.is_terminal else _CHART_LINES
    canvas = Canvas(console.width, lines, colours=console.color_system is not None and not console.no_color)
    console.print(draw(escaped_table(table), chart, canvas))


def refuse_terminal() -> None:
    """Raises SettingsError when standard output is a terminal, which cannot show binary data."""
    if sys.stdout.isatty():
        raise SettingsError(
            "--format arrow writes bytes that a terminal cannot show; redirect them, as in '> answer.arrow'"
        )


def write_arrow(stream: bytes) -> None:
    """Writes an Arrow IPC stream unchanged."""
    sys.stdout.buffer.write(stream)
    sys.stdout.buffer.flush()


def _text(value: Any, *, none: str) -> str:
    if value is None:
        return none
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else orjson.dumps(value).decode()

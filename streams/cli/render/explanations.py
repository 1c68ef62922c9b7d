"""Explains named queries from their own files: what they answer and how to read it. Asks no ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Final

import rich.table
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from schemas.clickhouse.queries import Parameter, Query, queries
from streams.cli.render.answers import terminal

_PIPE_COLUMNS: Final = 100
# Parameters that the command has an option for.
_OPTIONS: Final = {"campaign": "--campaign", "since": "--from", "until": "--to", "rows": "--rows"}


def list_queries(*, verbose: bool) -> None:
    """Prints every named query with its one line; with `verbose` its parameters too."""
    console = terminal()
    grid = rich.table.Table.grid(padding=(0, 2, 0, 0))
    for each in queries().values():
        grid.add_row(Text(each.name, style="bold"), Text(each.text))
        if verbose:
            for parameter in each.parameters:
                grid.add_row("", Text(f"{option_of(parameter)}  {_describe(parameter)}", style="dim"))
    console.print(grid)
    if not verbose:
        console.print(Text("\nclickfold query NAME --explain says how to read one; --verbose lists parameters.", "dim"))


def explain(query: Query) -> None:
    """Prints what the query answers, how to read it, its parameters, columns and chart, and an answer for a sample."""
    console = terminal(_PIPE_COLUMNS)
    sample = sample_of(query.name)
    console.print(Group(*_parts(query, sample)))
    if sample is not None:
        console.print(Text("\nAn answer", style="bold"))
        # A terminal cuts wide answers, as wrapped rows cannot be read; a pipe gets them whole.
        shown = Text(sample.rstrip("\n"), no_wrap=True, overflow="crop")
        console.print(Padding(shown, (0, 0, 0, 2)) if console.is_terminal else shown, soft_wrap=not console.is_terminal)


def _parts(query: Query, sample: str | None) -> Iterator[RenderableType]:
    yield Text.assemble((query.name, "bold"), ": ", query.text)
    if query.notes:
        # Joined to one paragraph, which the terminal wraps.
        yield from _part("How to read it", Text(" ".join(query.notes)))
    grid = rich.table.Table.grid(padding=(0, 2, 0, 0))
    for parameter in query.parameters:
        grid.add_row(option_of(parameter), Text(parameter.type, style="dim"), _describe(parameter))
    yield from _part("Parameters", grid if query.parameters else Text("none"))
    chart = query.chart
    drawn = f"{chart.kind}: {chart.text} ({', '.join(chart.columns)})" if chart else "none"
    if sample is not None:
        yield from _part("Columns", Text(", ".join(sample.partition("\n")[0].split())))
    yield from _part("Chart", Text(drawn))


def sample_of(name: str) -> str | None:
    """The query's answer to the sample data, as a table; None where there is none."""
    file = resources.files("schemas.clickhouse") / "samples" / f"{name}.txt"
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _part(title: str, body: RenderableType) -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, style="bold")
    yield Padding(body, (0, 0, 0, 2))


def option_of(parameter: Parameter) -> str:
    """How a parameter is given on the command line."""
    return _OPTIONS.get(parameter.name, f"-p {parameter.name}=…")


def _describe(parameter: Parameter) -> str:
    return parameter.text + (f" [{parameter.default}]" if parameter.default else "")

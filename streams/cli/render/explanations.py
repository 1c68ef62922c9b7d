"""Explains named queries from their files: what they answer and how to read the answer. Needs no ClickHouse."""

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

# The width in a pipe: it fits a page of a document.
_PIPE_COLUMNS: Final = 100
# Parameters for which the command has an option.
_OPTIONS: Final = {"campaign": "--campaign", "since": "--from", "until": "--to", "rows": "--rows"}


def list_queries(*, verbose: bool) -> None:
    """Prints every named query with a line of what it answers; with `verbose` also its parameters."""
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
    """Prints what the query answers, how to read the answer, its parameters, columns and chart, and a sample answer."""
    console = terminal(_PIPE_COLUMNS)
    sample = sample_of(query.name)
    console.print(Group(*_parts(query, sample)))
    if sample is not None:
        console.print(Text("\nAn answer", style="bold"))
        # On a terminal wide rows are cut, because wrapped ones are hard to read; in a pipe they are whole.
        shown = Text(sample.rstrip("\n"), no_wrap=True, overflow="crop")
        console.print(Padding(shown, (0, 0, 0, 2)) if console.is_terminal else shown, soft_wrap=not console.is_terminal)


def _parts(query: Query, sample: str | None) -> Iterator[RenderableType]:
    yield Text.assemble((query.name, "bold"), ": ", query.text)
    if query.notes:
        # One paragraph, so that the terminal wraps it to its width.
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
    """The answer of the query to the sample data, as a table; None when the query has no sample."""
    file = resources.files("schemas.clickhouse") / "samples" / f"{name}.txt"
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _part(title: str, body: RenderableType) -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, style="bold")
    yield Padding(body, (0, 0, 0, 2))


def option_of(parameter: Parameter) -> str:
    """The option of the command line that sets a parameter."""
    return _OPTIONS.get(parameter.name, f"-p {parameter.name}=…")


def _describe(parameter: Parameter) -> str:
    return parameter.text + (f" [{parameter.default}]" if parameter.default else "")

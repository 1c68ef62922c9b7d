"""Charts with one line of text for each row: bars, histograms, and values with their intervals on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import rich.table
from rich import box
from rich.console import RenderableType
from rich.text import Text

from schemas.clickhouse.queries import Chart
from streams.cli.render.axes import cell_text, nice_ticks, number_text, scale_and_label, shortened, value_axis
from streams.cli.render.figures import Bar

# About as many lines as fit a screen. The chart says how to see the rest.
MOST_ROWS: Final = 40
_MOST_BINS: Final = 20


def bars(rows: list[dict[str, Any]], chart: Chart) -> Iterator[RenderableType]:
    """A bar for each row; the longest fills the width that is left."""
    scale, label = scale_and_label(chart.y, chart.unit)
    complete = [row for row in rows if row[chart.y] is not None]
    shown = complete[:MOST_ROWS]
    names = [*chart.x.split(","), *filter(None, chart.by.split(","))]
    values = [row[chart.y] * scale for row in shown]
    yield _rows([[cell_text(row[name]) for name in names] for row in shown], values, names, label)
    yield from _rows_left_out(rows, complete, f"value of {chart.y}")


def histogram(rows: list[dict[str, Any]], chart: Chart) -> Iterator[RenderableType]:
    """A bar for each range of `x`: the number of rows in it, or the sum of their `y` if the chart has one."""
    scale, label = scale_and_label(chart.x, chart.unit)
    weighted = [(row[chart.x] * scale, row[chart.y] if chart.y else 1) for row in rows if row[chart.x] is not None]
    edges = nice_ticks(min(value for value, _ in weighted), max(value for value, _ in weighted), _MOST_BINS)
    edges = edges if len(edges) > 1 else (*edges, edges[0] + 1.0)
    step = edges[1] - edges[0]
    counts = [0.0] * (len(edges) - 1)
    for value, weight in weighted:
        counts[min(len(counts) - 1, int((value - edges[0]) / step))] += weight
    names = [[f"{number_text(low, step)} to {number_text(high, step)}"] for low, high in pairwise(edges)]
    yield _rows(names, counts, [label], chart.y or "rows")


def _rows(names: list[list[str]], values: list[float], heads: list[str], label: str) -> rich.table.Table:
    grid = _grid(heads)
    grid.add_column(Text(label), justify="right", no_wrap=True)
    grid.add_column("", ratio=1)
    highest = max((abs(value) for value in values), default=0.0) or 1.0
    step = 1.0 if all(float(value).is_integer() for value in values) else highest / 100
    for name, value in zip(names, values, strict=True):
        bar = Bar(abs(value) / highest, style="red" if value < 0 else "blue")
        grid.add_row(*map(Text, name), number_text(value, step), bar)
    return grid


def points(rows: list[dict[str, Any]], chart: Chart, *, width: int) -> Iterator[RenderableType]:
    """The interval of each row on one scale, ├───●───┤, with a line at the reference value of the chart."""
    scale, label = scale_and_label(chart.y, chart.unit)
    parts = (chart.low, chart.y, chart.high)
    complete = [row for row in rows if all(row[name] is not None for name in parts)]
    shown = complete[:MOST_ROWS]
    if not shown:
        yield Text(f"no row has a value of {chart.y}")
        return
    intervals = [tuple(row[name] * scale for name in parts) for row in shown]
    reference = None if chart.at is None else chart.at * scale
    axis = value_axis([value for each in intervals for value in each] + ([] if reference is None else [reference]), 4)
    names = [*filter(None, chart.by.split(",")), *chart.x.split(",")]
    step = (axis.high - axis.low) / 200
    cells = [[shortened(cell_text(row[name])) for name in names] for row in shown]
    names_width = sum(max(len(name), *(len(row[column]) for row in cells)) + 2 for column, name in enumerate(names))
    figures = [number_text(value, step) for _, value, _ in intervals]
    scale_width = max(20, width - names_width - max(len(label), *map(len, figures)) - 4)
    grid = _grid(names)
    grid.add_column(Text(label), justify="right", no_wrap=True)
    ends = axis.labels[0], axis.labels[-1]
    grid.add_column(Text(ends[0] + ends[1].rjust(scale_width - len(ends[0]))), no_wrap=True)
    for cell, figure, (low, value, high) in zip(cells, figures, intervals, strict=True):
        columns = [
            None if each is None else round((scale_width - 1) * (each - axis.low) / (axis.high - axis.low))
            for each in (low, value, high, reference)
        ]
        grid.add_row(*map(Text, cell), figure, _interval(columns, scale_width))
    yield grid
    yield from _rows_left_out(rows, complete, f"interval of {chart.y}")


def _interval(columns: Sequence[int | None], width: int) -> Text:
    low, value, high, reference = columns
    line = [" "] * width
    if reference is not None:
        line[reference] = "┊"
    if low is not None and high is not None and value is not None:
        line[low : high + 1] = "─" * (high + 1 - low)
        if reference is not None and low < reference < high:
            line[reference] = "┼"
        line[low], line[high] = "├", "┤"
        line[value] = "●"
    return Text("".join(line), style="blue")


def _grid(heads: Sequence[str]) -> rich.table.Table:
    grid = rich.table.Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), expand=True)
    for name in heads:
        grid.add_column(Text(name), no_wrap=True, overflow="ellipsis", max_width=24)
    return grid


def _rows_left_out(rows: Sequence[Any], complete: Sequence[Any], what: str) -> Iterator[Text]:
    if len(complete) > MOST_ROWS:
        yield left_out(f"the first {MOST_ROWS} of {len(complete):,} rows shown")
    if len(complete) < len(rows):
        yield Text(f"{len(rows) - len(complete):,} of {len(rows):,} rows have no {what}", style="dim")


def left_out(text: str) -> Text:
    """A note that something is not shown, and how to see it."""
    return Text(f"{text}; --format csv has all", style="dim")

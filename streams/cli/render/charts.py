"""Draws answers in the terminal as the header of their query asks: lines with plotext, other kinds row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from schemas.clickhouse.queries import Chart, Table
from streams.cli.render.axes import Axis, cell_text, scale_and_label, shortened, time_axis, value_axis
from streams.cli.render.bars import bars, histogram, left_out, points

# More lines than this are hard to tell apart.
MOST_SERIES: Final = 6
# The same without colours, where a line is drawn with its letter.
MOST_PLAIN_SERIES: Final = 3
_COLOURS: Final = ("blue", "orange", "green", "magenta", "cyan", "red")
# The names of these colours in rich, for the legend.
_LEGEND_STYLES: Final = ("blue", "yellow", "green", "magenta", "cyan", "red")
_LETTERS: Final = "ABC"


@dataclass(frozen=True, slots=True)
class Canvas:
    """The size of a chart in characters, and whether it has colours."""

    width: int
    height: int
    colours: bool


@dataclass(frozen=True, slots=True)
class _Series:
    name: str
    points: list[tuple[float, float | None]]


def draw(table: Table, chart: Chart, canvas: Canvas) -> RenderableType:
    """The answer as a chart; a line that says so when it has no rows."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    title = Text(chart.text, style="bold")
    if not rows:
        return Group(title, Text("no rows"))
    if chart.kind == "line":
        return Group(title, *_lines(rows, chart, canvas, x_is_time=_is_time(table, chart.x)))
    if chart.kind == "histogram":
        return Group(title, *histogram(rows, chart))
    return Group(title, *(points(rows, chart, width=canvas.width) if chart.kind == "points" else bars(rows, chart)))


def _is_time(table: Table, column: str) -> bool:
    return "Date" in table.types[table.columns.index(column)]


def _lines(rows: list[dict[str, Any]], chart: Chart, canvas: Canvas, *, x_is_time: bool) -> Iterator[RenderableType]:
    scale, label = scale_and_label(chart.y, chart.unit)
    all_series = _series(rows, chart, scale, x_is_time=x_is_time)
    # Of many lines, those with the most points are shown; the sort keeps the order of the answer among equals.
    most_series = MOST_SERIES if canvas.colours else MOST_PLAIN_SERIES
    shown = sorted(all_series, key=lambda series: -len(series.points))[:most_series]
    values = [y for series in shown for _, y in series.points if y is not None]
    if not values:
        yield Text(f"no row has a value of {chart.y}")
        return
    moments = [x for series in shown for x, _ in series.points]
    most_ticks = max(2, (canvas.width - 10) // 14)
    x_axis = time_axis(min(moments), max(moments), most_ticks) if x_is_time else value_axis([*moments], most_ticks)
    reference = None if chart.at is None else chart.at * scale
    y_axis = value_axis(values if reference is None else [*values, reference], max(3, canvas.height // 3))
    if len(shown) > 1 or shown[0].name:
        yield _legend(shown, colours=canvas.colours)
    yield _plot(shown, x_axis, y_axis, canvas, reference=reference)
    yield Text(f"{label} by {chart.x}{', UTC' if x_is_time else ''}{x_axis.dates}", style="dim")
    if len(shown) < len(all_series):
        yield left_out(f"{len(shown)} of {len(all_series):,} lines shown ({chart.by}), those with most points")


def _series(rows: list[dict[str, Any]], chart: Chart, scale: float, *, x_is_time: bool) -> list[_Series]:
    by_name: dict[str, list[tuple[float, float | None]]] = {}
    for row in rows:
        if row[chart.x] is not None:
            y = row[chart.y]
            point = (_moment(row[chart.x]) if x_is_time else float(row[chart.x]), None if y is None else y * scale)
            by_name.setdefault(_name(row, chart.by), []).append(point)
    return [_Series(name, sorted(points, key=lambda point: point[0])) for name, points in by_name.items()]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _legend(shown: Sequence[_Series], *, colours: bool) -> Text:
    legend = Text()
    for number, series in enumerate(shown):
        if colours:
            legend.append("━━ ", _LEGEND_STYLES[number])
        elif len(shown) > 1:
            legend.append(f"{_LETTERS[number]} ")
        legend.append(f"{shortened(series.name)}   ")
    legend.rstrip()
    return legend


def _plot(shown: Sequence[_Series], x_axis: Axis, y_axis: Axis, canvas: Canvas, *, reference: float | None) -> Text:
    import plotext  # takes 0.15 s to import

    # plotext has one figure for the whole process. It would also cut it to the size of the terminal, even in a pipe.
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(canvas.width, canvas.height)
    figure.theme("colorless")
    figure.axes(False, axis="x", side=1)
    figure.axes(False, axis="y", side=1)
    if reference is not None:
        figure.event([reference], orientation="horizontal", style="dotted", pixel="default")
    for number, series in enumerate(shown):
        figure.draw(_signal(figure, series, number, alone=len(shown) == 1, colours=canvas.colours))
    figure.ruler("x", 0).lim(x_axis.low, x_axis.high).ticks(list(x_axis.ticks), list(x_axis.labels))
    figure.ruler("y", 0).lim(y_axis.low, y_axis.high).ticks(list(y_axis.ticks), list(y_axis.labels))
    return Text.from_ansi(str(figure.build()).rstrip("\n"), no_wrap=True)


def _signal(figure: Any, series: _Series, number: int, *, alone: bool, colours: bool) -> Any:
    import plotext

    points = [(x, y) for x, y in series.points if y is not None]
    # Without colours all lines of dots look the same, so each is drawn with its letter. A single dot is hard to see.
    symbol = "braille" if len(points) > 1 else "●"
    if not colours and not alone:
        symbol = _LETTERS[number]
    colour = _COLOURS[number] if colours else "default"
    marker = plotext.marker(symbol, plotext.pixel(colour))
    signal = figure.signal([x for x, _ in points], [y for _, y in points], marker=marker).lines()
    # No line across a gap, where the value is None.
    position = 0
    for before, after in pairwise(series.points):
        position += before[1] is not None
        if before[1] is None and after[1] is not None:
            signal.line(position, False)
    return signal


def _name(row: dict[str, Any], by: str) -> str:
    return " ".join(cell_text(row[name]) for name in by.split(",")) if by else ""

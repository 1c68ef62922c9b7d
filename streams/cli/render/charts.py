"""Draws answers in the terminal as the header of their query says: lines by plotext, bars and intervals by rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from schemas.clickhouse.queries import Chart, Table
from streams.cli.render.axes import Axis, called, scaled, short, time_axis, value_axis
from streams.cli.render.bars import bars, histogram, left_out, points

# More lines than this cannot be told apart.
MOST_SERIES: Final = 6
# Without colours, when lines are drawn with letters.
MOST_PLAIN_SERIES: Final = 3
_COLOURS: Final = ("blue", "orange", "green", "magenta", "cyan", "red")
# Rich's names of the same, for the legend.
_LEGEND_STYLES: Final = ("blue", "yellow", "green", "magenta", "cyan", "red")
_LETTERS: Final = "ABC"


@dataclass(frozen=True, slots=True)
class Room:
    """The size of a chart in characters, and whether it may have colours."""

    width: int
    height: int
    colours: bool


@dataclass(frozen=True, slots=True)
class _Series:
    name: str
    points: list[tuple[float, float | None]]


def draw(table: Table, chart: Chart, room: Room) -> RenderableType:
    """The answer as a chart; without rows a line that says so."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    title = Text(chart.text, style="bold")
    if not rows:
        return Group(title, Text("no rows"))
    if chart.kind == "line":
        return Group(title, *_lines(rows, chart, room, timed=_timed(table, chart.x)))
    if chart.kind == "histogram":
        return Group(title, *histogram(rows, chart))
    return Group(title, *(points(rows, chart, width=room.width) if chart.kind == "points" else bars(rows, chart)))


def _timed(table: Table, column: str) -> bool:
    return "Date" in table.types[table.columns.index(column)]


def _lines(rows: list[dict[str, Any]], chart: Chart, room: Room, *, timed: bool) -> Iterator[RenderableType]:
    scale, label = scaled(chart.y, chart.unit)
    every = _series(rows, chart, scale, timed=timed)
    # Of many lines those with the most points; the sort keeps the answer's order among equals.
    most = MOST_SERIES if room.colours else MOST_PLAIN_SERIES
    shown = sorted(every, key=lambda series: -len(series.points))[:most]
    values = [y for series in shown for _, y in series.points if y is not None]
    if not values:
        yield Text(f"no row has a value of {chart.y}")
        return
    moments = [x for series in shown for x, _ in series.points]
    room_x = max(2, (room.width - 10) // 14)
    across = time_axis(min(moments), max(moments), room_x) if timed else value_axis([*moments], room_x)
    mark = None if chart.at is None else chart.at * scale
    up = value_axis(values if mark is None else [*values, mark], max(3, room.height // 3))
    if len(shown) > 1 or shown[0].name:
        yield _legend(shown, colours=room.colours)
    yield _plot(shown, across, up, room, mark=mark)
    yield Text(f"{label} by {chart.x}{', UTC' if timed else ''}{across.span}", style="dim")
    if len(shown) < len(every):
        yield left_out(f"{len(shown)} of {len(every):,} lines shown ({chart.by}), those of most points")


def _series(rows: list[dict[str, Any]], chart: Chart, scale: float, *, timed: bool) -> list[_Series]:
    by_name: dict[str, list[tuple[float, float | None]]] = {}
    for row in rows:
        if row[chart.x] is not None:
            y = row[chart.y]
            point = (_moment(row[chart.x]) if timed else float(row[chart.x]), None if y is None else y * scale)
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
        legend.append(f"{short(series.name)}   ")
    legend.rstrip()
    return legend


def _plot(shown: Sequence[_Series], across: Axis, up: Axis, room: Room, *, mark: float | None) -> Text:
    import plotext  # takes 0.15 s to import

    # plotext keeps one figure for the process, and would cut it to the size of the terminal, also in a pipe.
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(room.width, room.height)
    figure.theme("colorless")
    figure.axes(False, axis="x", side=1)
    figure.axes(False, axis="y", side=1)
    if mark is not None:
        figure.event([mark], orientation="horizontal", style="dotted", pixel="default")
    for number, series in enumerate(shown):
        figure.draw(_signal(figure, series, number, alone=len(shown) == 1, colours=room.colours))
    figure.ruler("x", 0).lim(across.low, across.high).ticks(list(across.ticks), list(across.labels))
    figure.ruler("y", 0).lim(up.low, up.high).ticks(list(up.ticks), list(up.labels))
    return Text.from_ansi(str(figure.build()).rstrip("\n"), no_wrap=True)


def _signal(figure: Any, series: _Series, number: int, *, alone: bool, colours: bool) -> Any:
    import plotext

    points = [(x, y) for x, y in series.points if y is not None]
    # Without colours lines of dots look alike, so they are drawn with letters. A single dot would be hard to see.
    symbol = "braille" if len(points) > 1 else "●"
    if not colours and not alone:
        symbol = _LETTERS[number]
    colour = _COLOURS[number] if colours else "default"
    marker = plotext.marker(symbol, plotext.pixel(colour))
    signal = figure.signal([x for x, _ in points], [y for _, y in points], marker=marker).lines()
    # No line over a gap, where nothing was counted.
    position = 0
    for before, after in pairwise(series.points):
        position += before[1] is not None
        if before[1] is None and after[1] is not None:
            signal.line(position, False)
    return signal


def _name(row: dict[str, Any], by: str) -> str:
    return " ".join(called(row[name]) for name in by.split(",")) if by else ""

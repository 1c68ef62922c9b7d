"""Answers drawn in the terminal as their query's header says: lines by plotext, bars and intervals a row each."""

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

# More lines than these cross each other beyond reading.
MOST_SERIES: Final = 6
# Without colours, as letters.
MOST_PLAIN_SERIES: Final = 3
_COLOURS: Final = ("blue", "orange", "green", "magenta", "cyan", "red")
# Rich's names of the same, for the legend.
_LEGEND_STYLES: Final = ("blue", "yellow", "green", "magenta", "cyan", "red")
_LETTERS: Final = "ABC"


@dataclass(frozen=True, slots=True)
class Room:
    """What there is to draw on, in characters."""

    width: int
    height: int
    colours: bool


@dataclass(frozen=True, slots=True)
class _Series:
    name: str
    points: list[tuple[float, float | None]]


def draw(table: Table, chart: Chart, room: Room) -> RenderableType:
    """The answer as a chart; an answer without rows as a word that says so."""
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
    # Of many lines those that are there most of the time; the sort keeps the answer's order among equals.
    most = MOST_SERIES if room.colours else MOST_PLAIN_SERIES
    shown = sorted(every, key=lambda one: -len(one.points))[:most]
    values = [y for one in shown for _, y in one.points if y is not None]
    if not values:
        yield Text(f"no row has a value of {chart.y}")
        return
    moments = [x for one in shown for x, _ in one.points]
    room_x = max(2, (room.width - 10) // 14)
    across = time_axis(min(moments), max(moments), room_x) if timed else value_axis([*moments], room_x)
    mark = None if chart.at is None else chart.at * scale
    up = value_axis(values if mark is None else [*values, mark], max(3, room.height // 3))
    if len(shown) > 1 or shown[0].name:
        yield _legend(shown, colours=room.colours)
    yield _plot(shown, across, up, room, at=mark)
    yield Text(f"{label} by {chart.x}{', UTC' if timed else ''}{across.span}", style="dim")
    if len(shown) < len(every):
        yield left_out(f"{len(shown)} of {len(every):,} lines shown ({chart.by}), those of most points")


def _series(rows: list[dict[str, Any]], chart: Chart, scale: float, *, timed: bool) -> list[_Series]:
    found: dict[str, list[tuple[float, float | None]]] = {}
    for row in rows:
        if row[chart.x] is not None:
            y = row[chart.y]
            point = (_moment(row[chart.x]) if timed else float(row[chart.x]), None if y is None else y * scale)
            found.setdefault(_name(row, chart.by), []).append(point)
    return [_Series(name, sorted(points, key=lambda point: point[0])) for name, points in found.items()]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _legend(shown: Sequence[_Series], *, colours: bool) -> Text:
    legend = Text()
    for at, one in enumerate(shown):
        if colours:
            legend.append("━━ ", _LEGEND_STYLES[at])
        elif len(shown) > 1:
            legend.append(f"{_LETTERS[at]} ")
        legend.append(f"{short(one.name)}   ")
    legend.rstrip()
    return legend


def _plot(shown: Sequence[_Series], across: Axis, up: Axis, room: Room, *, at: float | None) -> Text:
    import plotext  # takes 0.15 s to import

    # plotext keeps one figure for the process; cutting it to a terminal it asks about itself is not wanted in a pipe.
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(room.width, room.height)
    figure.theme("colorless")
    figure.axes(False, axis="x", side=1)
    figure.axes(False, axis="y", side=1)
    if at is not None:
        figure.event([at], orientation="horizontal", style="dotted", pixel="default")
    for turn, one in enumerate(shown):
        figure.draw(_signal(figure, one, turn, alone=len(shown) == 1, colours=room.colours))
    figure.ruler("x", 0).lim(across.low, across.high).ticks(list(across.ticks), list(across.labels))
    figure.ruler("y", 0).lim(up.low, up.high).ticks(list(up.ticks), list(up.labels))
    return Text.from_ansi(str(figure.build()).rstrip("\n"), no_wrap=True)


def _signal(figure: Any, one: _Series, turn: int, *, alone: bool, colours: bool) -> Any:
    import plotext

    known = [(x, y) for x, y in one.points if y is not None]
    # Without colours lines of dots look alike: letters instead. One point alone is hard to see as a dot.
    symbol = "braille" if len(known) > 1 else "●"
    if not colours and not alone:
        symbol = _LETTERS[turn]
    colour = _COLOURS[turn] if colours else "default"
    marker = plotext.marker(symbol, plotext.pixel(colour))
    signal = figure.signal([x for x, _ in known], [y for _, y in known], marker=marker).lines()
    # A line over a gap would claim what nobody counted.
    position = 0
    for before, after in pairwise(one.points):
        position += before[1] is not None
        if before[1] is None and after[1] is not None:
            signal.line(position, False)
    return signal


def _name(row: dict[str, Any], by: str) -> str:
    return " ".join(called(row[name]) for name in by.split(",")) if by else ""

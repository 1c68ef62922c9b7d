"""The live view: how far the feed is, what the join decided, the model, budgets, rows. `render` is a pure function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final

import rich.live
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from schemas.pacing import PacingDecision
from streams.cli.render.escape import escaped
from streams.cli.render.figures import DASH, Bar, count, decimal, moment, money, span
from streams.cli.render.sources import LogFigures, Rate, Snapshot

if TYPE_CHECKING:
    from streams.inputs.feed import FeedProgress

# Colours of the terminal's own palette that are readable on black and on white; yellow and blue are not on both.
STATE_STYLES: Final = {
    "on_plan": "green",
    "behind": "cyan",
    "ahead": "magenta",
    "exhausted": "red",
    "paused": "dim",
    "unknown": "red",
    "outside_flight": "dim",
}
# In wider rows the eye loses the line.
_WIDEST: Final = 110
# With the rest of the frame, 24 rows: the smallest terminal there is.
_MOST_CAMPAIGNS: Final = 4
_LINE_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Play:
    """How far a feed is from `first_ms` to `last_ms` of event time; these are equal when not known beforehand.

    `speed` is measured, in event seconds a second; None before the first measurement.
    """

    events: int
    event_ms: int
    first_ms: int = 0
    last_ms: int = 0
    speed: float | None = None
    done: bool = False

    @property
    def share(self) -> float | None:
        """The share of the event time that is played, 0 to 1; None when not known."""
        if self.done:
            return 1.0
        if self.first_ms >= self.last_ms:
            return None
        return min(1.0, max(0, self.event_ms - self.first_ms) / (self.last_ms - self.first_ms))

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at this speed; None when not known or when nothing moves."""
        if not self.speed or not self.event_ms or self.first_ms >= self.last_ms:
            return None
        return max(0, self.last_ms - self.event_ms) / 1_000 / self.speed


class Live:
    """Shows frames during its block: redrawn in place on a terminal, a plain line every few seconds elsewhere.

    `first_ms` and `last_ms` are the event times the feed begins and ends at; 0 when not known beforehand. The last
    frame stays on the screen.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        first_ms: int = 0,
        last_ms: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console()
        self._ends_ms = (first_ms, last_ms)
        self._clock = clock
        self._speed = Rate()
        self._line_due_s = -_LINE_EVERY_S
        self._screen = rich.live.Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> Live:
        if self._console.is_terminal:
            self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._screen.stop()

    def update(self, snapshot: Snapshot, feed: FeedProgress) -> None:
        """Shows the figures as of now. Call it a few times a second."""
        at_s = self._clock()
        play = self._play(feed, at_s=at_s)
        if self._console.is_terminal:
            self._screen.update(render(snapshot, play, width=self._console.width), refresh=True)
        elif at_s - self._line_due_s >= 0.0:
            self._line_due_s = at_s + _LINE_EVERY_S
            self._console.print(line(snapshot, play), soft_wrap=True, highlight=False)

    def _play(self, feed: FeedProgress, *, at_s: float) -> Play:
        first_ms, last_ms = self._ends_ms
        # The leap from 0 to the first event is no speed.
        speed = self._speed.add(feed.event_ms / 1_000, at_s=at_s) if feed.event_ms else None
        events = feed.impressions + feed.clicks
        return Play(events, feed.event_ms, first_ms, last_ms, speed=speed, done=feed.done)


def render(snapshot: Snapshot, play: Play | None, *, width: int) -> RenderableType:
    """One frame for a terminal of `width` columns; 24 rows at most. Without a feed, None, it has no progress bar."""
    width = min(width, _WIDEST)
    parts: list[RenderableType] = [] if play is None else [_feed(play), Text()]
    parts += [_join(snapshot), Text(), _model(snapshot), Text(), _pacing(snapshot.pacing), Text(), _rows(snapshot)]
    frame = Table.grid(expand=False)
    frame.add_column(width=max(40, width - 2))
    for part in parts:
        frame.add_row(part)
    return Padding(frame, (0, 1))


def line(snapshot: Snapshot, play: Play) -> str:
    """The same on one line, for logs."""
    written = None if snapshot.rows_written is None else sum(snapshot.rows_written.values())
    lost = [log.late for log in (snapshot.impressions, snapshot.clicks) if log.late is not None]
    return (
        f"{_share(play)}  event time {moment(play.event_ms)} UTC  "
        f"{count(snapshot.events_per_s)} events/s  accepted {count(snapshot.impressions.accepted)} impressions, "
        f"{count(snapshot.clicks.accepted)} clicks  joined {count(snapshot.billable)}  "
        f"late {count(sum(lost) if lost else None)}  lag {count(_lag(snapshot))}  learned {count(snapshot.learned)}  "
        f"rows sent to ClickHouse {count(written)}"
    )


def _lag(snapshot: Snapshot) -> int | None:
    lags = [log.lag_records for log in (snapshot.impressions, snapshot.clicks) if log.lag_records is not None]
    return sum(lags) if lags else None


def _share(play: Play) -> str:
    return f"{DASH if play.share is None else format(100 * play.share, '.0f'):>3} %"


def _feed(play: Play) -> RenderableType:
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(no_wrap=True)
    head.add_column(ratio=1)
    head.add_column(justify="right", no_wrap=True)
    head.add_row(Text("feed", style="bold"), Bar(play.share or 0.0, style="cyan"), _share(play))
    eta = DASH if play.left_s is None else span(play.left_s)
    ahead = "all sent, the workers finish" if play.done else f"ETA {eta}"
    speed = DASH if play.speed is None else f"{play.speed:,.0f}x"
    below = _pairs(("event time", f"{moment(play.event_ms)} UTC"), ("speed", speed), ("sent", count(play.events)))
    return Group(head, Text.assemble(below, "   ", ahead))


def _join(snapshot: Snapshot) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(min_width=11, no_wrap=True)
    # Wide enough for millions, or columns would move as counts grow; together 76, as much as 80 columns leave.
    for width in (11, 7, 10, 8, 8, 16):
        table.add_column(justify="right", min_width=width, no_wrap=True)
    names = ("accepted", "late", "duplicate", "rejected", "lag", "watermark UTC")
    table.add_row(Text("join", style="bold"), *(Text(name, style="dim") for name in names))
    for name, log in (("impressions", snapshot.impressions), ("clicks", snapshot.clicks)):
        table.add_row(name, *_log_cells(log))
    joined = _pairs(
        ("billable", count(snapshot.billable)),
        ("repeat", count(snapshot.repeat)),
        ("orphan", count(snapshot.orphan)),
        ("pending", count(snapshot.pending_clicks)),
    )
    work = _pairs(("open impressions", count(snapshot.open_impressions)), ("events/s", count(snapshot.events_per_s)))
    return Group(table, Text.assemble("of clicks    ", joined), Text.assemble("at work      ", work))


def _log_cells(log: LogFigures) -> list[Text]:
    # Zero is how it should be; what was refused should catch the eye.
    refused = [
        Text(count(value), style=style if value else "")
        for value, style in ((log.late, "magenta"), (log.duplicate, "cyan"), (log.rejected, "red"))
    ]
    return [Text(count(log.accepted)), *refused, Text(count(log.lag_records)), Text(moment(log.watermark_ms))]


def _model(snapshot: Snapshot) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=11, no_wrap=True)
    for _ in range(5):
        table.add_column(justify="right", min_width=9, no_wrap=True)
    names = ("learned", "waiting", "unmeasured", "log loss", "calibration")
    table.add_row(Text("model", style="bold"), *(Text(name, style="dim") for name in names))
    counts = (count(snapshot.learned), count(snapshot.waiting), count(snapshot.unmeasured))
    for name, measures, cells in (
        ("all windows", snapshot.measures, counts),
        ("last 24 h", snapshot.last_day_measures, ("", "", "")),
    ):
        figures = (measures.log_loss, measures.calibration) if measures else (None, None)
        table.add_row(name, *cells, decimal(figures[0], 5), decimal(figures[1], 2))
    if snapshot.drift:
        return Group(table, Text(f"predictions drift: {snapshot.drift.replace('_', ' ')}", style="magenta"))
    return table


def _pacing(decisions: tuple[PacingDecision, ...] | None) -> RenderableType:
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(min_width=11, max_width=20, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", min_width=9, no_wrap=True)
    table.add_column(justify="right", min_width=9, no_wrap=True)
    table.add_column(ratio=1, min_width=10)
    table.add_column(min_width=9, no_wrap=True)
    table.add_row(
        Text("pacing", style="bold"), *(Text(name, style="dim") for name in ("spend", "budget", "│ plan", "state"))
    )
    for each in _furthest(decisions or ()):
        budget_micros = max(1, each.budget_micros)
        style = STATE_STYLES[each.state]
        table.add_row(
            Text(escaped(each.campaign_id)),
            money(each.spend_micros),
            money(each.budget_micros),
            Bar(each.spend_micros / budget_micros, mark=each.plan_micros / budget_micros, style=style),
            Text(each.state.replace("_", " "), style=style),
        )
    if not decisions:
        table.add_row(DASH, DASH, DASH, "", DASH)
    elif len(decisions) > _MOST_CAMPAIGNS:
        table.add_row(Text(f"and {len(decisions) - _MOST_CAMPAIGNS:,} more", style="dim"), "", "", "", "")
    return table


def _furthest(decisions: tuple[PacingDecision, ...]) -> list[PacingDecision]:
    """Those furthest from their plan, by name, so that rows do not jump about."""
    furthest = sorted(decisions, key=lambda each: (-abs(each.spend_micros - each.plan_micros), each.campaign_id))
    return sorted(furthest[:_MOST_CAMPAIGNS], key=lambda each: each.campaign_id)


def _rows(snapshot: Snapshot) -> RenderableType:
    tables = snapshot.rows_written if snapshot.tables is None else snapshot.tables
    # Short of "_totals" and "_rows" all of them fit one line of 80 columns.
    rows = [(name.rpartition("_")[0] or name, count(kept)) for name, kept in (tables or {}).items()]
    # -1: the sink does not know yet.
    lag = None if snapshot.sink_lag_records == -1 else snapshot.sink_lag_records
    head = Text.assemble(
        ("ClickHouse", "bold"), "   ", _pairs(("lag", count(lag)), ("held", count(snapshot.rows_held)))
    )
    return Group(head, _pairs(*rows or [("rows", DASH)]))


def _pairs(*pairs: tuple[str, str]) -> Text:
    """Dim names with their values, on one line."""
    return Text("   ").join(Text.assemble((f"{name} ", "dim"), value) for name, value in pairs)

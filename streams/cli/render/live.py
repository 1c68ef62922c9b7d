"""The live view: progress of the feed, decisions of the join, the model, budgets, rows. `render` is pure."""

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

# Colours of the terminal's palette that are readable on black and on white. Yellow and blue are not readable on both.
STATE_STYLES: Final = {
    "on_plan": "green",
    "behind": "cyan",
    "ahead": "magenta",
    "exhausted": "red",
    "paused": "dim",
    "unknown": "red",
    "outside_flight": "dim",
    "outside_hours": "dim",
}
# Wider rows are hard to follow from left to right.
_MOST_COLUMNS: Final = 110
# With the rest of the frame these make 24 rows, the usual height of a small terminal.
_MOST_CAMPAIGNS: Final = 4
_LINE_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How much of its input a feed has sent.

    `event_ms` is the event time it has reached, between `first_ms` and `last_ms`; these two are equal when not known
    beforehand. `speed` is measured, in event seconds a second; None before the first measurement.
    """

    events: int
    event_ms: int
    first_ms: int = 0
    last_ms: int = 0
    speed: float | None = None
    done: bool = False

    @property
    def share(self) -> float | None:
        """The share of the event time that is sent, 0 to 1; None when not known."""
        if self.done:
            return 1.0
        if self.first_ms >= self.last_ms:
            return None
        return min(1.0, max(0, self.event_ms - self.first_ms) / (self.last_ms - self.first_ms))

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at this speed; None when not known or when the feed stands still."""
        if not self.speed or not self.event_ms or self.first_ms >= self.last_ms:
            return None
        return max(0, self.last_ms - self.event_ms) / 1_000 / self.speed


class Live:
    """Shows the figures during its block: redrawn in place on a terminal, elsewhere as a line every few seconds.

    `first_ms` and `last_ms` are the first and last event time of the feed; 0 when not known beforehand. The last frame
    stays on the screen.
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
        self._range_ms = (first_ms, last_ms)
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
        """Shows these figures. Call it a few times a second."""
        now_s = self._clock()
        status = self._status(feed, now_s=now_s)
        if self._console.is_terminal:
            self._screen.update(render(snapshot, status, width=self._console.width), refresh=True)
        elif now_s >= self._line_due_s:
            self._line_due_s = now_s + _LINE_EVERY_S
            self._console.print(line(snapshot, status), soft_wrap=True, highlight=False)

    def _status(self, feed: FeedProgress, *, now_s: float) -> FeedStatus:
        first_ms, last_ms = self._range_ms
        # The step from 0 to the first event time must not count as speed.
        speed = self._speed.add(feed.event_ms / 1_000, at_s=now_s) if feed.event_ms else None
        events = feed.impressions + feed.clicks
        return FeedStatus(events, feed.event_ms, first_ms, last_ms, speed=speed, done=feed.done)


def render(snapshot: Snapshot, status: FeedStatus | None, *, width: int) -> RenderableType:
    """One frame for a terminal of `width` columns, with at most 24 rows. Without a `status` it has no progress bar."""
    width = min(width, _MOST_COLUMNS)
    parts: list[RenderableType] = [] if status is None else [_feed(status), Text()]
    parts += [_join(snapshot), Text(), _model(snapshot), Text(), _pacing(snapshot.pacing), Text(), _rows(snapshot)]
    frame = Table.grid(expand=False)
    frame.add_column(width=max(40, width - 2))
    for part in parts:
        frame.add_row(part)
    return Padding(frame, (0, 1))


def line(snapshot: Snapshot, status: FeedStatus) -> str:
    """The most important figures on one line, for logs."""
    rows_written = None if snapshot.rows_written is None else sum(snapshot.rows_written.values())
    late = [log.late for log in (snapshot.impressions, snapshot.clicks) if log.late is not None]
    return (
        f"{_share(status)}  event time {moment(status.event_ms)} UTC  "
        f"{count(snapshot.events_per_s)} events/s  accepted {count(snapshot.impressions.accepted)} impressions, "
        f"{count(snapshot.clicks.accepted)} clicks  joined {count(snapshot.billable)}  "
        f"late {count(sum(late) if late else None)}  lag {count(_lag(snapshot))}  learned {count(snapshot.learned)}  "
        f"rows sent to ClickHouse {count(rows_written)}"
    )


def _lag(snapshot: Snapshot) -> int | None:
    lags = [log.lag_records for log in (snapshot.impressions, snapshot.clicks) if log.lag_records is not None]
    return sum(lags) if lags else None


def _share(status: FeedStatus) -> str:
    return f"{DASH if status.share is None else format(100 * status.share, '.0f'):>3} %"


def _feed(status: FeedStatus) -> RenderableType:
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(no_wrap=True)
    head.add_column(ratio=1)
    head.add_column(justify="right", no_wrap=True)
    head.add_row(Text("feed", style="bold"), Bar(status.share or 0.0, style="cyan"), _share(status))
    eta = DASH if status.left_s is None else span(status.left_s)
    ahead = "all sent, the workers finish" if status.done else f"ETA {eta}"
    speed = DASH if status.speed is None else f"{status.speed:,.0f}x"
    below = _pairs(("event time", f"{moment(status.event_ms)} UTC"), ("speed", speed), ("sent", count(status.events)))
    return Group(head, Text.assemble(below, "   ", ahead))


def _join(snapshot: Snapshot) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(min_width=11, no_wrap=True)
    # Wide enough for millions, so that columns do not move as counts grow. With the gaps they fit 80 columns.
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
    # Zeros have no colour, so that records that were not accepted stand out.
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
            Bar(each.spend_micros / budget_micros, tick=each.plan_micros / budget_micros, style=style),
            Text(each.state.replace("_", " "), style=style),
        )
    if not decisions:
        table.add_row(DASH, DASH, DASH, "", DASH)
    elif len(decisions) > _MOST_CAMPAIGNS:
        table.add_row(Text(f"and {len(decisions) - _MOST_CAMPAIGNS:,} more", style="dim"), "", "", "", "")
    return table


def _furthest(decisions: tuple[PacingDecision, ...]) -> list[PacingDecision]:
    """The campaigns whose spend is furthest from plan, in order of their ids, so that rows keep their place."""
    furthest = sorted(decisions, key=lambda each: (-abs(each.spend_micros - each.plan_micros), each.campaign_id))
    return sorted(furthest[:_MOST_CAMPAIGNS], key=lambda each: each.campaign_id)


def _rows(snapshot: Snapshot) -> RenderableType:
    tables = snapshot.rows_written if snapshot.tables is None else snapshot.tables
    # Without the endings "_totals" and "_rows" all names fit one line of 80 columns.
    rows = [(name.rpartition("_")[0] or name, count(number)) for name, number in (tables or {}).items()]
    # The sink reports -1 before it knows.
    lag = None if snapshot.sink_lag_records == -1 else snapshot.sink_lag_records
    head = Text.assemble(
        ("ClickHouse", "bold"), "   ", _pairs(("lag", count(lag)), ("held", count(snapshot.rows_held)))
    )
    return Group(head, _pairs(*rows or [("rows", DASH)]))


def _pairs(*pairs: tuple[str, str]) -> Text:
    """Names, dim, with their values on one line."""
    return Text("   ").join(Text.assemble((f"{name} ", "dim"), value) for name, value in pairs)

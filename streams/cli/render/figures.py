"""Numbers as a terminal shows them: counts, money, event time, bars, sparklines; a dash for an unknown value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from schemas.events import MAX_TS_MS, MIN_TS_MS

DASH: Final = "\N{EN DASH}"
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_HEIGHTS: Final = "▁▂▃▄▅▆▇█"


def count(value: float | None) -> str:
    """A whole number with a separator between thousands."""
    return DASH if value is None else f"{value:,.0f}"


def decimal(value: float | None, digits: int) -> str:
    """A number with this many decimals."""
    return DASH if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 2) -> str:
    """A share as percent."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def money(micros: int | None) -> str:
    """Micros as currency units, to the cent."""
    return DASH if micros is None else f"{micros / 1e6:,.2f}"


def moment(ts_ms: int | None) -> str:
    """Event time to the minute, UTC; 'end' for a log that is complete, a dash before its first record."""
    if ts_ms is None or ts_ms < MIN_TS_MS:
        return DASH
    if ts_ms > MAX_TS_MS:
        return "end"
    return f"{datetime.fromtimestamp(ts_ms / 1_000, UTC):%Y-%m-%d %H:%M}"


def span(seconds: float) -> str:
    """A duration: 0:07, 12:30, 1:02:03."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def span_ms(length_ms: int) -> str:
    """A duration to the millisecond: 250ms, 4.5s, 3m 6.877s, 1h 0m 2s."""
    if length_ms < 1_000:
        return f"{length_ms}ms"
    seconds, rest_ms = divmod(length_ms, 1_000)
    minutes, seconds = divmod(seconds, 60)
    text = f"{seconds}.{rest_ms:03}".rstrip("0") if rest_ms else f"{seconds}"
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours}h"] * bool(hours) + [f"{minutes}m"] * bool(hours or minutes)
    return " ".join([*parts, *([f"{text}s"] if text != "0" or not parts else [])])


def sparkline(values: Sequence[float | None], *, highest: float) -> str:
    """One character a value, 0 to `highest`; a dot for None."""
    top = len(_HEIGHTS) - 1
    return "".join(
        "·" if value is None else _HEIGHTS[round(top * min(1.0, value / (highest or 1.0)))] for value in values
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar over the whole width, filled up to `share`, with a line at `tick`; both are limited to 0 to 1."""

    share: float
    tick: float | None = None
    style: str = "green"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        ascii_only = options.ascii_only
        eighths = round(8 * width * min(1.0, max(0.0, self.share)))
        filled, part = divmod(eighths, 8)
        text = Text(("#" if ascii_only else "█") * filled, self.style)
        if part and not ascii_only:
            text.append(_EIGHTHS[part], self.style)
        text.append(("." if ascii_only else "·") * (width - len(text)), "dim")
        if self.tick is not None and width:
            column = min(width - 1, int(width * max(0.0, self.tick)))
            # Inside the bar in reverse colours, to be visible on any background.
            tick_text = Text("|" if ascii_only else "│", f"{self.style} reverse" if column < filled else "bold")
            text = Text.assemble(text[:column], tick_text, text[column + 1 :])
        yield text

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(4, options.max_width)

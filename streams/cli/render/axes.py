"""Axes and labels of charts: round numbers, times with the date where it changes, units, shortened names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import Final

from streams.cli.render.figures import DASH

_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_TIME_STEPS_S: Final = (
    *(1, 5, 15, 30),
    *(count * _MINUTE for count in (1, 2, 5, 10, 15, 30)),
    *(count * _HOUR for count in (1, 2, 3, 6, 12)),
    *(count * _DAY for count in (1, 2, 7, 14, 28, 91, 182, 364)),
)
# The end of a column's name is its unit. Values in these units are converted to the unit shown.
_SCALES: Final = {
    "_micros": (1e-6, "currency units"),
    "_nano": (1e-9, ""),
    "_ms": (1e-3, "s"),
    "_percent": (1.0, "%"),
    "_s": (1.0, "s"),
}
# So many characters of a name, so that three names with their line samples fit a legend of 100 columns.
_NAME_CHARACTERS: Final = 24


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, with a label for each tick. `dates` says which dates a time axis spans, for the caption."""

    low: float
    high: float
    ticks: Sequence[float]
    labels: Sequence[str]
    dates: str = ""


def scale_and_label(column: str, unit: str) -> tuple[float, str]:
    """The factor for a column's values, and its name with its unit."""
    if unit:
        return (100.0 if unit == "%" else 1.0), f"{column}, {unit}"
    for tail, (scale, shown) in _SCALES.items():
        if column.endswith(tail):
            return scale, f"{column.removesuffix(tail)}, {shown}".removesuffix(", ")
    return 1.0, column


def value_axis(values: Sequence[float], most: int) -> Axis:
    """About `most` round ticks that enclose the values. It starts at 0 unless half the highest value is below all."""
    low, high = min(values), max(values)
    if 0 <= low < high / 2:
        low = 0.0
    elif low < 0 and high <= 0 and high > low / 2:
        high = 0.0
    ticks = nice_ticks(low, high, most)
    step = ticks[1] - ticks[0]
    return Axis(ticks[0], ticks[-1], ticks, tuple(number_text(tick, step) for tick in ticks))


def nice_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """At most `most` + 2 multiples of 1, 2 or 5 times a power of ten, from at most `low` to at least `high`."""
    if high <= low:
        margin = abs(low) / 10 or 0.5
        low, high = low - margin, high + margin
    rough_step = (high - low) / most
    power = 10.0 ** floor(log10(rough_step))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough_step * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return tuple(round(multiple * step, 12) for multiple in range(first, last + 1))


def number_text(value: float, step: float) -> str:
    """A number with as many decimals as steps of this size need, and a separator between thousands."""
    digits = max(0, -floor(log10(step) + 1e-9)) if step > 0 else 0
    text = f"{value:,.{min(digits, 9)}f}"
    return text if float(text.replace(",", "")) else text.removeprefix("-")


def time_axis(start_s: float, stop_s: float, most: int) -> Axis:
    """Ticks at round times: HH:MM, with the date at the first and where it changes; over many days only dates."""
    span_s = stop_s - start_s
    step = next((step for step in _TIME_STEPS_S if span_s / step <= most), _TIME_STEPS_S[-1])
    ticks: list[float] = [multiple * step for multiple in range(ceil(start_s / step), floor(stop_s / step) + 1)] or [
        start_s
    ]
    labels, day = [], ""
    for tick in ticks:
        moment = datetime.fromtimestamp(tick, UTC)
        clock = "" if step >= _DAY else f"{moment:%H:%M:%S}" if step < _MINUTE else f"{moment:%H:%M}"
        date = f"{moment:%m-%d}"
        labels.append(f"{'' if date == day else date} {clock}".strip())
        day = date
    first, last = (f"{datetime.fromtimestamp(end_s, UTC):%Y-%m-%d}" for end_s in (start_s, stop_s))
    # A single moment is shown with half an hour on both sides.
    margin_s = 0.0 if span_s else _HOUR / 2
    return Axis(
        start_s - margin_s, stop_s + margin_s, ticks, labels, f", {first}" if first == last else f", {first} to {last}"
    )


def cell_text(value: object) -> str:
    """A value as part of the name of a row or line; a dash when it is empty."""
    return DASH if value in (None, "") else str(value)


def shortened(name: str) -> str:
    """A name, cut to the length that fits a legend."""
    return name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…"

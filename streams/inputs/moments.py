"""Which moment a wrong `ts` probably means: seconds, microseconds, a date as text or as digits."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from schemas.events import MAX_TS_MS, MIN_TS_MS
from schemas.moments import moment, moment_ms

_WANTED: Final = "clickfold wants milliseconds since 1970"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# From 0001-01-01, where .NET counts from, and from 1601-01-01, where Windows does, to 1970, in their ticks of 100 ns.
_NET_TICKS: Final = 621_355_968_000_000_000
_WINDOWS_TICKS: Final = 116_444_736_000_000_000
_LONGEST_TEXT: Final = 60


class _Unit(NamedTuple):
    """A way to count time: its name, steps in a millisecond, and the step at 1970."""

    name: str
    per_ms: Decimal
    zero: int = 0


# Their ranges from 2000 to 2100 do not overlap, so at most one fits a number.
_UNITS: Final = (
    _Unit("seconds", Decimal("0.001")),
    _Unit("microseconds", Decimal(1_000)),
    _Unit("nanoseconds", Decimal(1_000_000)),
    _Unit(".NET ticks", Decimal(10_000), _NET_TICKS),
    _Unit("Windows file time", Decimal(10_000), _WINDOWS_TICKS),
)
_DIGITS: Final = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_MILLISECOND_DIGITS: Final = 17


def likely_ts(name: str, value: Any) -> str:
    """A sentence that says what the value of the field `name` looks like and what to give instead."""
    if isinstance(value, str):
        return _text(name, value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return f"{name} is {json.dumps(value, default=str)[:_LONGEST_TEXT]}, not a number; {_WANTED}"
    number = Decimal(value)
    if not number.is_finite():
        return f"{name} {value} is no number; {_WANTED}"
    if MIN_TS_MS <= number <= MAX_TS_MS:
        return f"{name} {value} is a fraction of a millisecond; clickfold wants whole milliseconds: {round(number)}"
    guess = _guess(number)
    if guess is not None:
        return f"{name} {value} {guess}"
    low, high = _iso(MIN_TS_MS), _iso(MAX_TS_MS)
    where = f"below {MIN_TS_MS} ({low})" if number < MIN_TS_MS else f"above {MAX_TS_MS} ({high})"
    return f"{name} {value} is {where}; {_WANTED}"


def _guess(number: Decimal) -> str | None:
    """The unit or the date that a number out of bounds looks like, as the end of a sentence."""
    for unit in _UNITS:
        ts_ms = (number - unit.zero) / unit.per_ms
        if MIN_TS_MS <= ts_ms <= MAX_TS_MS:
            return f"looks like {unit.name} ({_iso(int(ts_ms))}); {_WANTED}: {int(ts_ms)}"
    ts_ms_of_date = _date(str(number)) if number == int(number) else None
    if ts_ms_of_date is None:
        return None
    return f"looks like the digits of a date ({_iso(ts_ms_of_date)}), not a count; {_WANTED}: {ts_ms_of_date}"


def _text(name: str, text: str) -> str:
    shown = repr(text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…")
    stripped = text.strip()
    if re.fullmatch(r"[+-]?\d{1,30}(\.\d{1,30})?", stripped):
        number = Decimal(stripped)
        if MIN_TS_MS <= number <= MAX_TS_MS:
            return f"{name} {shown} is text; give the number {round(number)} without quotes"
        guess = _guess(number)
        return f"{name} {shown} is text and {guess}" if guess else f"{name} {shown} is text; {_WANTED}"
    try:
        zone = "" if moment(stripped).tzinfo else " if it is UTC"
        ts_ms = moment_ms(stripped)
    except ValueError:
        return f"{name} {shown} is text; {_WANTED}, such as 1700000000000"
    return f"{name} {shown} is ISO 8601 text; {_WANTED}: {ts_ms}{zone}"


def _date(digits: str) -> int | None:
    """The moment, ms UTC, of a date written as yyyyMMdd and on, down to milliseconds."""
    seconds, rest = (digits[:14], digits[14:]) if len(digits) == _MILLISECOND_DIGITS else (digits, "")
    form = _DIGITS.get(len(seconds))
    if form is None or not digits.isdigit():
        return None
    try:
        read = datetime.strptime(seconds, form).replace(tzinfo=UTC)
    except ValueError:
        return None
    ts_ms = (read - _EPOCH) // timedelta(milliseconds=1) + int(rest or 0)
    return ts_ms if MIN_TS_MS <= ts_ms <= MAX_TS_MS else None


def _iso(ts_ms: int) -> str:
    utc = _EPOCH + timedelta(milliseconds=ts_ms)
    return utc.isoformat(timespec="milliseconds" if ts_ms % 1_000 else "seconds").replace("+00:00", "Z")

"""Moments as people write them: ISO 8601 with or without offset and fraction."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from schemas.errors import SettingsError

FORMS: Final = "2026-11-01, '2026-11-01 12:30', 2026-11-01T12:30:00.500Z or 2026-11-01T14:30+02:00"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What `fromisoformat` does not take: the day of the year, and midnight as the end of a day.
_DAY_OF_YEAR: Final = re.compile(r"(\d{4})-?(\d{3})(?!\d)")
_END_OF_DAY: Final = re.compile(r"(.{8,10})([T ])24(:?00(?::?00(?:[.,]0+)?)?)?(?=[Z+-]|$)")


def moment(text: str) -> datetime:
    """The moment; naive when the text has no offset. Raises ValueError when it is no ISO 8601."""
    text = text.strip().upper()
    day_of_year = _DAY_OF_YEAR.match(text)
    if day_of_year is not None:
        year, number = map(int, day_of_year.groups())
        day = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=number - 1)
        if day.year != year:
            raise ValueError(f"the year {year} has no day {number}")
        text = f"{day:%Y-%m-%d}{text[day_of_year.end() :]}"
    end_of_day = _END_OF_DAY.match(text)
    if end_of_day is not None:
        text = f"{end_of_day[1]}{end_of_day[2]}00{end_of_day[3] or ''}{text[end_of_day.end() :]}"
    try:
        return datetime.fromisoformat(text) + timedelta(days=end_of_day is not None)
    except OverflowError as error:
        raise ValueError("the year 9999 ends at 24:00 of its last day") from error


def moment_ms(text: str, there: tzinfo = UTC) -> int:
    """The moment in ms UTC, rounded down; without an offset it is in the zone `there`. Raises ValueError when it is no
    ISO 8601."""
    read = moment(text)
    return ((read if read.tzinfo else read.replace(tzinfo=there)) - _EPOCH) // timedelta(milliseconds=1)


def given_ms(option: str, text: str, there: tzinfo = UTC) -> int:
    """The moment that an option names, in ms UTC. Raises SettingsError when it is no ISO 8601."""
    try:
        return moment_ms(text, there)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"{option} {text!r} is not a time; write it as {FORMS}") from error

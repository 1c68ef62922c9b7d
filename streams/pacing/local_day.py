"""Days as a campaign's time zone counts them: 23, 24 or 25 hours long, always beginning on a UTC quarter-hour."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class LocalDay(NamedTuple):
    """A calendar day of a zone, as the instants `start_ms <= t < end_ms` UTC."""

    day: date
    start_ms: int
    end_ms: int


@functools.lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo | None:
    """The IANA zone of that name; None when there is none."""
    try:
        return ZoneInfo(name)
    # ValueError: a name that is a path out of the database. OSError: a name of one of its folders, such as 'America'.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def day_of(zone: ZoneInfo, ts_ms: int) -> LocalDay:
    """The local day that instant lies in.

    A day begins at the first instant its midnight shows on the clock, or at the jump over it. So days follow one
    another without gap or overlap even where clocks go back over midnight.
    """
    day = datetime.fromtimestamp(ts_ms // 1000, zone).date()
    start_ms, end_ms = _midnight_ms(zone, day), _midnight_ms(zone, day + timedelta(days=1))
    if ts_ms >= end_ms:
        # Clocks went back from just after midnight: the old date shows again, the new day goes on.
        day += timedelta(days=1)
        start_ms, end_ms = end_ms, _midnight_ms(zone, day + timedelta(days=1))
    return LocalDay(day, start_ms, end_ms)


@functools.lru_cache(maxsize=65_536)
def _midnight_ms(zone: ZoneInfo, day: date) -> int:
    # fold=0: of two midnights the first; of none, Python counts from the offset before the jump, which is the jump.
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return round(local.astimezone(UTC).timestamp()) * 1000

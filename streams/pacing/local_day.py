"""Days in a campaign's time zone: 23, 24 or 25 hours long, and each starts on a UTC quarter-hour."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo


class LocalDay(NamedTuple):
    """A calendar day of a zone, as the instants `start_ms <= t < end_ms` UTC."""

    day: date
    start_ms: int
    end_ms: int


def day_of(zone: ZoneInfo, ts_ms: int) -> LocalDay:
    """The local day of an instant.

    A day starts at the first instant at which clocks show its midnight, or at the jump when they skip it. So days
    follow each other without gap or overlap, also where clocks are set back over midnight.
    """
    day = datetime.fromtimestamp(ts_ms // 1000, zone).date()
    start_ms, end_ms = _midnight_ms(zone, day), _midnight_ms(zone, day + timedelta(days=1))
    if ts_ms >= end_ms:
        # Clocks were set back just after midnight: they show the old date again, but the new day goes on.
        day += timedelta(days=1)
        start_ms, end_ms = end_ms, _midnight_ms(zone, day + timedelta(days=1))
    return LocalDay(day, start_ms, end_ms)


@functools.lru_cache(maxsize=65_536)
def _midnight_ms(zone: ZoneInfo, day: date) -> int:
    # With fold=0 Python takes the first of two midnights. For a midnight that is skipped it uses the offset before the
    # jump, which gives the instant of the jump.
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return round(local.astimezone(UTC).timestamp()) * 1000

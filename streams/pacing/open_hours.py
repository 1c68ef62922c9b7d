"""Day-parting: which half-hours of a local day are closed, and how much of a flight is open.

Half-hours since midnight, because clocks are set by an hour or by half of one, and dayparts are hours of the clock.
"""

from __future__ import annotations

import calendar
import functools
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Final
from zoneinfo import ZoneInfo

from schemas.dayparts import Week, hours_of_week
from schemas.events import Campaign
from schemas.topics import DAY_MS
from schemas.zones import campaign_zone
from streams.pacing.local_day import LocalDay

_HALF_MS: Final = 1_800_000
_HOUR_MS: Final = 2 * _HALF_MS
_HOURS: Final = 7 * 24
# A flight may last to the year 2099. That clocks are set later than this adds up to an hour or so: what they skip in a
# spring they show twice in the autumn.
_EXACT_YEARS: Final = 3


def closed_halves(campaign: Campaign, day: LocalDay) -> int:
    """A bit for each half-hour of the day, from its start on, in which the campaign does not serve."""
    if campaign.dayparts is None:
        return 0
    return closed_on(campaign_zone(campaign.timezone), hours_of_week(campaign.dayparts), day)


def open_ms(campaign: Campaign, start_ms: int, end_ms: int) -> int:
    """How long the campaign serves between two moments, of which the first is not after the second.

    A flight of a century takes no longer than one of three years.
    """
    if campaign.dayparts is None:
        return max(end_ms - start_ms, 0)
    return _open_ms(campaign_zone(campaign.timezone), hours_of_week(campaign.dayparts), start_ms, end_ms)


@functools.lru_cache(maxsize=65_536)
def _open_ms(local: ZoneInfo, week: Week, start_ms: int, end_ms: int) -> int:
    # Where clocks are not set, hours by the clock are hours. Each time they are set they show some twice, or never.
    found = _open_by_clock(week, _clock_ms(local, end_ms)) - _open_by_clock(week, _clock_ms(local, start_ms))
    first, last = (datetime.fromtimestamp(at_ms // 1_000, UTC).year for at_ms in (start_ms, end_ms))
    for year in range(first, min(last, first + _EXACT_YEARS) + 1):
        for set_ms, before_ms, after_ms in _settings_of_clocks(local, year):
            if start_ms < set_ms <= end_ms:
                found += _open_by_clock(week, set_ms + before_ms) - _open_by_clock(week, set_ms + after_ms)
    return found


def _open_by_clock(week: Week, clock_ms: int) -> int:
    """How long it is open until the clock shows this, since some Thursday; clocks are never set on the way."""
    hours, rest_ms = divmod(clock_ms, _HOUR_MS)
    weeks, hour = divmod(hours, _HOURS)
    open_before = _open_hours_before(week)
    open_hours = weeks * open_before[-1] + open_before[hour]
    return open_hours * _HOUR_MS + (open_before[hour + 1] - open_before[hour]) * rest_ms


@functools.lru_cache(maxsize=4_096)
def _open_hours_before(week: Week) -> list[int]:
    """How many hours of the week are open before each, and at its end. 1970 began on a Thursday, and so does this."""
    is_open = (week[(hour // 24 + 3) % 7] >> hour % 24 & 1 for hour in range(_HOURS))
    return [0, *accumulate(is_open)]


def _clock_ms(local: ZoneInfo, ts_ms: int) -> int:
    """What clocks show, as the moment at which they would show it in UTC."""
    return ts_ms + _offset_ms(local, ts_ms)


def _offset_ms(local: ZoneInfo, ts_ms: int) -> int:
    offset = datetime.fromtimestamp(ts_ms // 1_000, local).utcoffset() or timedelta(0)
    return offset // timedelta(milliseconds=1)


@functools.lru_cache(maxsize=4_096)
def _settings_of_clocks(local: ZoneInfo, year: int) -> list[tuple[int, int, int]]:
    """When clocks are set in a year, UTC, and their offsets before and after."""
    found = []
    low_ms = round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000
    for _ in range(366 if calendar.isleap(year) else 365):
        high_ms = low_ms + DAY_MS
        before_ms, after_ms = _offset_ms(local, low_ms), _offset_ms(local, high_ms)
        if before_ms != after_ms:
            first_ms, set_ms = low_ms, high_ms
            while set_ms - first_ms > 1_000:
                middle_ms = (first_ms + set_ms) // 2_000 * 1_000
                if _offset_ms(local, middle_ms) == before_ms:
                    first_ms = middle_ms
                else:
                    set_ms = middle_ms
            found.append((set_ms, before_ms, after_ms))
        low_ms = high_ms
    return found


@functools.lru_cache(maxsize=65_536)
def closed_on(local: ZoneInfo, week: Week, day: LocalDay) -> int:
    """A bit for each half-hour of the day, from its start on, that is not of these hours of the week."""
    bits = 0
    for half in range((day.end_ms - day.start_ms) // _HALF_MS):
        clock = datetime.fromtimestamp((day.start_ms + half * _HALF_MS) // 1_000, local)
        if not week[clock.weekday()] >> clock.hour & 1:
            bits |= 1 << half
    return bits

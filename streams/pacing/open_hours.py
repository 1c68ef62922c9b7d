"""Day-parting: which half-hours of a local day are closed, and how much of a flight is open.

Half-hours since midnight, because clocks are set by an hour or by half of one, and dayparts are hours of the clock.
"""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from schemas.dayparts import Week, hours_of_week
from schemas.events import Campaign
from schemas.zones import campaign_zone
from streams.pacing.local_day import LocalDay, day_of

_HALF_MS: Final = 1_800_000


def closed_halves(campaign: Campaign, day: LocalDay) -> int:
    """A bit for each half-hour of the day, from its start on, in which the campaign does not serve."""
    if campaign.dayparts is None:
        return 0
    return closed_on(campaign_zone(campaign.timezone), hours_of_week(campaign.dayparts), day)


def open_ms(campaign: Campaign, start_ms: int, end_ms: int) -> int:
    """How long the campaign serves between two moments, of which the first is not after the second."""
    if campaign.dayparts is None:
        return max(end_ms - start_ms, 0)
    return _open_ms(campaign_zone(campaign.timezone), hours_of_week(campaign.dayparts), start_ms, end_ms)


# It looks at each day of a flight, and a campaign's terms are made anew often in a day.
@functools.lru_cache(maxsize=65_536)
def _open_ms(local: ZoneInfo, week: Week, start_ms: int, end_ms: int) -> int:
    found, at_ms = 0, start_ms
    while at_ms < end_ms:
        day = day_of(local, at_ms)
        closed = closed_on(local, week, day)
        stop_ms = min(day.end_ms, end_ms)
        if (at_ms, stop_ms) == (day.start_ms, day.end_ms):
            found += day.end_ms - day.start_ms - closed.bit_count() * _HALF_MS
        else:
            for half in range((at_ms - day.start_ms) // _HALF_MS, -(-(stop_ms - day.start_ms) // _HALF_MS)):
                if not closed >> half & 1:
                    half_ms = day.start_ms + half * _HALF_MS
                    found += min(half_ms + _HALF_MS, stop_ms) - max(half_ms, at_ms)
        at_ms = stop_ms
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

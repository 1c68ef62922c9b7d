"""Local days: 23, 24 and 25 hours, without gap or overlap in every zone there is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import MAX_TS_MS, MIN_TS_MS
from schemas.totals import QUARTER_MS
from schemas.zones import zone
from streams.pacing.local_day import day_of

HOUR_MS = 3_600_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("name", "noon_utc", "start_utc", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T10:00", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-25T11:00", "2026-10-24T22:00", 25),
        ("America/New_York", "2026-03-08T17:00", "2026-03-08T05:00", 23),
        ("Australia/Lord_Howe", "2026-04-05T02:00", "2026-04-04T13:00", 24.5),
        ("Asia/Kathmandu", "2026-06-01T06:00", "2026-05-31T18:15", 24),
        # Clocks jump over midnight: the day begins at 01:00, and the one before has all its 24 hours.
        ("America/Sao_Paulo", "2018-11-04T15:00", "2018-11-04T03:00", 23),
        # Clocks go back from 01:00 to 00:00: midnight shows twice, the day begins with the first.
        ("America/Havana", "2026-11-01T17:00", "2026-11-01T04:00", 25),
        ("UTC", "2026-01-01T12:00", "2026-01-01T00:00", 24),
    ],
)
def test_a_day_has_as_many_hours_as_its_clock(name: str, noon_utc: str, start_utc: str, hours: float) -> None:
    known = zone(name)
    assert known is not None
    day = day_of(known, ms(noon_utc))
    assert day.start_ms == ms(start_utc)
    assert day.end_ms - day.start_ms == hours * HOUR_MS


def test_samoa_had_no_30th_of_december() -> None:
    apia = zone("Pacific/Apia")
    assert apia is not None
    before = day_of(apia, ms("2011-12-30T09:00"))
    assert before.day == date(2011, 12, 29)
    assert day_of(apia, before.end_ms).day == date(2011, 12, 31)


@given(st.sampled_from(sorted(available_timezones())), st.integers(MIN_TS_MS, MAX_TS_MS))
def test_days_begin_on_quarter_hours_and_follow_one_another(name: str, ts_ms: int) -> None:
    known = zone(name)
    assert known is not None
    day = day_of(known, ts_ms)
    assert day.start_ms <= ts_ms < day.end_ms
    assert day.start_ms % QUARTER_MS == 0
    assert day_of(known, day.start_ms) == day == day_of(known, day.end_ms - 1)
    assert day_of(known, day.end_ms).start_ms == day.end_ms


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "America", "/etc/localtime", "a\0b"])
def test_a_zone_that_is_none_is_none(name: str) -> None:
    assert zone(name) is None

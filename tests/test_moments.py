"""Moments that options name: in the zone that holds where a text has no offset, rounded down to the millisecond."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

import pytest

from schemas.errors import SettingsError
from schemas.moments import given_ms

BERLIN = ZoneInfo("Europe/Berlin")
NOON_MS = 1_767_268_800_000


@pytest.mark.parametrize(
    ("text", "there", "ts_ms"),
    [
        ("2026-01-01T12:00:00", UTC, NOON_MS),
        ("2026-01-01T13:00:00", BERLIN, NOON_MS),
        ("2026-01-01T12:00:00Z", BERLIN, NOON_MS),
        ("2026-01-01T13:00:00.7009", BERLIN, NOON_MS + 700),
        # In summer an hour less.
        ("2026-07-01T14:00", BERLIN, 1_782_907_200_000),
    ],
)
def test_a_moment_without_an_offset_is_in_the_zone_that_is_given(text: str, there: tzinfo, ts_ms: int) -> None:
    assert given_ms("--start", text, there) == ts_ms


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "0001-01-01T00:00+14:00x"])
def test_what_is_no_moment_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(SettingsError, match="is not a time; write it as 2026-11-01"):
        given_ms("--start", text)

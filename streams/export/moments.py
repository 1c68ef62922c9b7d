"""Moments of an export: whole hours as they are given, and as text."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.errors import SettingsError
from schemas.moments import given_ms
from schemas.totals import HOUR_MS


def hour_ms(option: str, text: str) -> int:
    """The whole hour that an option names, in ms UTC. Raises SettingsError."""
    ts_ms = given_ms(option, text)
    if ts_ms % HOUR_MS:
        raise SettingsError(f"{option} {text!r} is inside an hour; hours are exported whole: leave out the minutes")
    return ts_ms


def utc_text(ts_ms: int) -> str:
    """A moment as ISO 8601 in UTC, to the second."""
    return f"{datetime.fromtimestamp(ts_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"

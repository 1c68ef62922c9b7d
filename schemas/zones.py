"""Time zones by their IANA names."""

from __future__ import annotations

import functools
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


@functools.lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo | None:
    """The IANA zone of that name; None when there is none."""
    try:
        return ZoneInfo(name)
    # ValueError: the name is a path that leaves the database. OSError: it is a folder of the database, as 'America'.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def campaign_zone(name: str) -> ZoneInfo:
    """The zone of a campaign that was taken."""
    local = zone(name)
    assert local is not None, "campaigns with an unknown time zone are refused when they arrive"
    return local

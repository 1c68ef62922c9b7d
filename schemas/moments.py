"""Moments as people write them: ISO 8601 with or without offset and fraction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

FORMS: Final = "2026-11-01, '2026-11-01 12:30', 2026-11-01T12:30:00.500Z or 2026-11-01T14:30+02:00"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment_ms(text: str) -> int:
    """The moment in ms UTC, rounded down; without an offset it is UTC. Raises ValueError when it is no ISO 8601."""
    moment = datetime.fromisoformat(text.strip())
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)

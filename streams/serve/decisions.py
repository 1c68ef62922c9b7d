"""The last decision on each campaign, from the records of `ads.pacing`."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.codec import decoder
from schemas.pacing import PacingDecision
from schemas.reading import Unreadable, read

_decode = decoder(PacingDecision).decode


class Decisions:
    """Takes records in order. One of 1 KB for each campaign of the topic is kept."""

    def __init__(self) -> None:
        self._last: dict[str, PacingDecision] = {}

    def __len__(self) -> int:
        return len(self._last)

    def take(self, key: bytes | None, value: bytes | None) -> Unreadable | None:
        """Takes a record; why it is no decision. A lower version than the last of its campaign changes nothing."""
        if value is None:
            # Kafka's record of a deletion: the campaign is gone.
            self._last.pop((key or b"").decode(errors="replace"), None)
            return None
        found = read(value, _decode)
        if isinstance(found, Unreadable):
            return found
        before = self._last.get(found.campaign_id)
        # A worker that was replaced may still write for a moment.
        if before is None or found.version > before.version:
            self._last[found.campaign_id] = found
        return None

    def of(self, campaigns: Iterable[str]) -> dict[str, PacingDecision]:
        """The decisions on these campaigns; one without is left out."""
        last = self._last
        return {campaign: last[campaign] for campaign in campaigns if campaign in last}

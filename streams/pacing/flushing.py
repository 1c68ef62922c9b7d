"""Which rows of the changelog are to be written, and from which offset a restart must then read on.

A row is written at most once in a round, however often it changed. A round begins with the rows that have changed by
then; so once all of them are acknowledged, everything is written that was counted when it began. With few rows a round
is over in one tick. With many it takes minutes, and a restart counts again the totals of that time.
"""

from __future__ import annotations

from collections import deque

from streams.pacing.changelog import BEGINNING


class Flushing:
    """The rows of one shard that have changed. `durable` is the position that rows may state, see `changelog`."""

    def __init__(self) -> None:
        self.durable = BEGINNING
        self._changed: dict[bytes, None] = {}
        self._round: deque[bytes] = deque()
        self._begun_at = BEGINNING

    def __len__(self) -> int:
        """Rows to be written."""
        return len(self._changed) + len(self._round)

    def changed(self, key: bytes) -> None:
        """The row of this key has changed."""
        self._changed[key] = None

    def take(self, most: int, *, position: int) -> list[bytes]:
        """Keys of the rows to write now, at most so many; all totals below `position` are counted."""
        if not self._round:
            self._round, self._changed, self._begun_at = deque(self._changed), {}, position
        return [self._round.popleft() for _ in range(min(most, len(self._round)))]

    def acknowledged(self) -> None:
        """All rows that were taken are in Kafka."""
        if not self._round:
            self.durable = max(self.durable, self._begun_at)

"""What the law remembers, in rows of the changelog that are written by turns: all of them within two minutes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from streams.pacing.changelog import Memory, memory_key
from streams.pacing.clock import Anchor
from streams.pacing.law.memory import WIDTH, campaigns_memory, learnt
from streams.pacing.paced import Paced

# Campaigns of a row, and how often each row is written. A restart loses what was learnt since.
_TOGETHER: Final = 128
_TURN_MS: Final = 120_000


class Remembering:
    """The rows of a shard: those that were read back, until the law has taken them, and which is to be written next."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Memory] = {}
        self._to_ms = 0
        self._next = 0

    def restore(self, key: bytes, memory: Memory | None) -> None:
        """Takes a row of the changelog; None where it was deleted."""
        self._rows.pop(key, None)
        if memory is not None:
            self._rows[key] = memory

    def memories(self) -> Collection[Memory]:
        """The rows that were read back."""
        return self._rows.values()

    def taken(self) -> None:
        """The law has taken them: only their keys are kept."""
        self._rows = dict.fromkeys(self._rows, Memory(0, [], 0, b""))

    def due(self, event_ms: int, campaigns: int) -> Iterable[bytes]:
        """Keys of rows that are to be written now, of so many campaigns."""
        number = -(-campaigns // _TOGETHER)
        if not number:
            return
        if not self._to_ms:
            self._to_ms = event_ms
            yield from self._rows  # those of a former owner
        step_ms = max(_TURN_MS // number, 1)
        due = (event_ms - self._to_ms) // step_ms
        # One whole turn, however far event time has leapt. Where it went back, this goes back with it.
        self._to_ms = event_ms if due >= number else self._to_ms + due * step_ms
        for _ in range(min(due, number)):
            yield memory_key(self._next % number)
            self._next += 1

    def row(self, key: bytes, paced: Paced, *, version: int, anchor: Anchor | None) -> Memory | None:
        """What is to be written under a key; None: the row is to be deleted."""
        number, ids = int(key[1:]), paced.ids
        first = number * _TOGETHER
        if first >= len(ids):
            self._rows.pop(key, None)
            return None
        stop = min(first + _TOGETHER, len(ids))
        names = [campaign_id or "" for campaign_id in ids[first:stop]]
        states = campaigns_memory(paced.pacer, slice(first, stop))
        return Memory(version, names, WIDTH, states, None if number else learnt(paced.pacer), anchor)

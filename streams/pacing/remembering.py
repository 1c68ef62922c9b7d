"""When what the law remembers is written, and rows of it: the state of campaigns, and how their traffic is spread.

The state changes every second, the spread once a day, and it is twice as large. So each has rows of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from streams.pacing.changelog import Memory, is_memory_key, memory_key, shape_key
from streams.pacing.clock import Anchor
from streams.pacing.flushing import Flushing
from streams.pacing.law.memory import SHAPE_BYTES, WIDTH, campaigns_memory, campaigns_shapes, learnt
from streams.pacing.paced import Paced

# Campaigns of a row. A restart loses what was learnt since its row was written.
_TOGETHER: Final = 128
# Of the state each row is written every two minutes: every ten seconds where there are few, else one a second.
_ALL_MS: Final = 120_000
_FEW_MS: Final = 10_000
_SHAPES_MS: Final = 3_600_000


class _Turns:
    """Rows in turn, each once in a time."""

    def __init__(self) -> None:
        self._to_ms = 0
        self._next = 0

    def due(self, event_ms: int, *, rows: int, step_ms: int) -> list[int]:
        """Numbers of the rows to write now: one whole turn at most, however far event time has leapt."""
        if not self._to_ms:
            self._to_ms = event_ms
        due = (event_ms - self._to_ms) // step_ms
        # Where event time went back, this goes back with it.
        self._to_ms = event_ms if due >= rows else self._to_ms + due * step_ms
        numbers = [(self._next + number) % rows for number in range(min(due, rows))]
        self._next = (self._next + len(numbers)) % rows
        return numbers


class Remembering:
    """The rows of one shard."""

    def __init__(self, flushing: Flushing) -> None:
        self._flushing = flushing
        self._kept: dict[bytes, Memory] = {}
        self._states, self._shapes = _Turns(), _Turns()
        self._begun = False

    def restore(self, key: bytes, body: msgspec.Raw | None) -> None:
        """Takes a row of the changelog; None deletes it."""
        self._kept.pop(key, None)
        if body is not None:
            self._kept[key] = _memories.decode(body)

    def rows(self) -> Collection[Memory]:
        """Those of former owners, until `forget`."""
        return self._kept.values()

    def forget(self) -> None:
        """The law has what former owners remembered. Their rows are written anew, or deleted."""
        self._kept = dict.fromkeys(self._kept, Memory(0, [], 0, b""))

    def mark(self, event_ms: int, campaigns: int) -> None:
        """Has those rows written whose turn it is."""
        rows = -(-campaigns // _TOGETHER)
        if not rows:
            return
        if not self._begun:
            self._begun = True
            for key in self._kept:
                self._flushing.changed(key)
        step_ms = max(_FEW_MS // rows, min(_ALL_MS // rows, 1_000), 1)
        for number in self._states.due(event_ms, rows=rows, step_ms=step_ms):
            self._flushing.changed(memory_key(number))
        for number in self._shapes.due(event_ms, rows=rows, step_ms=max(_SHAPES_MS // rows, 1)):
            self._flushing.changed(shape_key(number))

    def row(self, key: bytes, paced: Paced, *, version: int, anchor: Anchor | None) -> Memory | None:
        """What the row of this key holds now; None where it is to be deleted."""
        number, ids = int(key[1:]), paced.ids
        first = number * _TOGETHER
        if first >= len(ids):
            self._kept.pop(key, None)
            return None
        rows = slice(first, min(first + _TOGETHER, len(ids)))
        names = [campaign_id or "" for campaign_id in ids[rows]]
        if is_memory_key(key, shapes=True):
            return Memory(version, names, SHAPE_BYTES, campaigns_shapes(paced.pacer, rows))
        whole = None if number else learnt(paced.pacer)
        return Memory(version, names, WIDTH, campaigns_memory(paced.pacer, rows), whole, anchor)


_memories: Final = msgspec.msgpack.Decoder(Memory)

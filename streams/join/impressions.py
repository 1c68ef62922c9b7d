"""Judges a batch of impressions: looks up their ids, in the batch and in the store, then judges all at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from schemas.bounds import JoinBounds
from schemas.errors import DamagedState
from schemas.events import Impression, decode_event
from streams.join.index import Hashes
from streams.join.judge import Fates, Int64s, judge_batch, judge_each
from streams.join.store import Store
from streams.join.watermark import Watermark


class Twins:
    """Earlier impressions with the id of one in the batch: accepted in the batch, or in the store."""

    def __init__(self, store: Store, events: Sequence[Impression], hashes: Hashes, bounds: JoinBounds) -> None:
        self._store = store
        self._events = events
        self._dedupe_ms = bounds.dedupe_ms
        order = np.argsort(hashes, kind="stable")
        ascending = hashes[order]
        asked, positions = store.find(ascending)
        # Place in the batch -> positions in the store with the same hash.
        self._stored: dict[int, list[int]] = defaultdict(list)
        for place, position in zip(order[asked].tolist(), positions.tolist(), strict=True):
            self._stored[place].append(position)
        equal = ascending[1:] == ascending[:-1]
        repeated = np.zeros(len(hashes), np.bool_)
        repeated[1:] |= equal
        repeated[:-1] |= equal
        self.suspects = sorted({*self._stored, *order[repeated].tolist()})
        self._accepted: dict[str, Impression] = {}

    def of(self, place: int, bound_ms: int) -> Impression | None:
        """The accepted impression of the same id with `ts` within the dedupe horizon below `bound_ms`, if any."""
        event = self._events[place]
        accepted = self._accepted.get(event.impression_id)
        if accepted is not None and accepted.ts >= bound_ms - self._dedupe_ms:
            return accepted
        for position in self._stored.get(place, ()):
            if self._store.ts(position) >= bound_ms - self._dedupe_ms:
                stored = stored_impression(self._store, position)
                if stored.impression_id == event.impression_id:
                    return stored
        return None

    def accept(self, place: int) -> None:
        """The impression at this place of the batch is accepted."""
        self._accepted[self._events[place].impression_id] = self._events[place]

    def forget(self) -> None:
        """Forgets what was accepted, so that the batch can be judged again."""
        self._accepted.clear()


def judge_impressions(
    watermark: Watermark, store: Store, events: Sequence[Impression], ts: Int64s, hashes: Hashes, bounds: JoinBounds
) -> Fates:
    """The fate of each impression of a batch; moves the watermark."""
    twins = Twins(store, events, hashes, bounds)
    fates = judge_batch(watermark, events, ts, twins.suspects, twins.of, twins.accept)
    if fates is None:
        twins.forget()
        fates = judge_each(watermark, events, twins.of, twins.accept)
    return fates


def stored_impression(store: Store, position: int) -> Impression:
    """The impression stored at a position. Raises DamagedState if its bytes are not those that were accepted."""
    payload = store.payload(position)
    try:
        impression = decode_event(payload, Impression)
    except ValueError as error:
        raise DamagedState(f"stored impression at position {position} is damaged: {error}") from error
    return impression

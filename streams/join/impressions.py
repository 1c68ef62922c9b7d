"""Judges a batch of impressions: finds those whose id came before, in the batch or in the state, and their fates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from schemas.bounds import JoinBounds
from schemas.errors import DamagedState
from schemas.events import Impression, decode_event
from streams.join.index import Hashes
from streams.join.judge import Fate, Int64s
from streams.join.scanned import ScannedImpressions
from streams.join.seen import Seen, fate_beside
from streams.join.store import Store
from streams.kernels.groups import find_repeated
from streams.kernels.scan import FIELDS, LEFT, PLAIN, ROW, scan_stored


class Twins:
    """Earlier impressions with the id of one in the batch: in the batch, in the store, or refused as a conflict."""

    def __init__(
        self,
        store: Store,
        conflicts: Seen[Impression],
        events: Sequence[Impression],
        hashes: Hashes,
        bounds: JoinBounds,
    ) -> None:
        """`hashes` are those of the ids of the events, which are decoded only when they are asked for."""
        self._store = store
        self._conflicts = conflicts
        self._events = events
        self._dedupe_ms = bounds.dedupe_ms
        places, positions = store.find(hashes)
        # Place in the batch -> positions in the store with the same hash.
        self._stored: dict[int, list[int]] = defaultdict(list)
        for place, position in zip(places.tolist(), positions.tolist(), strict=True):
            self._stored[place].append(position)
        repeated = np.empty(len(hashes), np.bool_)
        find_repeated(hashes, np.zeros(1 << (2 * len(hashes)).bit_length(), np.int32), repeated)
        self.suspects = sorted({*self._stored, *np.flatnonzero(repeated).tolist(), *conflicts.places(hashes)})
        self._accepted: defaultdict[str, list[Impression]] = defaultdict(list)

    def judge(self, place: int) -> Fate:
        """The fate of the on-time suspect at this place, which is remembered for those after it."""
        event = self._events[place]
        fate = fate_beside(event, self.earlier(place, within_ms=self._dedupe_ms), self._dedupe_ms)
        if fate == Fate.ACCEPTED:
            self.accept(place)
        elif fate == Fate.CONFLICT:
            self._conflicts.remember(event.impression_id, event)
        return fate

    def accept(self, place: int) -> None:
        """The impression at this place is accepted: it is remembered for those after it in the batch."""
        self._accepted[self._events[place].impression_id].append(self._events[place])

    def earlier(self, place: int, *, within_ms: int) -> Iterator[Impression]:
        """Those with the id of this place; of the stored ones at least those whose `ts` is at most `within_ms` away."""
        event = self._events[place]
        yield from self._accepted.get(event.impression_id, ())
        yield from self._conflicts.of(event.impression_id)
        for position in self._stored.get(place, ()):
            if abs(self._store.ts(position) - event.ts) <= within_ms:
                stored = stored_impression(self._store, position)
                if stored.impression_id == event.impression_id:
                    yield stored


def stored_impression(store: Store, position: int) -> Impression:
    """The impression stored at a position. Raises DamagedState if its bytes are not those that were accepted."""
    return _decoded(store.payload(position))


def stored_impressions(store: Store, positions: Int64s) -> Iterator[ScannedImpressions]:
    """The same of many positions, which ascend, in pieces."""
    for payloads in store.payloads(positions):
        rows, results = np.empty(len(payloads), ROW), np.empty(len(payloads), np.int8)
        scan_stored(*payloads.arrays, rows, results, np.full(FIELDS + 1, FIELDS, np.int64))
        left = {place: _decoded(payloads[place] or b"") for place in np.flatnonzero(results == LEFT).tolist()}
        yield ScannedImpressions(rows, payloads, left, results == PLAIN)


def _decoded(payload: bytes) -> Impression:
    try:
        return decode_event(payload, Impression)
    except ValueError as error:
        raise DamagedState(f"a stored impression is damaged: {error}") from error

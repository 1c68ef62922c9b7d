"""What one thread fetches ahead of another that reads it: places of partitions, and a queue of their records."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, TopicPartition

from streams.kafka.record_sets import Columns

# Decompressed, of all partitions: so much is fetched ahead. A partition has an equal share of it, so that one that is
# paused does not keep others from being fetched; its last two answers may exceed that share.
_AHEAD_BYTES: Final = 32 << 20


@dataclass(slots=True, eq=False)
class Place:
    """A partition that is read. `offset` is the next to fetch, `ahead_bytes` what is fetched and not read."""

    topic: str
    partition: int
    offset: int
    paused: bool = True
    dropped: bool = False
    # Kafka has said why it gives nothing.
    failed: bool = False
    high: int = -1
    # The end last reported.
    end: int = -1
    ahead_bytes: int = 0
    # The number of the answer that last had records of it: those that wait longest are asked for first.
    served: int = 0
    # By the fetching thread's clock: not asked for before, and since when its topic is unknown.
    retry_s: float = 0.0
    unknown_since_s: float | None = None

    @property
    def where(self) -> str:
        """As errors name it."""
        return f"{self.topic}[{self.partition}]"


class Ready(NamedTuple):
    """Records of a partition; or in place of records an error, or the end of the log, at an offset."""

    place: Place
    columns: Columns | None = None
    offset: int = -1
    error: KafkaError | None = None


class ReadAhead:
    """Places and what is ready of them, for two threads. An error ends it: whoever takes gets it raised."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._places: dict[tuple[str, int], Place] = {}
        self._ready: deque[Ready] = deque()
        self._failure: Exception | None = None

    def place(self, places: Iterable[TopicPartition]) -> None:
        """Reads these from their offsets, paused. What was fetched of them before is dropped."""
        with self._lock:
            self._drop(places)
            for each in places:
                self._places[each.topic, each.partition] = Place(each.topic, each.partition, each.offset)

    def drop(self, places: Iterable[TopicPartition]) -> None:
        """Reads these no longer."""
        with self._lock:
            self._drop(places)

    def _drop(self, places: Iterable[TopicPartition]) -> None:
        for each in places:
            place = self._places.pop((each.topic, each.partition), None)
            if place is not None:
                place.dropped = True
        self._ready = deque(each for each in self._ready if not each.place.dropped)

    def set_paused(self, places: Iterable[TopicPartition], *, paused: bool) -> None:
        """What is ready of a paused partition waits."""
        with self._lock:
            for each in places:
                if (each.topic, each.partition) in self._places:
                    self._places[each.topic, each.partition].paused = paused

    def find(self, topic: str, partition: int) -> Place | None:
        """The place of a partition."""
        return self._places.get((topic, partition))

    def take(self, limit: int, wait_s: float) -> list[Ready]:
        """Up to so many records in the order they came, and what comes in place of records; waits for the first.

        Pieces are not cut where that can be avoided: each costs the fold a step.
        """
        with self._lock:
            self._lock.wait_for(
                lambda: self._failure is not None or any(not each.place.paused for each in self._ready), wait_s
            )
            if self._failure is not None:
                raise self._failure
            taken, left = list[Ready](), deque[Ready]()
            for ready in self._ready:
                columns = ready.columns
                if ready.place.paused or limit <= 0:
                    left.append(ready)
                    continue
                if columns is not None:
                    if len(columns.offsets) > limit:
                        if any(each.columns for each in taken):
                            left.append(ready)
                            limit = 0
                            continue
                        columns, rest = columns.split(limit)
                        left.append(ready._replace(columns=rest))
                    limit -= len(columns.offsets)
                    ready.place.ahead_bytes -= columns.size
                taken.append(ready._replace(columns=columns))
            self._ready = left
            return taken

    # ---- called by the thread that fetches ---------------------------------------------------------------------------

    def open_places(self) -> list[Place]:
        """Those to fetch from sooner or later, in the order in which they are to be served."""
        with self._lock:
            found = [place for place in self._places.values() if not place.paused and not place.failed]
        return sorted(found, key=lambda place: place.served)

    def has_room(self, place: Place) -> bool:
        """Whether more of it may be fetched."""
        return not place.ahead_bytes or place.ahead_bytes < _AHEAD_BYTES // max(len(self._places), 1)

    def put(self, ready: Ready) -> None:
        """Adds what was fetched, unless its place is dropped, or compaction has left no record in it."""
        columns = ready.columns
        with self._lock:
            if ready.place.dropped or (columns is not None and not len(columns.offsets)):
                return
            self._ready.append(ready)
            if columns is not None:
                ready.place.ahead_bytes += columns.size
            self._lock.notify_all()

    def fail(self, error: Exception) -> None:
        """Nothing more will be fetched."""
        with self._lock:
            self._failure = error
            self._lock.notify_all()

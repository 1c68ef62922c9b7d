"""Records waiting to be inserted: which go together, and up to where a partition is done with. Pure; time is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Place = tuple[str, int]  # topic and partition


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """Records of one topic to insert as one block, and for each partition the offset behind its last record here."""

    topic: str
    records: list[T]
    next_offsets: Mapping[Place, int]


class Batches(Generic[T]):
    """Records by topic and partition, in the order of their logs.

    A topic is due when it holds `full_rows`, or anything for `oldest_s`. One topic fills one table, so batches of
    different topics are acknowledged independently, and a partition's offset follows from its own topic alone.
    """

    def __init__(self, *, full_rows: int, oldest_s: float) -> None:
        self._full_rows = full_rows
        self._oldest_s = oldest_s
        self._held: dict[Place, list[tuple[int, T]]] = {}
        self._rows: dict[str, int] = {}
        self._since_s: dict[str, float] = {}

    @property
    def rows(self) -> int:
        """Records held, over all topics."""
        return sum(self._rows.values())

    def holds(self, place: Place) -> bool:
        """Whether a record of the partition waits."""
        return place in self._held

    def add(self, place: Place, records: Iterable[tuple[int, T]], *, now_s: float) -> None:
        """Takes records with their offsets, in order, behind those of the partition already held."""
        held = self._held.setdefault(place, [])
        before = len(held)
        held.extend(records)
        topic = place[0]
        self._rows[topic] = self._rows.get(topic, 0) + len(held) - before
        self._since_s.setdefault(topic, now_s)

    def due(self, now_s: float) -> str | None:
        """Of the topics that are full or have waited long enough, the one waiting longest; None when there is none."""
        ready = [
            topic
            for topic, since_s in self._since_s.items()
            if self._rows[topic] >= self._full_rows or now_s - since_s >= self._oldest_s
        ]
        return min(ready, key=self._since_s.__getitem__, default=None)

    def take(self, topic: str, *, now_s: float) -> Batch[T]:
        """At most `full_rows` records of a topic; what is left starts waiting anew."""
        records: list[T] = []
        next_offsets: dict[Place, int] = {}
        for place in [place for place in self._held if place[0] == topic]:
            room = self._full_rows - len(records)
            if not room:
                break
            held = self._held[place]
            taken, left = held[:room], held[room:]
            records.extend(record for _, record in taken)
            next_offsets[place] = taken[-1][0] + 1
            if left:
                self._held[place] = left
            else:
                del self._held[place]
        self._account(topic, -len(records))
        if topic in self._since_s:
            self._since_s[topic] = now_s
        return Batch(topic, records, next_offsets)

    def forget(self, place: Place) -> None:
        """Drops what is held of a partition: somebody else will read it again."""
        dropped = self._held.pop(place, [])
        if dropped:
            self._account(place[0], -len(dropped))

    def topics(self) -> list[str]:
        """Topics that hold anything."""
        return list(self._rows)

    def _account(self, topic: str, change: int) -> None:
        rows = self._rows.get(topic, 0) + change
        if rows:
            self._rows[topic] = rows
        else:
            self._rows.pop(topic, None)
            self._since_s.pop(topic, None)

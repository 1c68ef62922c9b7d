"""What is known of the topics of a group of workers, and what changed of them since the workers committed offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec


class TopicFacts(NamedTuple):
    """Kafka's own id of a topic, which a topic that is created again does not get back, and its partition count."""

    id: str
    partitions: int


class Committed(NamedTuple):
    """The lowest and the highest offset that a group has committed of a topic, and of how many partitions it has one.

    -1 where it has committed nothing.
    """

    lowest: int = -1
    highest: int = -1
    partitions: int = 0


class NotedTopic(msgspec.Struct, frozen=True, array_like=True):
    """A topic as a worker last saw it, and what the group had committed of it then, as in `Committed`."""

    id: str
    partitions: int
    lowest: int = -1
    highest: int = -1
    committed: int = 0


class Note(msgspec.Struct, frozen=True):
    """The topics of a group by their full names, as they were at `seen_ms` (UTC)."""

    seen_ms: int
    topics: dict[str, NotedTopic]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedTopics:
    """Which topics a group of workers depends on, by their full names, and what to do when one has changed.

    `same`: these must be the ones whose offsets were committed. `counted`: their number of partitions must stay.
    `noted_on`: the note is kept with partition 0 of each of them, because Kafka deletes what was committed of a topic
    together with the topic.
    `renew` is the remedy for a topic that was deleted or created again, `grown` for one that has more partitions,
    `offsets` for committed offsets that are gone; empty where workers need no committed offsets.
    """

    group: str
    same: Sequence[str]
    counted: Sequence[str]
    noted_on: Sequence[str]
    renew: str
    grown: str
    offsets: str = ""

    @property
    def names(self) -> list[str]:
        """All that may be described, each once."""
        return list(dict.fromkeys((*self.same, *self.counted, *self.noted_on)))


def make_note(facts: Mapping[str, TopicFacts], committed: Mapping[str, Committed], *, seen_ms: int) -> Note:
    """The note of what is seen now."""
    return Note(
        seen_ms, {name: NotedTopic(*fact, *committed.get(name, Committed())) for name, fact in sorted(facts.items())}
    )


def topic_change(watched: WatchedTopics, note: Note, facts: Mapping[str, TopicFacts]) -> str:
    """One sentence about the first topic that is not what was noted; empty when none has changed."""
    for name, noted in note.topics.items():
        fact = facts.get(name)
        if fact is None:
            if name in watched.same or name in watched.counted:
                return f"topic {name} was deleted: {_since(watched, note, name)}; {watched.renew}"
        elif name in watched.same and fact.id != noted.id:
            grown = (
                ""
                if fact.partitions == noted.partitions
                else f" with other partitions ({noted.partitions} -> {fact.partitions})"
            )
            return f"topic {name} was deleted and created again{grown}: {_since(watched, note, name)}; {watched.renew}"
        elif name in watched.counted and fact.partitions != noted.partitions:
            return (
                f"topic {name} was given other partitions ({noted.partitions} -> {fact.partitions}): "
                f"{_since(watched, note, name)}; {watched.grown}"
            )
    return ""


def offsets_change(watched: WatchedTopics, note: Note, committed: Mapping[str, Committed]) -> str:
    """One sentence about committed offsets that are gone although their topic is the same; empty when all are there."""
    if not watched.offsets:
        return ""
    for name, noted in note.topics.items():
        if name in watched.same and committed.get(name, Committed()).partitions < noted.committed:
            return (
                f"committed offsets of group {watched.group} for topic {name} were deleted or have expired: "
                f"{_since(watched, note, name)}; {watched.offsets}"
            )
    return ""


def _since(watched: WatchedTopics, note: Note, name: str) -> str:
    noted = note.topics[name]
    seen = datetime.fromtimestamp(note.seen_ms // 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if not noted.committed:
        return f"at {seen} the workers of group {watched.group} had committed no offset of it"
    offsets = (
        f"offset {noted.highest}"
        if noted.lowest == noted.highest
        else f"offsets {noted.lowest} to {noted.highest} of {noted.committed} partitions"
    )
    return f"at {seen} the workers of group {watched.group} had committed {offsets} of it"

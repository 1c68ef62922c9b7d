"""Notices a topic that changed, while workers run or between two runs: the same for join, learn, sink and pace.

What was seen is kept in Kafka as a note: metadata of offsets that are committed to a group without members, `NOTES`
behind the name of the workers' group. A state folder would not do, as the sink has none and a disk may be new.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self

from confluent_kafka import TopicPartition

from schemas.codec import decode, encode
from schemas.errors import TopicsChanged, Transient
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.groups import commit_for, offsets_now
from streams.kafka.topic_facts import (
    Committed,
    Note,
    TopicFacts,
    WatchedTopics,
    make_note,
    offsets_change,
    topic_change,
)

NOTES: Final = ".topics"
EVERY_S: Final = 60.0
# Partitions that are assigned together are loaded within a moment: one look is enough for all.
_FRESH_S: Final = 1.0
# A broker that has just started may not know a topic yet. One that is missing so often in a row was deleted.
_MISSED: Final = 3
_MISSED_EVERY_S: Final = 2.0


class TopicWatch:
    """Compares the topics of a group with those that its workers have committed offsets of.

    `look` asks Kafka now. While the block runs, a thread looks every minute; `check` is cheap and says what was seen.
    All three raise TopicsChanged once a change was seen; until it is set right, also the next start does.
    """

    def __init__(self, cluster: Cluster, watched: WatchedTopics, warn: Callable[[str], None] = lambda _: None) -> None:
        self._cluster = cluster
        self._admin = Admin(cluster)
        self._watched = watched
        self._warn = warn
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._noted: Note | None = None
        self._looked_s = float("-inf")
        self._missed = 0
        self._warned = False
        self._changed: TopicsChanged | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, name="topics", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Not joined: a look under way may wait for Kafka, and the thread ends with it.
        self._over.set()

    @property
    def changed(self) -> bool:
        """Whether a change was seen: then nothing may be committed any more."""
        return self._changed is not None

    def check(self) -> None:
        """Raises TopicsChanged if a change was seen."""
        if self._changed is not None:
            raise self._changed

    def look(self) -> None:
        """Asks Kafka, at a start. Raises TopicsChanged, and Transient when Kafka does not answer."""
        with self._lock:
            self.check()
            facts = self._admin.topic_facts(self._watched.names)
            if self._noted is None:
                self._compare_with_note(facts)
            elif self._misses(facts):
                return
            else:
                self._change(topic_change(self._watched, self._noted, facts))
            self._keep(facts)
            self._looked_s = time.monotonic()

    def look_again(self) -> None:
        """Looks while the worker runs. Raises TopicsChanged; without an answer the next look will show."""
        if time.monotonic() - self._looked_s < _FRESH_S:
            return
        try:
            self.look()
        except Transient:
            return

    def compare(self) -> None:
        """Looks as at a start, and writes nothing: for a command beside the workers."""
        self._compare_with_note(self._admin.topic_facts(self._watched.names))

    # ---- under the lock ---------------------------------------------------------------------------------------------

    def _compare_with_note(self, facts: Mapping[str, TopicFacts]) -> None:
        note = self._read_note(facts)
        if note is not None:
            self._change(topic_change(self._watched, note, facts))
            self._change(offsets_change(self._watched, note, self._committed(facts)))

    def _change(self, sentence: str) -> None:
        if sentence:
            self._changed = TopicsChanged(sentence)
            raise self._changed

    def _misses(self, facts: Mapping[str, TopicFacts]) -> bool:
        """Whether a topic is missing that may only not be known yet."""
        assert self._noted is not None
        missing = any(name not in facts for name in self._noted.topics)
        self._missed = self._missed + 1 if missing else 0
        return 0 < self._missed < _MISSED

    def _keep(self, facts: Mapping[str, TopicFacts]) -> None:
        """Notes what is seen, in memory and in Kafka."""
        self._noted = make_note(facts, self._committed(facts), seen_ms=time.time_ns() // 1_000_000)
        metadata = encode(self._noted).decode()
        places = [TopicPartition(name, 0, 0, metadata) for name in self._watched.noted_on if name in facts]
        if places and not commit_for(self._cluster, self._watched.group + NOTES, places):
            self._forbidden()

    def _read_note(self, facts: Mapping[str, TopicFacts]) -> Note | None:
        """The newest note; None before the first one, or where this user may not ask.

        A note goes with its topic, but Kafka is some moments late.
        """
        places = [TopicPartition(name, 0) for name in self._watched.noted_on if name in facts]
        found = (offsets_now(self._cluster, self._watched.group + NOTES, places) if places else None) or []
        notes = [_decoded(place.metadata) for place in found if place.offset >= 0 and place.metadata]
        return max((note for note in notes if note is not None), key=lambda note: note.seen_ms, default=None)

    def _committed(self, facts: Mapping[str, TopicFacts]) -> dict[str, Committed]:
        """What the group has committed of the topics that must stay the same."""
        places = [
            TopicPartition(name, partition)
            for name in self._watched.same
            if name in facts
            for partition in range(facts[name].partitions)
        ]
        return _extents((offsets_now(self._cluster, self._watched.group, places) if places else None) or [])

    def _forbidden(self) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f"Kafka does not let this user commit to group {self._watched.group}{NOTES}: a topic that changes "
                "while no worker runs is not noticed; allow this user to read that group"
            )

    def _watch(self) -> None:
        pause_s = EVERY_S
        while not self._over.wait(pause_s):
            try:
                self.look()
            except TopicsChanged:
                return
            except Transient:
                pass  # Kafka is away; the loop of the worker says so
            pause_s = _MISSED_EVERY_S if self._missed else EVERY_S


def _decoded(metadata: str) -> Note | None:
    try:
        return decode(metadata.encode(), Note)
    except ValueError:
        return None  # of another version


def _extents(places: Sequence[TopicPartition]) -> dict[str, Committed]:
    offsets: dict[str, list[int]] = {}
    for place in places:
        if place.offset >= 0:
            offsets.setdefault(place.topic, []).append(place.offset)
    return {name: Committed(min(found), max(found), len(found)) for name, found in offsets.items()}

"""What a consumer group has committed, asked and rewritten from outside. The group need not exist."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import LostHistory, SettingsError, Transient
from streams.engine.ports import Commit
from streams.kafka.admin import FORBIDDEN, Admin
from streams.kafka.cluster import Cluster
from streams.kafka.retries import ANSWER_S, patiently
from streams.kafka.settings import SESSION_TIMEOUT_MS, group_offsets_settings

# A static member that stops stays in its group until its session times out.
_GONE_S: Final = 1.5 * SESSION_TIMEOUT_MS / 1_000
_LOOK_S: Final = 0.5
# One try; it is repeated until ANSWER_S is over.
_ANSWER_S: Final = 10.0


def stable_offsets(consumer: Consumer, places: Sequence[TopicPartition]) -> list[TopicPartition]:
    """The committed offset and metadata of each place, below 0 where there is none; waits for open transactions."""
    found: list[TopicPartition] = patiently(
        lambda: consumer.committed(list(places), timeout=ANSWER_S), "the group coordinator"
    )
    return found


def offsets_now(cluster: Cluster, group: str, places: Sequence[TopicPartition]) -> list[TopicPartition] | None:
    """What the group has committed of these places, below 0 where nothing; does not wait for open transactions.

    None where this user may not ask. Raises Transient when Kafka does not answer.
    """
    # Not an AdminClient's question: the coordinator's error would end the process (docs/internals/traps.md). Dropped,
    # not closed, as closing waits for requests under way.
    consumer = Consumer(group_offsets_settings(cluster, group, isolation_level="read_uncommitted"))
    return _unless_forbidden(lambda: consumer.committed(list(places), timeout=_ANSWER_S))


def commit_for(cluster: Cluster, group: str, places: Sequence[TopicPartition]) -> bool:
    """Commits offsets and metadata for a group without members; False where this user may not. Raises Transient."""
    answers: list[tuple[KafkaError | None, list[TopicPartition]]] = []
    consumer = Consumer(
        group_offsets_settings(cluster, group), on_commit=lambda error, committed: answers.append((error, committed))
    )

    def commit() -> list[TopicPartition]:
        answers.clear()
        # A commit that waits for its answer has no bound of its own.
        consumer.commit(offsets=list(places), asynchronous=True)
        until_s = time.monotonic() + _ANSWER_S
        while not answers:
            if time.monotonic() > until_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            consumer.poll(0.1)
        error, committed = answers[0]
        if error is not None:
            raise KafkaException(error)
        return committed

    return _unless_forbidden(commit) is not None


def _unless_forbidden(ask: Callable[[], list[TopicPartition]]) -> list[TopicPartition] | None:
    def answer() -> list[TopicPartition] | None:
        try:
            places = ask()
            for place in places:
                if place.error is not None:
                    raise KafkaException(place.error)
        except KafkaException as error:
            if error.args[0].code() in FORBIDDEN:
                return None
            raise
        return places

    answered: list[TopicPartition] | None = patiently(answer, "the group coordinator")
    return answered


def one_commit(places: Iterable[TopicPartition], *, role_of: Callable[[str], str]) -> Commit | None:
    """The commit of one task from the places of all its inputs; None when it never committed.

    Raises LostHistory when the places do not carry one mark together.
    """
    places = list(places)
    offsets = {role_of(place.topic): place.offset for place in places}
    if all(offset < 0 for offset in offsets.values()):
        return None
    marks = {place.metadata for place in places if place.metadata}
    if any(offset < 0 for offset in offsets.values()) or len(marks) != 1:
        raise LostHistory(
            f"committed offsets of partition {places[0].partition} are {offsets} with {len(marks)} marks: they were "
            "not written by clickfold or have expired in part; start a new run with another --group"
        )
    return Commit(offsets, marks.pop().encode())


class GroupOffsets:
    """The commits of one group as a whole, for a command that runs while no worker of the group does."""

    def __init__(self, cluster: Cluster, group: str, roles: Sequence[str]) -> None:
        self._cluster = cluster
        self._group = group
        self._roles = {cluster.topic(role): role for role in roles}

    def commits(self, partitions: int) -> dict[int, Commit]:
        """The commit of each partition that has one."""
        with closing(Consumer(group_offsets_settings(self._cluster, self._group))) as consumer:
            places = [TopicPartition(topic, partition) for partition in range(partitions) for topic in self._roles]
            found = stable_offsets(consumer, places)
        commits = {
            partition: one_commit(
                [place for place in found if place.partition == partition], role_of=self._roles.__getitem__
            )
            for partition in range(partitions)
        }
        return {partition: commit for partition, commit in commits.items() if commit is not None}

    def rewrite(self, commits: dict[int, Commit]) -> None:
        """Replaces marks, all in one request. Raises SettingsError while the group has members."""
        self._wait_until_empty()
        places = [
            TopicPartition(self._cluster.topic(role), partition, offset, commit.mark.decode())
            for partition, commit in commits.items()
            for role, offset in commit.offsets.items()
        ]
        with closing(Consumer(group_offsets_settings(self._cluster, self._group))) as consumer:
            try:
                consumer.commit(offsets=places, asynchronous=False)
            except KafkaException as error:
                raise Transient(
                    f"the offsets of group {self._group} were not rewritten ({error.args[0].str()}); try again once "
                    "none of its workers runs"
                ) from error

    def _wait_until_empty(self) -> None:
        admin = Admin(self._cluster)
        until_s = time.monotonic() + _GONE_S
        while members := admin.group_members(self._group):
            if time.monotonic() > until_s:
                raise SettingsError(
                    f"group {self._group} still has members ({', '.join(members)}): stop its workers, then run this "
                    "again"
                )
            time.sleep(_LOOK_S)


def has_begun(cluster: Cluster, group: str, topic: str, partitions: int) -> bool:
    """Whether a group has committed an offset of a topic."""
    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    return any(place.offset >= 0 for place in offsets_now(cluster, group, places) or ())

"""Turns a batch of messages into columns by log, and remembers how far each partition is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, TopicPartition

from schemas.errors import Fenced, LostHistory, Transient
from schemas.records import Headers, Records
from streams.kafka.assignors import other_assignor
from streams.kafka.headers import headers_of
from streams.kafka.settings import ASSIGNOR

_second = itemgetter(1)


def offsets_and_times(messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """Offsets of consumed records, and their timestamps, ms UTC, -1 for none."""
    offsets: list[int] = list(map(Message.offset, messages))  # type: ignore[arg-type]  # a consumed message has one
    return offsets, list(map(_second, map(Message.timestamp, messages)))


class Gap(NamedTuple):
    """A partition that was to be read from one offset on, and whose first record came from a later one."""

    topic: str
    partition: int
    began: int
    first: int


class Reading:
    """How far the partitions of one consumer are read.

    `roles` names the role of each topic. `taken` and `remedy` are for errors: what another consumer of the same name
    takes away, and what to do about offsets that Kafka no longer has. `group` is the consumer's, if it is a member.
    `task_of` gives the task of a topic's partition, which records name; without it that is the partition.
    `gaps` grows where reading began later than it was to: a transaction's marker or compaction may explain it.
    """

    def __init__(
        self,
        roles: Mapping[str, str],
        *,
        taken: str,
        remedy: str,
        group: str = "",
        task_of: Callable[[str, int], int] = lambda _, partition: partition,
        with_headers: Collection[str] = (),
    ) -> None:
        self._roles = roles
        self.with_headers = frozenset(with_headers)
        self._task_of = task_of
        self._group = group
        self._taken = taken
        self._remedy = remedy
        # Per topic and partition: where reading began or got to, and the end last met.
        self._polled: dict[tuple[str, int], int] = {}
        self._met_end: dict[tuple[str, int], int] = {}
        # Per topic and partition whose first record is awaited: the offset it was to be read from.
        self._began: dict[tuple[str, int], int] = {}
        self.gaps: list[Gap] = []

    def begin(self, places: Iterable[TopicPartition]) -> None:
        """These partitions are read from their offsets on."""
        for place in places:
            # An end met at once, with only a transaction's marker before it, is one that this offset has reached.
            self._polled[place.topic, place.partition] = place.offset
            self._met_end.pop((place.topic, place.partition), None)
            self._began[place.topic, place.partition] = place.offset

    def end(self, topic: str, partition: int, high: int) -> int:
        """The position that is the end of a log, given its high watermark.

        A transaction's marker may stand behind the last record; no position ever passes it.
        """
        place = topic, partition
        return self._polled[place] if self._met_end.get(place) == high and place in self._polled else high

    def met_end(self, topic: str, partition: int) -> int:
        """The end last met of a partition, -1 before the first."""
        return self._met_end.get((topic, partition), -1)

    def columns(self, messages: list[Message]) -> list[Records]:
        """The records of a batch by topic and partition, in order. Raises what an error among them means."""
        if any(map(Message.error, messages)):
            messages = [message for message in messages if self._good(message)]
        by_log: dict[tuple[str, int], list[Message]] = defaultdict(list)
        for message in messages:
            by_log[message.topic(), message.partition()].append(message)  # type: ignore[index]  # never None here
        return [self._records(topic, partition, own) for (topic, partition), own in by_log.items()]

    def _records(self, topic: str, partition: int, messages: Sequence[Message]) -> Records:
        keys, values = list(map(Message.key, messages)), list(map(Message.value, messages))
        headers = list(map(headers_of, messages)) if topic in self.with_headers else None
        return self.records(topic, partition, *offsets_and_times(messages), keys, values, headers)

    def records(
        self,
        topic: str,
        partition: int,
        offsets: Sequence[int],
        times: Sequence[int],
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Headers] | None = None,
    ) -> Records:
        """The next records of a partition."""
        self._polled[topic, partition] = offsets[-1] + 1
        began = self._began.pop((topic, partition), offsets[0])
        if offsets[0] > began:
            self.gaps.append(Gap(topic, partition, began, offsets[0]))
        return Records(self._roles[topic], self._task_of(topic, partition), offsets, times, keys, values, headers)

    def _good(self, message: Message) -> bool:
        error = message.error()
        if error is not None:
            self.note(message.topic() or "", message.partition() or 0, message.offset() or 0, error)
        return error is None

    def note(self, topic: str, partition: int, offset: int, error: KafkaError) -> None:
        """Takes what came in place of a record: the end of a log, or a fault. Raises what the fault means."""
        if error.code() == KafkaError._PARTITION_EOF:
            self._met_end[topic, partition] = offset
            return
        if error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            raise other_assignor(self._group, ours=ASSIGNOR, remedy="give another --group")
        where = f"{topic}[{partition}]"
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise LostHistory(
                f"offset {offset} of {where} is not in Kafka ({error.str()}): restore its retention, or {self._remedy}"
            )
        # librdkafka hands a fatal error on as _FATAL and names the true one in its text alone.
        if error.fatal() or error.code() == KafkaError._FATAL:
            raise self._fatal(error)
        if not error.retriable() and error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            raise Transient(f"{where}: {error.str()}")

    def _fatal(self, error: KafkaError) -> Transient:
        """What ends this consumer; another one can go on."""
        if "fenced" not in error.str():
            return Transient(f"the consumer cannot go on: {error.str()}")
        # A coordinator that restarts may have given a member a new id in an answer that never arrived. To the group
        # that looks like another process in the same slot.
        return Fenced(
            f"the group knows another member in {self._taken}: it lost this one, or another worker took the slot; give "
            "each worker of a group its own --slot"
        )

"""The sink's consumer: reads committed records of the partitions it owns, and commits what ClickHouse acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import LostHistory, SettingsError, Transient
from streams.kafka.assignors import other_assignor
from streams.kafka.consumer import offsets_and_times
from streams.kafka.reads import log_bounds
from streams.kafka.retries import ANSWER_S
from streams.kafka.settings import ASSIGNOR, sink_member_settings
from streams.kafka.topic_watch import TopicWatch
from streams.sink.batches import LogPartition, RecordColumns
from streams.sink.settings import SinkSettings
from streams.warehouse.shapes import SHAPES

log = structlog.get_logger(__name__)

_REQUEST_S = 10.0
_REQUEST_ATTEMPTS = 3
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
_FORBIDDEN = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}


@dataclass(slots=True)
class _Position:
    """Next offsets of one partition, -1 when not known: to read, to acknowledge, last sent to be committed, committed,
    and the log's end when it was reached (behind markers of transactions, which are no records)."""

    read: int = -1
    done: int = -1
    sent: int = -1
    committed: int = -1
    end: int = -1

    def settle(self) -> None:
        # All records before the end are done; between the last of them and the end there are only markers.
        if self.done == self.read and self.end > self.read:
            self.read = self.done = self.end


class SinkConsumer:
    """A member of the sink's group. Once `watch` has seen that a topic changed, it commits nothing.

    `on_revoke` is called with partitions that are about to move while their offsets can still be committed, `on_lost`
    with partitions that another member has already.
    """

    def __init__(
        self,
        settings: SinkSettings,
        watch: TopicWatch | None = None,
        *,
        on_revoke: Callable[[Sequence[LogPartition]], None],
        on_lost: Callable[[Sequence[LogPartition]], None],
    ) -> None:
        self._watch = watch
        self._on_revoke = on_revoke
        self._on_lost = on_lost
        self._group = settings.group
        self._weights = {topic: SHAPES[role].weight for topic, role in settings.topics().items()}
        self._owned: dict[LogPartition, _Position] = {}
        self._paused = False
        self.last_commit_ms = 0
        self._consumer = Consumer(
            sink_member_settings(
                settings.cluster,
                group=settings.group,
                # A group without offsets starts at the beginning, see `_assign`. One whose offsets are gone must not
                # skip records unless that is accepted.
                skip_lost=settings.accept_loss,
                session_timeout_ms=settings.session_timeout_ms,
                fetch_wait_ms=settings.fetch_wait_ms,
            ),
            on_commit=self._commit_answered,
        )
        self._consumer.subscribe(
            sorted(settings.topics()), on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
        )

    def read(self, most: int, timeout_s: float) -> dict[LogPartition, RecordColumns]:
        """Records by partition, at most `most`, waiting for them up to `timeout_s`; rebalances happen in here.

        Raises LostHistory, SettingsError for a missing topic or right or another assignor in the group, Transient when
        the client can't go on.
        """
        messages: dict[LogPartition, list[Message]] = {}
        errors: list[Message] = []
        for message in self._consumer.consume(most, timeout_s):
            if message.error() is not None:
                errors.append(message)
            else:
                # The types allow None everywhere; a message without an error has all of this.
                place: LogPartition = (message.topic(), message.partition())  # type: ignore[assignment]
                messages.setdefault(place, []).append(message)
        pieces = {place: self._piece(place[0], messages[place]) for place in messages if place in self._owned}
        for place, piece in pieces.items():
            position = self._owned[place]
            if position.read < 0:
                position.done = piece.offsets[0]
            position.read = piece.offsets[-1] + 1
        # After the records of the same batch. The end of a partition says that all records read so far are the last
        # ones; taken before these count as read, it would commit them before ClickHouse has them.
        for message in errors:
            self._problem(message)
        return pieces

    def _piece(self, topic: str, messages: Sequence[Message]) -> RecordColumns:
        values = list(map(Message.value, messages))
        return RecordColumns(*offsets_and_times(messages), values, self._weights[topic])

    def done(self, place: LogPartition, next_offset: int) -> None:
        """All records of the partition below `next_offset` are acknowledged. Ignored for a partition that has moved."""
        position = self._owned.get(place)
        if position is not None:
            position.done = next_offset
            position.settle()

    def commit(self, *, wait: bool) -> None:
        """Commits what is done. Without `wait` the answer comes during a later `read`; a failure is sent again."""
        self._commit(list(self._owned), wait=wait)

    def hold(self, paused: bool) -> None:
        """Stops or resumes reading. The worker stays in the group as long as `read` is called."""
        self._paused = paused
        change = self._consumer.pause if paused else self._consumer.resume
        change([TopicPartition(*place) for place in self._owned])

    @property
    def partitions(self) -> int:
        """How many partitions are assigned."""
        return len(self._owned)

    def lag(self) -> int:
        """Records (and transaction markers) not yet committed; -1 with no partition or while the end of one is unknown.

        A group that has committed nothing is behind by all that Kafka keeps.
        """
        behind = 0
        for place, position in self._owned.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            high = max(high, position.end)
            if high < 0:
                return -1
            known = (at for at in (position.committed, position.done, low) if at >= 0)
            behind += max(0, high - next(known, 0))
        return behind if self._owned else -1

    def close(self) -> None:
        """Leaves the group; the partitions go to others at once.

        A consumer that does not come back, as Kafka does not answer, is left behind: the group misses it soon.
        """
        closing = Thread(target=self._consumer.close, name="close", daemon=True)
        closing.start()
        closing.join(ANSWER_S)

    def _commit(self, places: Sequence[LogPartition], *, wait: bool) -> None:
        if self._watch is not None and self._watch.changed:
            return
        due = {place: self._owned[place] for place in places}
        offsets = [
            TopicPartition(*place, position.done)
            for place, position in due.items()
            if position.done >= 0 and position.done != position.sent
        ]
        if not offsets:
            return
        for offset in offsets:
            self._owned[offset.topic, offset.partition].sent = offset.offset
        try:
            if wait:
                self._commit_answered(None, self._consumer.commit(offsets=offsets, asynchronous=False))
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as failure:
            self._commit_answered(failure.args[0], offsets)

    def _commit_answered(self, failure: KafkaError | None, offsets: Sequence[TopicPartition]) -> None:
        for offset in offsets:
            position = self._owned.get((offset.topic, offset.partition))
            if position is None:
                continue
            if failure is None and offset.error is None:
                position.committed = offset.offset
                self.last_commit_ms = time.time_ns() // 1_000_000
            else:
                # Sent again with the next commit. Offsets are absolute, and a lost commit only repeats work.
                position.sent = position.committed

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if not partitions:
            return
        self._look()
        start = self._committed(partitions)
        for place in start:
            position = _Position()
            if place.offset >= 0:
                position = _Position(read=place.offset, done=place.offset, sent=place.offset, committed=place.offset)
            else:
                # Not as "the beginning": librdkafka may go back there after a second assignment, see streams.kafka.log.
                place.offset = log_bounds(consumer, place.topic, place.partition)[0]
            self._owned[place.topic, place.partition] = position
        consumer.incremental_assign(start)
        if self._paused:
            consumer.pause(start)
        log.info("partitions assigned", assigned=_by_topic(partitions), owned=len(self._owned))

    def _look(self) -> None:
        if self._watch is not None:
            self._watch.look_again()

    def _committed(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        for _ in range(_REQUEST_ATTEMPTS):
            try:
                answer = self._consumer.committed(partitions, timeout=_REQUEST_S)
            except KafkaException as failure:
                log.warning("committed offsets not answered", failure=str(failure))
                continue
            if not any(place.error for place in answer):
                return answer
        raise Transient(f"Kafka did not say where {len(partitions)} partitions were left; is the broker up?")

    def _revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        places = [(gone.topic, gone.partition) for gone in partitions]
        self._on_revoke(places)
        self._commit([place for place in places if place in self._owned], wait=True)
        for place in places:
            self._owned.pop(place, None)
        log.info("partitions revoked", revoked=_by_topic(partitions), owned=len(self._owned))

    def _lose(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        places = [(gone.topic, gone.partition) for gone in partitions]
        for place in places:
            self._owned.pop(place, None)
        self._on_lost(places)
        log.warning("partitions lost", lost=_by_topic(partitions), owned=len(self._owned))

    def _problem(self, message: Message) -> None:
        error = message.error()
        assert error is not None
        place = (message.topic() or "", -1 if (partition := message.partition()) is None else partition)
        if error.code() == KafkaError._PARTITION_EOF:
            position = self._owned.get(place)
            if position is not None:
                position.end = message.offset() or 0
                position.settle()
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._look()
            raise LostHistory(self._lost_history(place))
        elif error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            raise other_assignor(self._group, ours=ASSIGNOR, remedy="give another --group")
        elif error.code() in _MISSING:
            self._look()
            raise SettingsError(f"Kafka has no topic {place[0]}; run `clickfold init`, or correct the prefix: {error}")
        elif error.code() in _FORBIDDEN:
            raise SettingsError(f"Kafka does not let this user read {place[0]} in this group: {error}")
        elif error.fatal():
            raise Transient(f"the Kafka client can't go on: {error}")
        else:
            # Lost connections and moved leaders: librdkafka tries again by itself.
            log.warning("Kafka trouble", topic=place[0], partition=place[1], error=str(error))

    def _lost_history(self, place: LogPartition) -> str:
        position = self._owned.get(place, _Position())
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=_REQUEST_S)
        return (
            f"{place[0]} partition {place[1]} holds offsets {low} to {high}, the sink was left at {position.read}: "
            "records in between are gone; go on at the first record Kafka has by "
            "--accept-loss, and rebuild the rows by `clickfold backfill`"
        )


def _by_topic(partitions: Sequence[TopicPartition]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for partition in partitions:
        numbers.setdefault(partition.topic, []).append(partition.partition)
    return numbers

"""How far the join has counted what was sent: so pacing knows a join that is behind from one that has nothing to do.

Event time would not tell the two apart: a quiet night has no totals either. Offsets do. At some moment the inputs end
at certain offsets. Once the ledgers of all join partitions have passed these, the join has counted everything that was
sent before that moment, and its totals were committed in the same transactions. Once pacing has read these too, it has
counted all that happened before. Where the join was behind already when pacing began, no such moment is known: then all
is counted that was sent before the oldest record which the join has not counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import closing
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # missing in its __all__

from schemas.codec import decoder
from schemas.reading import Unreadable, read
from schemas.totals import Ledger
from streams.kafka.cluster import Cluster
from streams.kafka.settings import admin_settings, reader_settings

_EVERY_S: Final = 1.0
_ANSWER_S: Final = 10.0
# What an ad server has shown reaches Kafka so much later.
_ON_THE_WAY_MS: Final = 1_000
# Marks that wait for the join: an hour of them, then every other one is left out.
_MARKS: Final = 3_600
_STAGES: Final = 64
# librdkafka's base of offsets that count from the end. A ledger and the marker of its transaction are two offsets.
_TAIL: Final = -2_000 - 8
# After so long it is looked whether anything is between the ledger and the end: a transaction's marker is nothing.
_LOOK_S: Final = 3.0
_NEVER: Final = 1 << 62
_FIRST: Final[Any] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_END: Final[Any] = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_INPUTS: Final = ("impressions", "clicks")
Place = tuple[str, int]


class Stage(NamedTuple):
    """Everything sent before `wall_ms` is in the totals below these offsets, by partition of `campaign_totals`."""

    wall_ms: int
    totals: Mapping[int, int]


class Marks:
    """Which moments the join has passed. Without Kafka and clock."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, Mapping[Place, int]]] = deque()
        self._counted: dict[Place, int] = {}

    def counted(self, place: Place, next_offset: int) -> None:
        """The join has counted all of an input below an offset, or there is nothing below it."""
        self._counted[place] = max(next_offset, self._counted.get(place, 0))

    def ends(self, wall_ms: int, ends: Mapping[Place, int]) -> None:
        """At this moment, or a little after it, the inputs ended there."""
        self._marks.append((wall_ms, ends))
        if len(self._marks) > _MARKS:
            self._marks = deque(mark for number, mark in enumerate(self._marks) if number % 2)

    def passed_ms(self) -> int | None:
        """The newest moment before which all is counted, once; None where that is none of the marks left."""
        passed_ms = None
        while self._marks and not self._missing(self._marks[0][1]):
            passed_ms = self._marks.popleft()[0]
        return passed_ms

    def waiting(self, *, before_ms: int) -> dict[Place, tuple[int, int]]:
        """What the oldest mark waits for, if it was made before then: from which offset to which."""
        if not self._marks or self._marks[0][0] >= before_ms:
            return {}
        ends = self._marks[0][1]
        return {place: (self._counted.get(place, 0), ends[place]) for place in self._missing(ends)}

    def _missing(self, ends: Mapping[Place, int]) -> list[Place]:
        return [place for place, end in ends.items() if self._counted.get(place, 0) < end]


class JoinProgress:
    """Follows the join in a thread while the block runs. Where Kafka does not answer, nothing is said to be counted."""

    def __init__(self, cluster: Cluster, warn: Callable[[str], None] = lambda _: None) -> None:
        self._cluster = cluster
        self._warn = warn
        self._over = threading.Event()
        self._stages: tuple[Stage, ...] = ()
        self._first: Mapping[int, int] | None = None
        self._marks = Marks()
        self._thread = threading.Thread(target=self._follow, name="join progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Not joined: a question under way may wait for Kafka, and the thread ends with it.
        self._over.set()

    def first_end(self, partition: int) -> int | None:
        """Where the readable totals of a partition ended when this was first asked; None before that."""
        return None if self._first is None else self._first.get(partition, 0)

    def counted_to_ms(self, partition: int, *, reached: int) -> int | None:
        """Before this moment, by the wall clock, all is counted; None where that is not known.

        `reached`: all totals of the partition below this offset are counted.
        """
        for stage in reversed(self._stages):
            if reached >= stage.totals.get(partition, 0):
                return stage.wall_ms - _ON_THE_WAY_MS
        return None

    def _follow(self) -> None:
        warned = False
        while not self._over.is_set():
            try:
                self._watch()
            except KafkaException as error:
                if not warned:
                    self._warn(f"how far the join is cannot be asked: {error.args[0].str()}")
                    warned = True
            self._over.wait(_EVERY_S)

    def _watch(self) -> None:
        admin = AdminClient(admin_settings(self._cluster, lambda _: None))
        topics = admin.list_topics(timeout=_ANSWER_S).topics
        name = self._cluster.topic
        sizes = {role: len(topics[name(role)].partitions) for role in (*_INPUTS, "campaign_totals", "ledger")
                 if name(role) in topics}  # fmt: skip
        inputs: list[Place] = [(role, number) for role in _INPUTS for number in range(sizes.get(role, 0))]
        totals: list[Place] = [("campaign_totals", number) for number in range(sizes.get("campaign_totals", 0))]
        ledgers = Consumer(reader_settings(self._cluster, ends=False))
        with closing(ledgers):
            ledgers.assign([TopicPartition(name("ledger"), number, _TAIL) for number in range(sizes.get("ledger", 0))])
            for place, offset in self._ask(admin, inputs, _FIRST).items():
                self._marks.counted(place, offset)
            if self._first is None:
                readable = self._ask(admin, totals, _END, readable=True)
                self._first = {number: end for (_, number), end in readable.items()}
            while not self._over.is_set():
                self._step(admin, ledgers, inputs, totals)

    def _step(self, admin: AdminClient, ledgers: Consumer, inputs: list[Place], totals: list[Place]) -> None:
        for message in ledgers.consume(1_000, _EVERY_S):
            ledger = read(message.value(), _ledger) if message.error() is None else None
            if ledger is not None and not isinstance(ledger, Unreadable):
                self._marks.counted(("impressions", ledger.join_partition), ledger.impressions_next_offset)
                self._marks.counted(("clicks", ledger.join_partition), ledger.clicks_next_offset)
        wall_ms = round(time.time() * 1_000)
        ends = self._ask(admin, [*inputs, *totals], _END)
        self._marks.ends(wall_ms, {place: ends[place] for place in inputs})
        oldest_ms = _NEVER
        for place, (start, stop) in self._marks.waiting(before_ms=wall_ms - round(_LOOK_S * 1_000)).items():
            first_ms = self._first_ms(place, start, stop)
            if first_ms is None:
                self._marks.counted(place, stop)
                continue
            oldest_ms = min(oldest_ms, first_ms)
            if self._stages:
                break  # the mark waits for the join here, whatever the others hold
        of_totals = {number: ends[role, number] for role, number in totals}
        passed_ms = self._marks.passed_ms()
        if passed_ms is None and not self._stages and 0 < oldest_ms < _NEVER:
            # It was behind when this began. What it wrote last may be a transaction that nobody ends.
            passed_ms = oldest_ms
            of_totals = {number: end for (_, number), end in self._ask(admin, totals, _END, readable=True).items()}
        if passed_ms is not None:
            # The ledgers were read before: their totals are below these ends.
            self._stages = (*self._stages[1 - _STAGES :], Stage(passed_ms, of_totals))

    def _ask(self, admin: AdminClient, places: list[Place], spec: Any, *, readable: bool = False) -> dict[Place, int]:
        """Offsets of places; with `readable` ends are those of what no open transaction holds back."""
        wanted = {TopicPartition(self._cluster.topic(role), number): spec for role, number in places}
        if not wanted:
            return {}
        futures: Mapping[TopicPartition, Future[Any]] = admin.list_offsets(
            wanted,
            request_timeout=_ANSWER_S,
            isolation_level=IsolationLevel.READ_COMMITTED if readable else IsolationLevel.READ_UNCOMMITTED,
        )
        found = {(tp.topic, tp.partition): future.result().offset for tp, future in futures.items()}
        return {(role, number): found[self._cluster.topic(role), number] for role, number in places}

    def _first_ms(self, place: Place, start: int, stop: int) -> int | None:
        """When the first committed record from `start` up to, not including, `stop` was sent; None where there is none.

        0: Kafka does not say, or a transaction is open there.
        """
        consumer = Consumer(reader_settings(self._cluster, queued_kbytes=64))
        with closing(consumer):
            consumer.assign([TopicPartition(self._cluster.topic(place[0]), place[1], start)])
            until = time.monotonic() + _LOOK_S
            while time.monotonic() < until:
                for message in consumer.consume(1, 0.1):
                    error = message.error()
                    if error is not None and error.code() != KafkaError._PARTITION_EOF:
                        continue
                    if (message.offset() or 0) >= stop:
                        return None
                    return message.timestamp()[1] if error is None else 0
        return 0


_ledger: Final = decoder(Ledger).decode

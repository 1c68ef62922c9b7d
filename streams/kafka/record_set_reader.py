"""Reads partitions by Kafka's own requests: a thread fetches record sets ahead and makes columns of them.

In the thread a task for each broker asks it for all partitions it leads, with one request, and sends the next before it
unpacks the answer. Another task finds the leaders. aiokafka knows the cluster and opens the connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition as Partition  # type: ignore[import-untyped]  # it publishes no types
from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]  # as above
from aiokafka.errors import KafkaError as AIOKafkaError  # type: ignore[import-untyped]  # as above
from confluent_kafka import KafkaError, TopicPartition

from schemas.errors import Transient
from schemas.records import Records
from streams.kafka.buffers import Buffers
from streams.kafka.consumer import Reading
from streams.kafka.fetch_connection import Answer, Connection, Part
from streams.kafka.read_ahead import Place, ReadAhead, Ready
from streams.kafka.record_sets import Batch, UnknownFormat, Unpacker, batches_of

_BUFFER_BYTES: Final = 4 << 20
# More than may be ahead; the memory of those that were never needed is never touched.
_KEPT_BUFFERS: Final = 16
_RETRY_S: Final = 0.1
# How often tasks look without being woken.
_LOOK_S: Final = 0.2
# A topic that was just made is not known to every broker.
_UNKNOWN_TOPIC_S: Final = 10.0
# Another client of the worker may get through where this one never does.
_NEVER_HEARD_S: Final = 30.0
# Another broker leads the partition, or this one is not ready for it yet.
_MOVES: Final = frozenset(
    (
        *(KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION),
        *(KafkaError.REPLICA_NOT_AVAILABLE, KafkaError.KAFKA_STORAGE_ERROR, KafkaError.FENCED_LEADER_EPOCH),
        *(KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.OFFSET_NOT_AVAILABLE),
    )
)
# The places that were asked for, and the offset of each at that time.
_Asked = dict[tuple[str, int], tuple[Place, int]]


class _Set(NamedTuple):
    """Batches to unpack. `end` is the offset behind them if the log ends there, else -1."""

    place: Place
    wanted: int
    data: memoryview
    batches: list[Batch]
    end: int


class RecordSetReader:
    """`streams.kafka.reader.Reader` by Kafka's Fetch request. Raises Transient where a batch is damaged."""

    # Why this process cannot read so, once it has seen that.
    refused = ""

    def __init__(self, settings: Mapping[str, Any], reading: Reading, *, answer_s: float = 10.0) -> None:
        """`settings` are those of an aiokafka client. A broker that is silent for `answer_s` is asked anew."""
        # It would write a line at each of many tries a second to connect to a broker that is down.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._reading = reading
        self._settings = {"client_id": "clickfold-reader", **settings}
        self._answer_s = answer_s
        self._ahead = ReadAhead()
        self._unpacker = Unpacker(Buffers(_BUFFER_BYTES, _KEPT_BUFFERS))
        # The number of answers so far; before the first, since when one is awaited, and what came instead.
        self._answers = 0
        self._awaited_s: float | None = None
        self._trouble: Exception | None = None
        self._topics = set[str]()
        self._refresh_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._woken = asyncio.Event()
        self._fetching = self._loop.create_task(self._fetch())
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)
        self._thread.start()

    # ---- called by the thread that folds ----------------------------------------------------------------------------

    def place(self, places: list[TopicPartition]) -> None:
        self._reading.begin(places)
        self._ahead.place(places)

    def drop(self, places: list[TopicPartition]) -> None:
        self._ahead.drop(places)

    def pause(self, places: list[TopicPartition]) -> None:
        self._ahead.set_paused(places, paused=True)

    def resume(self, places: list[TopicPartition]) -> None:
        self._ahead.set_paused(places, paused=False)
        self._call(self._woken.set)

    def high(self, topic: str, partition: int) -> int:
        place = self._ahead.find(topic, partition)
        return -1 if place is None else place.high

    def read(self, limit: int, wait_s: float) -> list[Records]:
        taken = self._ahead.take(limit, wait_s)
        if taken:
            self._call(self._woken.set)
        records = []
        for place, columns, offset, error in taken:
            if error is not None:
                self._reading.note(place.topic, place.partition, offset, error)
            elif columns is not None:
                records.append(self._reading.records(place.topic, place.partition, *columns[:4], columns.headers))
        return records

    def close(self) -> None:
        self._call(self._fetching.cancel)
        self._thread.join(self._answer_s)

    def _call(self, function: Any) -> None:
        # The loop is closed once fetching has failed; `read` says so.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    # ---- the thread that fetches ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._fetching)
        except asyncio.CancelledError:
            pass
        except UnknownFormat as error:
            type(self).refused = str(error)
            self._ahead.fail(Transient(f"{error}: librdkafka reads from now on"))
        except Exception as error:  # noqa: BLE001  # the outermost frame of the thread: `read` raises it
            self._ahead.fail(error)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _fetch(self) -> None:
        """Finds the leaders of the partitions, and keeps a task for each. Raises what ends the reader."""
        client = AIOKafkaClient(**self._settings, request_timeout_ms=int(self._answer_s * 1_000))
        brokers: dict[int, asyncio.Task[None]] = {}
        try:
            known = False
            while True:
                self._woken.clear()
                if not known:
                    known = await self._bootstrapped(client)
                for node in self._leaders(client) if known else ():
                    if node not in brokers:
                        brokers[node] = self._loop.create_task(self._serve(client, node))
                for node in [node for node, task in brokers.items() if task.done()]:
                    brokers.pop(node).result()
                self._expect_an_answer()
                await self._wait()
        finally:
            for task in brokers.values():
                task.cancel()
            await asyncio.gather(*brokers.values(), return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.close(), 1.0)

    async def _bootstrapped(self, client: Any) -> bool:
        try:
            await client.bootstrap()
        except AIOKafkaError as error:
            self._trouble = error
            return False
        return True

    async def _wait(self) -> None:
        # Not `wait_for`: Python 3.11's loses a cancellation that comes as it is woken, as of a close after a read.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._woken.wait()

    def _expect_an_answer(self) -> None:
        """Raises UnknownFormat if none came for long after it was wanted first."""
        if self._answers or not self._ahead.open_places():
            self._awaited_s = None
            return
        self._awaited_s = self._awaited_s or self._loop.time()
        if self._loop.time() - self._awaited_s > _NEVER_HEARD_S:
            why = self._trouble or "none said why"
            raise UnknownFormat(f"no broker has answered a fetch in {_NEVER_HEARD_S:g} s ({why})")

    def _leaders(self, client: Any) -> set[int]:
        """The brokers that lead partitions; asks for the leaders of others."""
        places = self._ahead.open_places()
        topics = {place.topic for place in places}
        if topics - self._topics:
            self._topics |= topics
            client.set_topics(self._topics)
        leaders = set[int]()
        for place in places:
            leader = client.cluster.leader_for_partition(Partition(place.topic, place.partition))
            if leader is None:
                self._unknown(client, place)
            if leader is None or leader < 0:
                self._refresh(client)
            else:
                leaders.add(leader)
        return leaders

    def _refresh(self, client: Any) -> None:
        """Asks who leads what, in the background, unless that was just done."""
        if self._loop.time() >= self._refresh_s:
            self._refresh_s = self._loop.time() + _RETRY_S
            client.force_metadata_update()

    def _unknown(self, client: Any, place: Place) -> None:
        """Kafka does not tell this partition: reports it once that lasts."""
        now_s = self._loop.time()
        place.unknown_since_s = place.unknown_since_s or now_s
        if place.topic in client.cluster.unauthorized_topics:
            self._report(place, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        elif now_s - place.unknown_since_s > _UNKNOWN_TOPIC_S:
            self._report(place, KafkaError.UNKNOWN_TOPIC_OR_PART)

    def _report(self, place: Place, code: int) -> None:
        place.failed = True
        self._ahead.put(Ready(place, offset=place.offset, error=KafkaError(code)))

    # ---- one broker -------------------------------------------------------------------------------------------------

    async def _serve(self, client: Any, node: int) -> None:
        """Fetches from a broker until the connection fails."""
        broker = client.cluster.broker_metadata(node)
        connecting = {name: value for name, value in self._settings.items() if name in _OF_A_CONNECTION}
        connection = Connection(broker.host, broker.port, answer_s=self._answer_s, **connecting)
        try:
            await connection.connect()
            asked = self._ask(client, node, connection)
            while True:
                if not asked:
                    self._woken.clear()
                    asked = self._ask(client, node, connection)
                if not asked:
                    await self._wait()
                    continue
                answer = await connection.answer()
                sets = self._sets(client, answer, asked)
                try:
                    # The broker works on the next one meanwhile. Nothing of it is read before this loop waits again,
                    # so the data of this one stays.
                    asked = self._ask(client, node, connection)
                finally:
                    # Also where the connection is lost by now: the places have moved on.
                    for each in sets:
                        self._unpack(each)
                await asyncio.sleep(answer.throttle_s)
        except (OSError, AIOKafkaError) as error:
            self._trouble = error
            self._refresh(client)
            await asyncio.sleep(_RETRY_S)
        finally:
            connection.abort()

    def _ask(self, client: Any, node: int, connection: Connection) -> _Asked:
        """Asks for what is wanted of a broker, if anything is."""
        leader_of, now_s = client.cluster.leader_for_partition, self._loop.time()
        wanted = [
            place
            for place in self._ahead.open_places()
            if place.retry_s <= now_s
            and self._ahead.has_room(place)
            and leader_of(Partition(place.topic, place.partition)) == node
        ]
        if wanted:
            connection.ask([(place.topic, place.partition, place.offset) for place in wanted])
        return {(place.topic, place.partition): (place, place.offset) for place in wanted}

    def _sets(self, client: Any, answer: Answer, asked: _Asked) -> list[_Set]:
        """What is to be unpacked of an answer; moves the places on."""
        self._answers += 1
        sets = []
        for part in answer.parts:
            if (part.topic, part.partition) not in asked:
                continue
            place, wanted = asked[part.topic, part.partition]
            if place.dropped or place.offset != wanted:
                # Another broker has answered meanwhile.
                continue
            if part.error:
                self._refused(client, place, part)
                continue
            batches, after = batches_of(part.data, wanted=wanted, aborted=part.aborted, where=place.where)
            place.offset, place.high, place.unknown_since_s = after, part.high, None
            if batches:
                place.served = self._answers
            if batches or after >= part.stable:
                sets.append(_Set(place, wanted, part.data, batches, after if after >= part.stable else -1))
        return sets

    def _refused(self, client: Any, place: Place, part: Part) -> None:
        if part.error in _MOVES:
            place.retry_s = self._loop.time() + _RETRY_S
            self._refresh(client)
        else:
            self._report(place, part.error)

    def _unpack(self, found: _Set) -> None:
        place = found.place
        headers = place.topic in self._reading.with_headers
        unpacked = self._unpacker.columns(
            found.data, found.batches, wanted=found.wanted, where=place.where, headers=headers
        )
        for columns in unpacked:
            self._ahead.put(Ready(place, columns))
        if found.end >= 0 and place.end != found.end:
            place.end = found.end
            self._ahead.put(Ready(place, offset=found.end, error=KafkaError(KafkaError._PARTITION_EOF)))


_OF_A_CONNECTION: Final = frozenset(
    (
        *("client_id", "security_protocol", "ssl_context", "sasl_mechanism", "sasl_plain_username"),
        *("sasl_plain_password", "sasl_oauth_token_provider"),
    )
)

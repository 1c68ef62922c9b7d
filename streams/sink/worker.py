"""The sink worker: reads, inserts, and commits offsets once ClickHouse has acknowledged.

One thread reads Kafka and stays in the group, a second decodes, a third inserts: one batch after the other, so that
batches of a partition are acknowledged in the order of its log. What a crash leaves uncommitted is read and inserted
again, which does not change the views.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext

import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.clickhouse.migrations import migrate, require_applied
from schemas.errors import Transient
from schemas.rejects import Rejected, rejected
from streams.kafka.topic_watch import TopicWatch
from streams.kafka.watched import sink_topics
from streams.sink.batches import Batch, Batches, LogPartition
from streams.sink.consumer import SinkConsumer
from streams.sink.letters import Letters
from streams.sink.settings import Progress, SinkSettings
from streams.sink.shared_clicks import SharedClicks
from streams.warehouse.failures import name_of, sentence
from streams.warehouse.rows import Refused, Rows, rows_of
from streams.warehouse.writer import Writer, insert_settings

log = structlog.get_logger(__name__)

# At most so many records are read at once, so that batches are handed over while more is read, and the garbage
# collector finds few messages. `consume` waits READ_S for as many.
READ_ROWS = 2_000
READ_BYTES = 4 << 20
READ_S = 0.05
COMMIT_S = 0.25
# Enough that the inserting thread never waits for the reading one; more would only take more memory.
MOST_IN_FLIGHT = 3
# A sink that reads faster than it inserts is full again and again, each time for the tenths of a second an insert
# takes. After this long it pauses its partitions and polls on, so that the group sees this member alive.
FULL_S = 2.0
# How long partitions that move to another member wait for an insert under way. An insert takes 0.1 s. With ClickHouse
# down waiting is of no use, and the next owner reads the records again.
REVOKE_S = 5.0


def run(
    settings: SinkSettings,
    stop: threading.Event,
    progress: Progress | None = None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Works until `stop` is set, then inserts what was read, commits, and leaves the group.

    ClickHouse may be down at the start or at any time: reading pauses and the worker waits. `beat` is called at each
    turn of the reading loop. Raises SettingsError,
    LostHistory and Transient. Nothing unacknowledged is committed then; another call goes on from what is committed.
    """
    watched = sink_topics(settings.cluster, settings.group, settings.roles)
    watch = TopicWatch(settings.cluster, watched, lambda text: log.warning("topics", text=text))
    watch.look()
    progress = progress or Progress()
    asking = SharedClicks(settings.warehouse, progress) if "outcomes" in settings.roles and not settings.run else None
    with watch, asking or nullcontext():
        _Sink(settings, stop, progress, time.monotonic, beat, watch).run()


class _Sink:
    def __init__(
        self,
        settings: SinkSettings,
        stop: threading.Event,
        progress: Progress,
        clock_s: Callable[[], float],
        beat: Callable[[], None],
        watch: TopicWatch,
    ) -> None:
        self._beat = beat
        self._watch = watch
        self._settings = settings
        self._stop = stop
        self._progress = progress
        self._clock_s = clock_s
        self._roles = settings.topics()
        self._give_up = threading.Event()
        self._batches = Batches(
            full_rows=settings.batch_rows, full_bytes=settings.batch_bytes, oldest_s=settings.batch_s
        )
        self._read_rows = READ_ROWS
        self._in_flight: deque[tuple[Batch, Future[None]]] = deque()
        # One thread each, so that batches are decoded, inserted and acknowledged in the order they were taken.
        self._decoding = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._inserting = ThreadPoolExecutor(1, thread_name_prefix="insert")
        self._writer = Writer(
            self._open,
            give_up=self._give_up,
            settings=insert_settings(clustered=bool(settings.warehouse.cluster), answer_s=settings.answer_s),
            on_wait=self._note_failure,
            on_done=self._note_success,
        )
        # For how long in all ClickHouse took no rows, and since when it takes none now. One tuple, replaced as a whole,
        # because another thread reads it.
        self._waited: tuple[float, float | None] = (0.0, None)
        self._letters = Letters(settings.cluster, give_up=self._give_up)
        self._consumer = SinkConsumer(settings, watch, on_revoke=self._revoked, on_lost=self._lost)
        self._commit_after_s = 0.0

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                self._beat()
                self._turn()
            self._beat()
            self._drain()
        finally:
            self._give_up.set()
            # First, as an insert under way may wait for its batch to be decoded.
            self._inserting.shutdown(wait=True, cancel_futures=True)
            self._decoding.shutdown(wait=True, cancel_futures=True)
            self._beat()
            self._consumer.close()
            self._beat()
            self._writer.close()
            self._update_progress()

    def _turn(self) -> None:
        self._watch.check()
        self._read()
        self._hand_over()
        self._collect()
        if not self._progress.paused:
            self._wait_for_room()
        self._pause_or_resume()
        if self._clock_s() >= self._commit_after_s:
            self._commit_after_s = self._clock_s() + COMMIT_S
            self._consumer.commit(wait=False)
            self._update_progress()

    def _read(self) -> None:
        with self._progress.stage("read"):
            pieces = self._consumer.read(self._read_rows, READ_S)
        for place, piece in pieces.items():
            self._batches.add(place, piece, now_s=self._clock_s())
        rows, size_bytes = sum(map(len, pieces.values())), sum(piece.size_bytes for piece in pieces.values())
        if size_bytes:
            # As many records next time as fit READ_BYTES if they are as large: 2,000 packed totals would be 200 MB.
            self._read_rows = max(1, min(READ_ROWS, READ_BYTES * rows // size_bytes))

    def _hand_over(self) -> None:
        while len(self._in_flight) < MOST_IN_FLIGHT:
            topic = self._batches.due(self._clock_s())
            if topic is None:
                return
            self._submit(topic)

    def _submit(self, topic: str) -> None:
        batch = self._batches.take(topic, now_s=self._clock_s())
        decoded = self._decoding.submit(self._decode, batch)
        self._in_flight.append((batch, self._inserting.submit(self._insert, batch, decoded)))

    def _collect(self) -> None:
        """Marks acknowledged batches as done, oldest first. Raises what made an insert fail."""
        while self._in_flight:
            batch, future = self._in_flight[0]
            if not future.done() or future.cancelled():
                return
            future.result()
            self._in_flight.popleft()
            for place, next_offset in batch.next_offsets():
                self._consumer.done(place, next_offset)

    def _wait_for_room(self) -> None:
        """Waits without reading. Pausing would throw away what librdkafka has fetched ahead, and costs 0.8 s."""
        end_s = self._clock_s() + FULL_S
        while self._in_flight and self._full_share >= 1 and (left_s := end_s - self._clock_s()) > 0:
            wait([self._in_flight[0][1]], timeout=left_s)
            self._collect()
            self._hand_over()

    def _pause_or_resume(self) -> None:
        share = self._full_share
        if not self._progress.paused and share >= 1:
            self._progress.paused = True
            self._consumer.hold(True)
        elif self._progress.paused and share <= 0.5:
            self._progress.paused = False
            self._consumer.hold(False)

    def _drain(self) -> None:
        """Inserts what was read. What ClickHouse does not take within `drain_s` stays uncommitted."""
        end_s = self._clock_s() + self._settings.drain_s
        for topic in self._batches.topics():
            while topic in self._batches.topics():
                self._submit(topic)
        wait([future for _, future in self._in_flight], timeout=max(0.0, end_s - self._clock_s()))
        self._give_up.set()
        self._inserting.shutdown(wait=True, cancel_futures=True)
        try:
            self._collect()
        except Transient as failure:
            log.warning("stopped with rows not inserted; the next start reads them again", failure=str(failure))
        self._consumer.commit(wait=True)

    def _revoked(self, places: Sequence[LogPartition]) -> None:
        self._forget(places)
        inserts = [future for batch, future in self._in_flight if any(map(batch.touches, places))]
        wait(inserts, timeout=REVOKE_S)
        # A failure is raised by the loop, not in a callback of the consumer.
        if not any(future.done() and not future.cancelled() and future.exception() for _, future in self._in_flight):
            self._collect()

    def _lost(self, places: Sequence[LogPartition]) -> None:
        self._progress.recoveries += 1
        self._forget(places)

    def _forget(self, places: Sequence[LogPartition]) -> None:
        for place in places:
            self._batches.forget(place)

    def _decode(self, batch: Batch) -> tuple[Rows, list[Refused]]:
        # In a thread of its own, because half of an insert is waiting for ClickHouse.
        with self._progress.stage("decode"):
            return rows_of(self._roles[batch.topic], batch.values(), run=self._settings.run)

    # The inserting thread's part, down to `_note_success`.

    def _insert(self, batch: Batch, decoded: Future[tuple[Rows, list[Refused]]]) -> None:
        role = self._roles[batch.topic]
        rows, refused = decoded.result()
        self._progress.insert_since_s = self._clock_s()
        with self._progress.stage("insert"):
            unwritable = self._writer.write(rows)
        self._progress.insert_since_s = None
        self._set_aside(role, [_letter(batch, record) for record in refused + unwritable])
        written = self._progress.rows_written
        missing = sum(record.rows for record in unwritable)
        written[rows.table] = written.get(rows.table, 0) + len(rows) - missing

    def _set_aside(self, role: str, letters: Sequence[Rejected]) -> None:
        for letter in letters:
            self._progress.rejected[letter.reason] = self._progress.rejected.get(letter.reason, 0) + 1
            log.warning(
                "record set aside",
                reason=letter.reason,
                detail=letter.detail,
                topic=letter.topic,
                partition=letter.partition,
                offset=letter.offset,
            )
        # A dead letter about a dead letter would be read here again, and refused again, for ever.
        if role != "rejects":
            self._letters.send(letters)

    def _open(self) -> Client:
        warehouse = self._settings.warehouse
        client = warehouse.connect_to_server(answer_s=self._settings.answer_s)
        try:
            if self._settings.migrate:
                migrate(client, database=warehouse.database, cluster=warehouse.cluster)
            client.database = warehouse.database
            require_applied(client, database=warehouse.database)
        except BaseException:
            client.close()
            raise
        return client

    def _note_failure(self, failure: ClickHouseError) -> None:
        waited_s, since_s = self._waited
        if since_s is None:
            # The wait began with the insert that failed.
            self._waited = waited_s, self._progress.insert_since_s or self._clock_s()
            log.warning("ClickHouse does not take rows; trying again", failure=sentence(failure))
        name = name_of(failure)
        self._progress.retried[name] = self._progress.retried.get(name, 0) + 1
        self._progress.waiting_for = sentence(failure)

    def _note_success(self) -> None:
        waited_s, since_s = self._waited
        if since_s is not None:
            self._waited = waited_s + self._clock_s() - since_s, None
            log.info("ClickHouse takes rows again", retries=self._progress.retries)
        self._progress.inserts += 1
        self._progress.waiting_for = ""

    @property
    def _rows_held(self) -> int:
        return self._batches.rows + sum(len(batch) for batch, _ in self._in_flight)

    @property
    def _bytes_held(self) -> int:
        return self._batches.size_bytes + sum(batch.size_bytes for batch, _ in self._in_flight)

    @property
    def _full_share(self) -> float:
        """How much of the memory allowed is in use, by records or by bytes, whichever is nearer to its bound."""
        return max(self._rows_held / self._settings.most_rows_held, self._bytes_held / self._settings.most_bytes_held)

    def _update_progress(self) -> None:
        now_s = self._clock_s()
        held_since_s = [batch.since_s for batch, _ in self._in_flight]
        if self._batches.since_s is not None:
            held_since_s.append(self._batches.since_s)
        self._progress.rows_held = self._rows_held
        self._progress.bytes_held = self._bytes_held
        self._progress.held_s = now_s - min(held_since_s, default=now_s)
        waited_s, since_s = self._waited
        self._progress.waited_s = waited_s + (0.0 if since_s is None else now_s - since_s)
        self._progress.partitions = self._consumer.partitions
        self._progress.lag = self._consumer.lag()
        self._progress.last_commit_ms = self._consumer.last_commit_ms


def _letter(batch: Batch, refused: Refused) -> Rejected:
    partition, offset, timestamp_ms, value = batch.record(refused.index)
    place = {"partition": partition, "offset": offset, "record_ts_ms": timestamp_ms}
    detail = refused.detail if refused.rows == 1 else f"{refused.rows} rows of it: {refused.detail}"
    return rejected(refused.reason, detail, value, topic=batch.topic, **place)

"""The pacing worker: changes of campaigns and their totals in, decisions out, and views of what it knows.

Faust does group membership, the assignment of the changelog together with the inputs, and reading what comes. It does
not read back what was there before (`state`, `history`), it does not decide where to start (see `transport`) nor when a
row is safe, and it does not write (`outbox`): rows are awaited before the position they state moves. Its exactly-once
mode, with one transactional producer a partition, would fence the zombies that `changelog` finds, but then its commits
would have to be right. Its store is memory://, because state is read back in seconds, and a local copy could disagree
with the one in Kafka.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, cast

import structlog
from faust.types import TP

from schemas.events import MAX_OWN_RECORD_BYTES, MAX_TS_MS, MIN_TS_MS
from schemas.pacing import PacingDecision
from schemas.packed import campaign_totals
from schemas.reading import Unreadable, read
from schemas.totals import CampaignTotal
from streams.kafka.partitioners import java_partition
from streams.kafka.topic_watch import TopicWatch
from streams.pacing import history
from streams.pacing.clock import EventClock
from streams.pacing.decisions import ROLE, publish
from streams.pacing.faust_app import faust_app, state_table
from streams.pacing.history import read_history, take_change
from streams.pacing.join_progress import JoinProgress
from streams.pacing.law import LawSettings
from streams.pacing.leases import last_leases
from streams.pacing.outbox import Outbox
from streams.pacing.settings import PacingProgress, PacingSettings
from streams.pacing.shard import Forgotten, Shard, Write
from streams.pacing.shared_budgets import SharedBudgets
from streams.pacing.transport import Consumer, EraMessage, Transport
from streams.pacing.view import CampaignView, Summary, WorkerView, campaign_view, summary, worker_view

log = structlog.get_logger("pace")

# Twice what Faust delivers in a second (11,000 records, measured on two cores): seldom full before the tick. Packed
# totals take a tenth of this when they are decoded.
_INBOX: Final = 20_000
_INBOX_BYTES: Final = 4 << 20
_KNOWN_HOMES: Final = 100_000
# Rows of the changelog that are written in a second, per partition: those of 100,000 campaigns within two minutes.
_ROWS_A_SECOND: Final = 1_500
_ROWS_AT_END: Final = 20_000
_DRAIN_BOUND_S: Final = 10.0
# It is known after some seconds how far the join has counted, also where the join is down. Where Kafka does not say it,
# pacing begins all the same.
_UNKNOWN_S: Final = 15.0
# A total of a quarter-hour this far after it was written is no join's: one would put the clock years ahead for good.
_FAR_AHEAD_MS: Final = 366 * 86_400_000
# Of a tick: the least that agents have it for themselves.
_COLLECTING: Final = 0.3
# Shared budgets are divided so often.
_DIVIDE_MS: Final = 5_000


class PacingApp:
    """The shell around the shards: what comes from Kafka goes into them, what they return goes to Kafka.

    `app` is Faust's, not started. `partitions`: see `topics.prepare_topics`. `beat` is called at each turn of the loop
    that counts and decides, and while it waits for Kafka. Once `watch` has seen that a topic changed, the app crashes
    and writes nothing more.
    """

    def __init__(
        self,
        settings: PacingSettings,
        *,
        partitions: int,
        progress: PacingProgress,
        watch: TopicWatch,
        join: JoinProgress,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self._watch = watch
        self._join = join
        self._beat = beat
        self._outbox = Outbox(settings.cluster, beat)
        self.clock = EventClock()
        self.passed_over: Counter[str] = Counter()
        self._progress = progress
        self.app = faust_app(settings, partitions=partitions)
        self.app.transport = Transport(self.app.conf.broker_consumer, self.app, self)
        self.table = state_table(self.app, partitions=partitions)
        self._law = LawSettings(window_s=settings.law_window_s, blind_s=settings.blind_s, overlap_s=settings.overlap_s)
        self.table.shard = lambda: Shard(self._law)
        self._unknown_until_s = 0.0
        # By partition, up to where the history of campaigns was read when it was taken over.
        self._history: dict[int, int] = {}
        self.app.on_partitions_revoked.connect(self._pause)
        self.app.on_rebalance_complete.connect(self._take_ownership)
        # What the group has refused this member with.
        self.group_error: Exception | None = None
        self._partitions, self._shared = partitions, SharedBudgets()
        self._divided = False, 0
        self._inbox: list[EraMessage] = []
        self._inbox_bytes = 0
        # The partition of a campaign's totals; to compute it takes 3 µs.
        self._home = lru_cache(_KNOWN_HOMES)(lambda campaign_id: java_partition(campaign_id.encode(), partitions))
        self._full, self._room, self._drained = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._draining = False
        self._listen("campaign_totals")
        self._listen(history.ROLE)
        self.app.task(self._guarded_work)

    @property
    def shards(self) -> dict[int, Shard]:
        """The shards this worker owns, by partition; empty while partitions move."""
        return {partition: shard for partition, shard in self.table.shards.items() if partition in self.table.live}

    def position(self, tp: TP) -> int | None:
        """See `transport.Sources`."""
        shard = self.shards.get(tp.partition)
        if shard is None:
            return None
        is_history = tp.topic == self.settings.cluster.topic(history.ROLE)
        return self._history[tp.partition] if is_history else shard.position

    def answered(self) -> None:
        """See `transport.Sources`."""
        self._progress.answered_s = time.monotonic()

    def group_failed(self, error: Exception) -> None:
        """See `transport.Sources`."""
        self.group_error = error

    def may_commit(self) -> bool:
        """See `transport.Sources`."""
        return not self._watch.changed

    def view(self) -> WorkerView:
        """What this worker knows. For the thread of the app."""
        anomalies = sum((shard.anomalies for shard in self.shards.values()), self.passed_over)
        wall_ms = round(time.time() * 1000)
        return worker_view(self.shards, event_lag_ms=self.clock.behind_ms(wall_ms=wall_ms), passed_over=anomalies)

    def summary(self) -> Summary:
        """What metrics say. For the thread of the app."""
        wall_ms = round(time.time() * 1000)
        behind = [
            None if counted_ms is None else wall_ms - counted_ms
            for partition, shard in self.shards.items()
            for counted_ms in [self._join.counted_to_ms(partition, reached=self._reached(partition, shard))]
        ]
        known = [each for each in behind if each is not None]
        return summary(
            self.shards,
            event_lag_ms=self.clock.behind_ms(wall_ms=wall_ms),
            counted_behind_ms=max(known) if known and len(known) == len(behind) else None,
            passed_over=sum((shard.anomalies for shard in self.shards.values()), self.passed_over),
        )

    def view_of(self, campaign_id: str) -> CampaignView | None:
        """A campaign and its days; None when this worker does not know it. For the thread of the app."""
        views = (campaign_view(shard, campaign_id) for shard in self.shards.values())
        return next((campaign for campaign in views if campaign is not None), None)

    async def _pause(self, *_args: Any, **_more: Any) -> None:
        self.table.live.clear()

    async def _take_ownership(self, *_args: Any, **_more: Any) -> None:
        # Nothing is passed on before the seek that follows. Faust also calls this while partitions are moving again
        # already.
        generation_id = self.table.generation_id
        topic = self.settings.cluster.topic("campaign_totals")
        owned = {tp.partition for tp in self.app.consumer.assignment() if tp.topic == topic}
        await self._guarded(asyncio.to_thread(self._read_back, owned, generation_id))
        if not generation_id == self.table.generation_id == self.app.consumer_generation_id:
            return
        rows = []
        for partition in sorted(owned):
            shard = self.table.of(partition)
            rows += [(partition, row) for row in shard.open(epoch_s=int(time.time()), owner=secrets.randbits(63))]
            if shard.anchor:
                self.clock.resumed(shard.anchor)
        # A look waits for Kafka, and this thread answers `/pacing`.
        await self._guarded(asyncio.to_thread(self._watch.look_again))
        await self._guarded(self._write(rows))  # Faust logs what a signal handler raises, and goes on
        if not generation_id == self.table.generation_id == self.app.consumer_generation_id:
            return
        self.table.live = owned
        self._unknown_until_s = time.monotonic() + _UNKNOWN_S
        self.answered()
        log.info("partitions assigned", partitions=sorted(owned))
        self._progress.ready = True

    def _read_back(self, partitions: Collection[int], generation_id: int) -> None:
        """Reads the changelog, and the history of campaigns. For a thread."""
        table, cluster = self.table, self.settings.cluster
        table.read_back(cluster, self.settings.changelog, partitions, generation_id=generation_id)
        shards = {partition: table.of(partition) for partition in partitions}
        self._history = read_history(cluster, shards, self.passed_over, lambda: table.generation_id == generation_id)

    async def _work(self) -> None:
        """Hands the shards what the agents collected in a tick, then decides: a row is written at most once a tick.

        A tick is from one beginning to the next, so that what it takes is not added to what a click waits for; agents
        collect in a part of it at least.
        """
        tick_s, begun_s = self.settings.tick_s, 0.0
        while not self._draining:
            self._beat()
            wait_s = max(begun_s + tick_s - time.monotonic(), _COLLECTING * tick_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), min(wait_s, tick_s))
            begun_s = time.monotonic()
            messages, self._inbox, self._inbox_bytes = self._inbox, [], 0
            self._full.clear()
            self._room.set()
            self._watch.check()
            self._announce(messages)
            self._count(messages)
            await self._tick()
            await self._flush(_ROWS_A_SECOND * tick_s)
            if self.table.live:
                self._progress.ticks += 1
        # All that is counted, so that the next start has little to count again.
        while any(shard.unflushed() for shard in self.shards.values()):
            self._beat()
            await self._flush(_ROWS_AT_END)

    def _fresh(self, role: str, messages: Sequence[EraMessage]) -> dict[int, list[EraMessage]]:
        """Those of a role, by partition, without what was fetched before the last seek: it will come again.

        Nothing may be awaited between the answer and its use.
        """
        era, topic = cast(Consumer, self.app.consumer).era, self.settings.cluster.topic(role)
        fresh: defaultdict[int, list[EraMessage]] = defaultdict(list)
        for message in messages:
            if message.topic == topic and message.era == era and message.partition in self.table.live:
                fresh[message.partition].append(message)
        return fresh

    def _count(self, messages: Sequence[EraMessage]) -> None:
        for partition, fresh in self._fresh("campaign_totals", messages).items():
            shard = self.table.shards[partition]
            totals = []
            for message in fresh:
                written_ms = round(message.timestamp * 1000)
                for total in self._totals(message):
                    if not MIN_TS_MS <= total.quarter <= min(MAX_TS_MS, written_ms + _FAR_AHEAD_MS):
                        self.passed_over["out_of_time"] += 1
                        continue
                    totals.append(total)
                    self.clock.seen(total.quarter, written_ms=written_ms)
            shard.count(totals)
            shard.advance(fresh[-1].offset + 1, epoch=shard.epoch)

    def _announce(self, messages: Sequence[EraMessage]) -> None:
        for partition, fresh in self._fresh(history.ROLE, messages).items():
            for message in fresh:
                take_change(self.table.shards[partition], message.key, message.value, self.passed_over)

    def _totals(self, message: Any) -> Iterator[CampaignTotal]:
        """The totals in a record, without those of campaigns that belong in another partition, which are counted."""
        totals = read(message.value, campaign_totals, max_bytes=MAX_OWN_RECORD_BYTES, packed=True)
        if isinstance(totals, Unreadable):
            self.passed_over[totals.reason.value] += 1
            return
        for total in totals:
            if self._home(total.campaign_id) == message.partition:
                yield total
            else:
                self.passed_over["wrong_key"] += 1

    async def _tick(self) -> None:
        wall_ms = round(time.time() * 1000)
        event_ms = self.clock.now_ms(wall_ms=wall_ms)
        decided, forgotten = list[tuple[int, PacingDecision]](), list[tuple[int, str]]()
        for partition, shard in self.shards.items():
            reached = self._reached(partition, shard)
            first_end = self._join.first_end(partition)
            if first_end is None or (not shard.begun and reached < first_end):
                continue  # it counts what came while no worker did
            counted_ms = self._join.counted_to_ms(partition, reached=reached)
            leases = {}
            if not shard.begun:
                if counted_ms is None and time.monotonic() < self._unknown_until_s:
                    continue
                if wall_ms - (counted_ms or 0) > self._law.overlap_s * 1_000:
                    leases = await asyncio.to_thread(last_leases, self.settings.cluster, partition)
                    if self.shards.get(partition) is not shard:
                        continue  # it moved away meanwhile
            told = shard.tick(
                event_ms=event_ms,
                counted_to_ms=None if counted_ms is None else counted_ms - self.clock.lag_ms,
                behind_ms=wall_ms - event_ms,
                anchor=self.clock.anchor,
                leases=leases,
            )
            forgotten += [(partition, one.campaign_id) for one in told if isinstance(one, Forgotten)]
            decided += [(partition, one) for one in told if isinstance(one, PacingDecision)]
        self._divide(event_ms)
        if decided or forgotten:
            await publish(decided, forgotten, self.settings.cluster.topic(ROLE), self._outbox.send)

    def _divide(self, event_ms: int) -> None:
        """Gives campaigns of shared budgets their parts, for the next tick; at once where partitions have moved."""
        shards = self.shards.values()
        all_known = len(self.shards) == self._partitions and all(shard.begun for shard in shards)
        if (all_known, event_ms // _DIVIDE_MS) == self._divided:
            return
        self._divided = all_known, event_ms // _DIVIDE_MS
        parts = self._shared.divide((each for shard in shards for each in shard.members()), all_known=all_known)
        for shard in shards:
            shard.take_parts(parts)

    def _reached(self, partition: int, shard: Shard) -> int:
        tp = TP(self.settings.cluster.topic("campaign_totals"), partition)
        return cast(Consumer, self.app.consumer).reached(tp, counted=shard.position)

    async def _flush(self, most: float) -> None:
        """Writes rows that have changed; with many partitions, about so many of all together."""
        shards = [(partition, shard, shard.epoch) for partition, shard in self.shards.items()]
        each = max(1, round(most / max(len(shards), 1)))
        rows = [(partition, row) for partition, shard, _ in shards for row in shard.flush(each)]
        if not rows:
            return
        await self._write(rows)
        for _, shard, epoch in shards:
            shard.flushed(epoch=epoch)

    async def _write(self, rows: Sequence[tuple[int, Write]]) -> None:
        """Sends rows, each with its partition, in order; returns when all are acknowledged. Raises Transient."""
        records = [(partition, row.key, row.value) for partition, row in rows]
        await self._outbox.send(self.settings.changelog, records)

    def _listen(self, role: str) -> None:
        # Raw, or Faust would decode JSON itself, and a malformed value would end the stream without an error.
        topic = self.app.topic(
            self.settings.cluster.topic(role),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
        )

        async def collect(stream: Any) -> None:
            # Not `stream.take`: an error in its background task is not reported.
            async for event in stream.events():
                self._inbox.append(event.message)
                self._inbox_bytes += len(event.message.value or b"")
                if len(self._inbox) >= _INBOX or self._inbox_bytes >= _INBOX_BYTES:
                    self._full.set()
                    self._room.clear()
                    await self._room.wait()

        self.app.agent(topic, name=f"pace.{role}")(lambda stream: self._guarded(collect(stream)))

    async def drain(self) -> None:
        """Counts and decides on what was received, then takes no more. Call it before the app is stopped."""
        self._draining = True
        self._full.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), _DRAIN_BOUND_S)

    async def _guarded_work(self) -> None:
        try:
            await self._guarded(self._work())
        finally:
            self._drained.set()

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as failure:
            # Faust would log it, call the event done and go on with the next. But nothing may build on a row that may
            # not be in the changelog: the app ends, and the next start goes on from what is there.
            await self.app.crash(failure)
            raise

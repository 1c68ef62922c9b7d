"""Faust's Kafka driver with other rules for where to start reading and which records to deliver.

Three things differ from Faust's own. Reading starts where the changelog says (`changelog.Origin`), not at the group's
offsets. Records of aborted transactions are left out, without Faust's exactly-once mode. And no record is delivered
that was fetched before the last seek: every record of a source carries the *era* in which it was fetched, and a seek
ends the era, so that records which are still in a queue of Faust can be recognised as old. Within an era, the records
of a partition come in order and without a gap from the position that was sought. Only so is it true that everything
below the next offset is counted.

Records that were fetched and not delivered are sought again: Faust drops records that arrive while partitions move.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, cast

import aiokafka.errors  # type: ignore[import-untyped]  # aiokafka publishes no types
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from faust.types.app import AppT

from schemas.errors import LostHistory
from streams.pacing.changelog import BEGINNING
from streams.pacing.settings import changelog_topic

# The era in which nothing is delivered.
CLOSED = -1


class Sources(Protocol):
    """What the driver asks of the app."""

    def position(self, tp: TP) -> int | None:
        """The next offset to read, or BEGINNING; None for a partition that must not be read now."""
        ...

    def answered(self) -> None:
        """Kafka has answered a heartbeat of this member of the group. Called from the consumer's thread."""
        ...

    def group_failed(self, error: Exception) -> None:
        """The group refuses this member for good. Called from the consumer's thread."""
        ...

    def may_commit(self) -> bool:
        """Whether the topics are still those whose offsets are committed."""
        ...


class EraMessage(ConsumerMessage):
    """A record with the era in which it was fetched."""

    __slots__ = ("era",)
    era: int


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that runs aiokafka's consumer."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust sets 'read_committed' in its exactly-once mode only; aiokafka reads this attribute when it starts.
        # Without it, a final total of an aborted transaction would be counted, and the true one would be ignored.
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_start(self) -> None:
        """Faust calls this in the thread."""
        await super().on_start()
        coordinator, sources = self._ensure_consumer()._coordinator, cast(Transport, self.transport).sources
        # aiokafka says nowhere when Kafka last answered.
        send = coordinator._do_heartbeat

        async def heartbeat() -> bool:
            answered: bool = await send()
            if answered:
                sources.answered()
            return answered

        coordinator._do_heartbeat = heartbeat
        # It keeps an error of the group until records are asked for. Faust asks for none before it has partitions, so
        # both would wait for ever.
        keep = coordinator._push_error_to_user

        def failed(error: Exception) -> Any:
            sources.group_failed(error)
            return keep(error)

        coordinator._push_error_to_user = failed

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:
        """The answer of `fun`, called in the thread. Raises ConsumerNotStarted once the thread has ended.

        Faust would wait for the answer for ever. A crash of the app ends the thread, and on a busy machine that came
        before the last commit, for which the consumer waits when it is stopped.
        """
        answer = asyncio.ensure_future(super().call_thread(fun, *args, **kwargs))
        ended = asyncio.ensure_future(self._shutdown.wait())
        try:
            await asyncio.wait({answer, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ConsumerNotStarted("the consumer's thread has ended")
            return answer.result()
        finally:
            answer.cancel()
            ended.cancel()

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        """Whether the group's offsets were committed. Nothing is lost without that, see `changelog`."""
        if not cast(Transport, self.transport).sources.may_commit():
            return False
        try:
            return bool(await super().commit(offsets))
        except ConsumerNotStarted:
            return False


class Consumer(driver.Consumer):
    """Starts where the changelog says; see the module's docstring."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.era = CLOSED
        # Incremented when a seek begins and when it has ended.
        self._seeks = 0
        self._delivered: dict[TP, int] = {}
        self._reached: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def stop_flow(self) -> None:
        """Faust calls this when partitions are about to move, and when the app stops."""
        self.era = CLOSED
        self._seeks += 1
        super().stop_flow()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109  Faust's signature
        """Fetched records, without those fetched before a seek or a stop."""
        seeks = self._seeks
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        positions = self._positions()
        dropped: set[TP] = set()
        for tp, record in self.scheduler.iterate(records):
            wanted = active is None or tp in active or tp in self._buffered_partitions
            if wanted and self.flow_active and self._seeks == seeks:
                message = cast(EraMessage, EraMessage.from_message(self._to_message(tp, record), tp))
                message.generation_id = self.app.consumer_generation_id
                message.era = seeks
                self._delivered[tp] = message.offset + 1
                yield tp, message
            else:
                dropped.add(tp)
        if self._seeks == seeks and not dropped:
            self._reached.update(positions)
        if dropped:
            # The error means that partitions have moved away meanwhile. Those that stay are sought after the move.
            with contextlib.suppress(aiokafka.errors.IllegalStateError):
                await self._seek_again(dropped)

    def reached(self, tp: TP, *, counted: int) -> int:
        """The offset below which there is nothing left to count, when all below `counted` is.

        It passes offsets without a record, such as the marker of the last transaction, which `counted` never does.
        """
        if counted < self._delivered.get(tp, counted):
            return counted
        return max(counted, self._reached.get(tp, counted))

    def _positions(self) -> dict[TP, int]:
        """Where the consumer goes on, behind all records that it has handed out."""
        subscription = self._thread._ensure_consumer()._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return {}
        states = {TP(tp.topic, tp.partition): assignment.state_value(tp) for tp in assignment.tps}
        return {tp: state.position for tp, state in states.items() if state is not None and state.has_valid_position}

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Offsets without a record, such as those of transactions' markers: from the first, up to but not including the
        second, which is that of a record.

        Faust takes that record for a part of the gap as well. It was then acknowledged twice, and a commit ended at
        each record behind a marker: offsets were committed later and later, and memory grew by each record.
        """
        await super()._add_gap(tp, offset_from, offset_to - 1)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Seeks. Records that were fetched before are not delivered any more."""
        self._seeks += 1
        self._delivered, self._reached = {}, {}
        try:
            await super().seek_wait(partitions)
        finally:
            self._seeks += 1

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Faust calls this before it reads on: after a rebalance, after recovery, and when it has lost its position."""
        committed = await super().seek_to_committed()
        return {**committed, **await self._seek_sources()}

    async def _seek_again(self, dropped: set[TP]) -> None:
        if self.era != CLOSED and any(not self._is_changelog_tp(tp) for tp in dropped):
            await self._seek_sources()

    async def _seek_sources(self) -> dict[TP, int]:
        self.era = CLOSED
        sources = cast(Transport, self.transport).sources
        wanted = {tp: sources.position(tp) for tp in self.assignment() if not self._is_changelog_tp(tp)}
        positions = {tp: position for tp, position in wanted.items() if position is not None}
        earliest = await self.earliest_offsets(*positions) if positions else {}
        for tp, position in positions.items():
            if position == BEGINNING:
                positions[tp] = earliest[tp]
            elif position < earliest[tp]:
                lost = LostHistory(
                    f"pacing needs {tp.topic}[{tp.partition}] from offset {position}, Kafka has it from "
                    f"{earliest[tp]}: restore the retention, or stop the pacing workers and delete "
                    f"topic {changelog_topic(self.app.conf.id)}: the next start counts again what Kafka has"
                )
                await self.app.crash(lost)
                raise lost
        await self.seek_wait(positions)
        self.era = self._seeks
        return positions


class Transport(driver.Transport):
    """Kafka by way of the consumer above."""

    Consumer = Consumer

    def __init__(self, url: Any, app: AppT, sources: Sources) -> None:
        super().__init__(url, app)
        self.sources = sources

"""Faust's Kafka driver, told where to start and what to pass on.

Three things differ. Reading goes on where the changelog says (`changelog.Origin`), not at the group's offsets. Records
of aborted transactions are left out, without Faust's exactly-once mode. And nothing is passed on that was asked for
before the last seek: every record of a source carries the *era* it was fetched in, which a seek ends, so that one still
in some queue of Faust can be told from those after it. Within an era, records of a partition come in order and without
a hole from the position sought; that is what makes "everything below this offset is counted" true.

What was fetched and not passed on is sought again. Faust drops records that arrive while partitions move and goes back
to the committed offsets; changelogs have none, so recovery waited for ever for records already read (one in thirty
moves of a partition, on a loaded machine).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, cast

import aiokafka.errors  # type: ignore[import-untyped]  # aiokafka publishes no types
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from faust.types.app import AppT

from schemas.errors import LostHistory
from streams.pacing.changelog import BEGINNING

CLOSED = -1


class Sources(Protocol):
    """What the driver asks the app."""

    def position(self, tp: TP) -> int | None:
        """Next offset to read, or BEGINNING; None for a partition that is not read now."""
        ...


class EraMessage(ConsumerMessage):
    """A record and the era it was fetched in."""

    __slots__ = ("era",)
    era: int


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka's consumer runs."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust passes 'read_committed' in its exactly-once mode alone; aiokafka reads this when it starts. A final
        # total of an aborted transaction would be folded, and the true one passed over.
        consumer._isolation_level = "read_committed"
        return consumer

    async def seek_to_recovered(self, changelogs: set[TP]) -> None:
        """Seeks changelogs to the last record that recovery has taken in; it passes over those it knows."""
        await self.call_thread(self._seek_to_recovered, changelogs)

    async def _seek_to_recovered(self, changelogs: set[TP]) -> None:
        # Offsets are looked up in the step that seeks: recovery sets them first and seeks then, so whichever of the
        # two seeks comes last is right.
        offsets = cast(Any, self.app.tables).recovery.active_offsets
        for tp in changelogs & self.assignment():
            offset = offsets.get(tp)
            if offset is not None:
                self._ensure_consumer().seek(tp, max(offset, 0))
                self.consumer._read_offset.pop(tp, None)


class Consumer(driver.Consumer):
    """Starts where the changelog says; see the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.era = CLOSED
        # Grows when a seek begins and when it has ended.
        self._seeks = 0

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def stop_flow(self) -> None:
        """Called when partitions are about to move and when the app stops."""
        self.era = CLOSED
        self._seeks += 1
        super().stop_flow()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109  Faust's signature
        """Fetched records, without those that a seek or a stop has overtaken."""
        seeks = self._seeks
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        missed: set[TP] = set()
        for tp, record in self.scheduler.iterate(records):
            wanted = active is None or tp in active or tp in self._buffered_partitions
            if wanted and self.flow_active and self._seeks == seeks:
                message = cast(EraMessage, EraMessage.from_message(self._to_message(tp, record), tp))
                message.generation_id = self.app.consumer_generation_id
                message.era = seeks
                yield tp, message
            else:
                missed.add(tp)
        if missed:
            # Partitions that moved away meanwhile are somebody else's; those that stay are sought after the move.
            with contextlib.suppress(aiokafka.errors.IllegalStateError):
                await self._seek_again(missed)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Seeks; what was asked for before is not passed on any more."""
        self._seeks += 1
        try:
            await super().seek_wait(partitions)
        finally:
            self._seeks += 1

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Every way on goes through here: after a rebalance, after recovery, and when Faust lost its place."""
        committed = await super().seek_to_committed()
        return {**committed, **await self._seek_sources()}

    async def _seek_again(self, missed: set[TP]) -> None:
        changelogs = {tp for tp in missed if self._is_changelog_tp(tp)}
        if changelogs:
            await cast(ConsumerThread, self._thread).seek_to_recovered(changelogs)
        if missed - changelogs and self.era != CLOSED:
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
                    f"{earliest[tp]}: restore retention, or give another app id to count anew what is left"
                )
                await self.app.crash(lost)
                raise lost
        await self.seek_wait(positions)
        self.era = self._seeks
        return positions


class Transport(driver.Transport):
    """Kafka through the consumer above."""

    Consumer = Consumer

    def __init__(self, url: Any, app: AppT, sources: Sources) -> None:
        super().__init__(url, app)
        self.sources = sources

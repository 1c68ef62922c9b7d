"""Faust's Kafka driver, told where to start and what to pass on.

Three things differ. Reading goes on where the changelog says (`changelog.Origin`), not at the group's offsets. Records
of aborted transactions are left out, without Faust's exactly-once mode. And every record carries the *era* it was
fetched in: a seek ends an era and begins the next, so that a record still in some queue of Faust from before a seek or
rebalance can be told from those after it. Within an era, records of a partition come in order and without a hole from
the position sought; that is what makes "everything below this offset is counted" true.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, cast

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


class Consumer(driver.Consumer):
    """Starts where the changelog says; see the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.era = CLOSED
        self._eras = 0

    @property
    def _sources(self) -> Sources:
        return cast(Transport, self.transport).sources

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> EraMessage:
        message = cast(EraMessage, EraMessage.from_message(super()._to_message(tp, record), tp))
        message.generation_id = self.app.consumer_generation_id
        return message

    def stop_flow(self) -> None:
        """Called when partitions are about to move and when the app stops."""
        self.era = CLOSED
        super().stop_flow()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109  Faust's signature
        """Fetched records, those of former eras left out."""
        era, dropped = self.era, False
        async for tp, message in super().getmany(timeout):
            if self._is_changelog_tp(tp):
                yield tp, message
            elif era != self.era or era == CLOSED:
                dropped = True
            else:
                cast(EraMessage, message).era = era
                yield tp, message
        if dropped and self.era != CLOSED:
            # They were fetched, so aiokafka would not fetch them again.
            await self._seek_sources()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Every way on goes through here: after a rebalance, after recovery, and when Faust lost its place."""
        committed = await super().seek_to_committed()
        return {**committed, **await self._seek_sources()}

    async def _seek_sources(self) -> dict[TP, int]:
        self.era = CLOSED
        wanted = {tp: self._sources.position(tp) for tp in self.assignment() if not self._is_changelog_tp(tp)}
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
        if positions:
            await self.seek_wait(positions)
        self._eras += 1
        self.era = self._eras
        return positions


class Transport(driver.Transport):
    """Kafka through the consumer above."""

    Consumer = Consumer

    def __init__(self, url: Any, app: AppT, sources: Sources) -> None:
        super().__init__(url, app)
        self.sources = sources

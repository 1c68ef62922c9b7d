"""Faust's Table, holding a shard for each partition: restored from the changelog, and written row by row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import faust
from faust.types import TP, EventT

from streams.pacing.shard import Shard, Write

Result = TypeVar("Result")


class StateTable(faust.Table[bytes, bytes]):
    """The changelog of all shards of this worker.

    Faust assigns the partitions of the changelog together with those of the inputs, and reads them back after a
    rebalance. Its dictionary is not used: it keeps keys of partitions that have moved away, and `table[key] = value`
    sends through a buffer whose flush can return too early and whose failures are only logged.

    `live` are the partitions whose shards are complete and owned. Rows may be made from a live shard only: while a
    shard is read back it holds older rows in place of newer ones.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shards: dict[int, Shard] = {}
        self.live: set[int] = set()
        self.generation_id = -1
        self.beat: Callable[[], None] = lambda: None

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Faust calls this with records of the changelog, in order within each partition."""
        for event in batch:
            message = event.message
            assert message.key is not None, "every row has a key"
            self.shards.setdefault(message.partition, Shard()).restore(message.key, message.value)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Faust calls this when partitions have moved, before it reads the changelogs of new ones from the start."""
        self.live.clear()
        self.generation_id = generation_id
        for tp in revoked | newly_assigned:
            self.shards.pop(tp.partition, None)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def write(self, rows: Iterable[tuple[int, Write]]) -> None:
        """Sends rows, each with its partition, in order; returns when all are acknowledged. Raises KafkaError."""
        records = ((partition, row.key, row.value) for partition, row in rows)
        await send_all(self.app, self.changelog_topic_name, records, beat=self.beat)


async def send_all(
    app: Any, topic: str, records: Iterable[tuple[int, bytes, bytes | None]], *, beat: Callable[[], None]
) -> None:
    """Sends `(partition, key, value)` in order; returns when all are acknowledged. Raises KafkaError.

    With Kafka frozen it waits for as long as Faust's producer does, 20 minutes.
    """

    async def send() -> None:
        producer = app.producer
        sent = [await producer.send(topic, key, value, partition, None, None) for partition, key, value in records]
        await asyncio.gather(*sent)

    await beating(send(), beat)


async def beating(request: Awaitable[Result], beat: Callable[[], None]) -> Result:
    """The answer to a request that Faust bounds; `beat` is called each second meanwhile."""
    waiting = asyncio.ensure_future(request)
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=1.0)
            beat()
        return waiting.result()
    finally:
        waiting.cancel()

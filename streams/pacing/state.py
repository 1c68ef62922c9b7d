"""Faust's Table as the place shards live: one for each partition, restored from the changelog, written row by row."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import faust
from faust.types import TP, EventT

from streams.pacing.shard import Shard, Write


class StateTable(faust.Table[bytes, bytes]):
    """The changelog of all shards of this worker.

    Faust makes the topic, assigns its partitions beside those of the inputs and reads them back after a rebalance. The
    dictionary it would keep is not used: it holds on to keys of partitions that moved away, and `table[key] = value`
    sends behind a buffer whose flush can return too early and whose failures are logged and forgotten.

    `live` are the partitions whose shards are whole and owned. A row may only be built from a live shard: while others
    are read back, a row of the past stands where a newer one belongs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shards: dict[int, Shard] = {}
        self.live: set[int] = set()
        self.generation_id = -1

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Called by Faust with records of the changelog, in order within each partition."""
        for event in batch:
            message = event.message
            assert message.key is not None, "every row has a key"
            self.shards.setdefault(message.partition, Shard()).restore(message.key, message.value)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Called by Faust when partitions moved; it reads changelogs of those that came from the start."""
        self.live.clear()
        self.generation_id = generation_id
        for tp in revoked | newly_assigned:
            self.shards.pop(tp.partition, None)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def write(self, rows: Iterable[tuple[int, Write]]) -> None:
        """Sends rows, each with its partition, in order; returns when all are acknowledged. Raises KafkaError."""
        await send_all(self.app, self.changelog_topic_name, ((at, row.key, row.value) for at, row in rows))


async def send_all(app: Any, topic: str, records: Iterable[tuple[int, bytes, bytes | None]]) -> None:
    """Sends `(partition, key, value)` in order; returns when all are acknowledged. Raises KafkaError."""
    producer = app.producer
    sent = [await producer.send(topic, key, value, at, None, None) for at, key, value in records]
    await asyncio.gather(*sent)

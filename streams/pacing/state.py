"""Faust's Table, holding a shard for each partition: restored from the changelog. `outbox` writes its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import faust
from faust.types import TP, EventT

from streams.pacing.shard import Shard


class StateTable(faust.Table[bytes, bytes]):
    """The changelog of all shards of this worker.

    Faust assigns the partitions of the changelog together with those of the inputs, and reads them back after a
    rebalance. Its dictionary is not used: it keeps keys of partitions that have moved away, and `table[key] = value`
    takes 90 µs, through a buffer whose flush can return too early and whose failures are only logged.

    `live` are the partitions whose shards are complete and owned. Rows may be made from a live shard only: while a
    shard is read back it holds older rows in place of newer ones.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shards: dict[int, Shard] = {}
        self.live: set[int] = set()
        self.generation_id = -1
        self.shard: Callable[[], Shard] = Shard

    def apply_changelog_batch(self, batch: Iterable[EventT[Any]]) -> None:
        """Faust calls this with records of the changelog, in order within each partition."""
        for event in batch:
            message = event.message
            assert message.key is not None, "every row has a key"
            self.of(message.partition).restore(message.key, message.value)

    def of(self, partition: int) -> Shard:
        """The shard of a partition; a new one where there is none."""
        if partition not in self.shards:
            self.shards[partition] = self.shard()
        return self.shards[partition]

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Faust calls this when partitions have moved, before it reads the changelogs of new ones from the start."""
        self.live.clear()
        self.generation_id = generation_id
        for tp in revoked | newly_assigned:
            self.shards.pop(tp.partition, None)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

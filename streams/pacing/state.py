"""Faust's Table, holding a shard for each partition: restored from the changelog. `outbox` writes its rows."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final

import faust
from confluent_kafka import Message
from faust.tables.recovery import Recovery
from faust.types import TP
from faust.types.transports import ConsumerT

from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_to_end
from streams.pacing.shard import Shard

_ACTIVE: Final = "active"


class StateTable(faust.Table[bytes, bytes]):
    """The changelog of all shards of this worker.

    Faust assigns the partitions of the changelog together with those of the inputs. It does not read them: that takes
    it 60 µs a row in Python, and `read_back` a tenth of that. Its dictionary is not used: it keeps keys of partitions
    that have moved away, and `table[key] = value` takes 90 µs, through a buffer whose flush can return too early and
    whose failures are only logged.

    `live` are the partitions whose shards are complete and owned. Rows may be made from a live shard only: while a
    shard is read back it holds older rows in place of newer ones.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shards: dict[int, Shard] = {}
        self.live: set[int] = set()
        self.generation_id = -1
        self.shard: Callable[[], Shard] = Shard
        # A reader that a rebalance made useless may not have ended yet.
        self._reading = threading.Lock()

    def read_back(self, cluster: Cluster, topic: str, partitions: Collection[int], *, generation_id: int) -> None:
        """Restores the shards of partitions from the changelog, to its end as of now. For a thread.

        Those that stayed with this worker from where they were read before: another may have had them in between. It
        ends early once partitions move again. Raises Transient, StateMismatch.
        """

        def goes_on() -> bool:
            return self.generation_id == generation_id

        with self._reading:
            shards = {partition: self.of(partition) for partition in partitions} if goes_on() else {}

            def take(partition: int, message: Message) -> None:
                if goes_on():
                    shards[partition].restore(message.key() or b"", message.value())
                    shards[partition].next_row = (message.offset() or 0) + 1

            starts = {partition: shard.next_row for partition, shard in shards.items()}
            read_to_end(cluster, topic, starts, take, goes_on=goes_on)

    def of(self, partition: int) -> Shard:
        """The shard of a partition; a new one where there is none."""
        if partition not in self.shards:
            self.shards[partition] = self.shard()
        return self.shards[partition]

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Faust calls this when partitions have moved."""
        self.live.clear()
        self.generation_id = generation_id
        for tp in revoked | newly_assigned:
            self.shards.pop(tp.partition, None)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)


class NothingToRecover(Recovery):
    """Faust's recovery, which takes changelogs for read: `StateTable.read_back` reads them."""

    async def _build_offsets(self, consumer: ConsumerT, tps: set[TP], destination: Counter[TP], title: str) -> None:
        await super()._build_offsets(consumer, tps, destination, title)
        if title == _ACTIVE:
            for tp in tps:
                destination[tp] = self.active_highwaters[tp]

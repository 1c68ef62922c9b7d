"""The real `streams.engine.ports.Log`: confluent-kafka batches in, librdkafka transactions out.

The group subscribes to the first input only; its rebalance callbacks take and give up the same partition of the others,
so that one worker always holds both sides (subscribing to both would split pairs at every cooperative step).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from threading import Thread

from confluent_kafka import (
    OFFSET_END,
    Consumer,
    TopicPartition,
)

from schemas.errors import BrokenInvariant, LostHistory
from schemas.records import Out, Records
from streams.engine.ports import Commit, Owner
from streams.kafka.cluster import ANSWER_S, Cluster, log_bounds, meter, patiently, read_all
from streams.kafka.consumer import FETCHING, Reading
from streams.kafka.transactions import Transactions


class KafkaLog:
    """One worker's consumer and transactional producer. `slot` names the worker: stable, unlike any other's."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        inputs: Sequence[str],
        *,
        slot: str,
        side_log: str | None = None,
        static: bool = True,
    ) -> None:
        """`static`: the group keeps this slot's partitions for it while it restarts."""
        self._cluster = cluster
        self._inputs = tuple(inputs)
        self._roles = {cluster.topic(role): role for role in inputs}
        self._side_log = side_log
        self._slot = slot
        self._owner: Owner | None = None
        self._owned: set[int] = set()
        self._trouble: Exception | None = None
        self._reading = Reading(
            self._roles, taken=f"slot {slot} of the group", remedy="start a new run with another --group"
        )
        # Per partition: the last known end of each input; replaced, never changed, as other threads read it.
        self._heard: dict[int, dict[str, int]] = {}
        self._hear_at_s = 0.0
        self._consumer = Consumer(
            cluster.client(
                group_id=group,
                # A worker that was killed and started again has its partitions back at once; a pod with a name of
                # its own each time never comes back, and would be missed for the session timeout.
                **({"group_instance_id": f"{group}-{slot}"} if static else {}),
                enable_auto_commit=False,
                auto_offset_reset="error",
                enable_partition_eof=True,
                partition_assignment_strategy="cooperative-sticky",
                session_timeout_ms=10_000,
                **FETCHING,
            ),
        )
        self._meter = meter(cluster)
        # Asked from another thread while this one polls: a consumer that is polled would answer it after the last poll.
        self._group_offsets = Consumer(
            cluster.client(group_id=group, enable_auto_commit=False, isolation_level="read_committed")
        )
        self._transactions = Transactions(cluster, f"{group}-{slot}")

    # ---- group ------------------------------------------------------------------------------------------------------

    def join(self, owner: Owner) -> None:
        """Subscribes; partitions come with the next polls."""
        self._owner = owner
        self._consumer.subscribe(
            [self._cluster.topic(self._inputs[0])],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def leave(self) -> None:
        """Leaves the group and closes all clients.

        A consumer that does not come back is left behind: the group fences it when its slot joins again.
        """
        self._transactions.close()
        closing = Thread(target=self._consumer.close, name="close", daemon=True)
        closing.start()
        closing.join(ANSWER_S)
        self._meter.close()
        self._group_offsets.close()

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        # An exception must not pass through librdkafka's callback: it is kept and raised by `poll`.
        try:
            assert self._owner is not None
            main = self._cluster.topic(self._inputs[0])
            fresh = [one.partition for one in partitions if one.topic == main]
            self._owned.update(fresh)
            # Paused where nothing can come: where to read from is known once the partition's state is loaded.
            self._place([TopicPartition(one.topic, one.partition, OFFSET_END) for one in self._both(fresh)])
            self._owner.assigned(fresh)
        except Exception as error:  # noqa: BLE001  # the outermost frame on this side of the C library
            self._trouble = error

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(consumer, partitions, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(consumer, partitions, lost=True)

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition], *, lost: bool) -> None:
        try:
            assert self._owner is not None
            main = self._cluster.topic(self._inputs[0])
            gone = [one.partition for one in partitions if one.topic == main]
            (self._owner.lost if lost else self._owner.revoked)(gone)
            self._owned.difference_update(gone)
            consumer.incremental_unassign(self._both(gone))
        except Exception as error:  # noqa: BLE001  # as above
            self._trouble = error

    def _both(self, partitions: Sequence[int]) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for partition in partitions for topic in self._roles]

    # ---- reading ----------------------------------------------------------------------------------------------------

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        """Up to `limit` records as columns per topic and partition, in order."""
        messages = self._consumer.consume(limit, wait_s)
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        found = self._reading.columns(messages)
        self._hear()
        return found

    def committed(self, partition: int) -> Commit | None:
        """The last stable commit of the group; waits for a transaction still open on it, up to its timeout."""
        found = patiently(
            lambda: self._group_offsets.committed(self._both([partition]), timeout=ANSWER_S), "the group coordinator"
        )
        offsets = {self._roles[one.topic]: one.offset for one in found}
        if all(offset < 0 for offset in offsets.values()):
            return None
        marks = {one.metadata for one in found if one.metadata}
        if any(offset < 0 for offset in offsets.values()) or len(marks) != 1:
            raise LostHistory(
                f"committed offsets of partition {partition} are {offsets} with {len(marks)} marks: they were not "
                "written by clickfold or have expired in part; start a new run with another --group"
            )
        return Commit(offsets, marks.pop().encode())

    def starts(self, partition: int) -> dict[str, int]:
        """The first offsets Kafka keeps."""
        return {log: self._bounds_of(log, partition)[0] for log in self._inputs}

    def ends(self, partition: int) -> dict[str, int]:
        """The offset behind the last record there is, or may be once open transactions end: asked of the broker now."""
        found: dict[str, int] = {}
        for log in self._inputs:
            high = self._bounds_of(log, partition)[1]
            found[log] = self._reading.end(self._cluster.topic(log), partition, high)
        return found

    def _bounds_of(self, log: str, partition: int) -> tuple[int, int]:
        return log_bounds(self._meter, self._cluster.topic(log), partition)

    def cached_ends(self, partition: int) -> dict[str, int]:
        """High watermarks that came with the last fetches; a copy, as asking librdkafka may wait for its own lock."""
        return dict(self._heard.get(partition, {}))

    def _hear(self) -> None:
        now_s = time.monotonic()
        if now_s < self._hear_at_s and self._heard.keys() == self._owned:
            return
        self._hear_at_s = now_s + 0.5
        heard: dict[int, dict[str, int]] = {}
        for where in self._both(sorted(self._owned)):
            high = self._consumer.get_watermark_offsets(where, cached=True)[1]
            if high >= 0:
                ends = heard.setdefault(where.partition, {})
                ends[self._roles[where.topic]] = self._reading.end(where.topic, where.partition, high)
        self._heard = heard

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Assigned anew at these offsets, paused: librdkafka then drops all it had fetched before."""
        if partition not in self._owned:
            return
        at = [TopicPartition(self._cluster.topic(log), partition, offset) for log, offset in offsets.items()]
        self._consumer.incremental_unassign(self._both([partition]))
        self._place(at)

    def _place(self, at: list[TopicPartition]) -> None:
        """Assigns partitions at these offsets, paused."""
        self._reading.begin(at)
        self._consumer.incremental_assign(at)
        self._consumer.pause(at)

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        """Fetches no more of these inputs."""
        self._consumer.pause([TopicPartition(self._cluster.topic(log), partition) for log in logs])

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        """Fetches them again."""
        self._consumer.resume([TopicPartition(self._cluster.topic(log), partition) for log in logs])

    def side_log(self, partition: int) -> list[bytes]:
        """All committed values of the side log: what this worker just committed to it is among them."""
        if self._side_log is None:
            return []
        return read_all(self._cluster, self._side_log, partition)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        """Begins one transaction: outputs, offsets and marks; a thread sees it through while records are folded on."""
        foreign = set(commits) - self._owned
        if foreign:
            raise BrokenInvariant(f"about to commit partitions {sorted(foreign)} that are not owned")
        # Metadata of the generation these outputs belong to: a later one must not vouch for them.
        generation = self._consumer.consumer_group_metadata()
        self._transactions.begin(outs, self._offsets(commits), generation)

    def settle(self) -> None:
        """Waits for the transaction under way. Raises TaskLost when it was aborted or fenced."""
        self._transactions.settle()

    def _offsets(self, commits: Mapping[int, Commit]) -> list[TopicPartition]:
        return [
            TopicPartition(self._cluster.topic(log), partition, offset, commit.mark.decode())
            for partition, commit in commits.items()
            for log, offset in commit.offsets.items()
        ]

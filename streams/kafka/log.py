"""The real `streams.engine.ports.Log`: reads batches with confluent-kafka, writes in transactions.

A `Layout` says which partitions make up a task. Of co-partitioned inputs the group subscribes to the first only; its
rebalance callbacks take and give up the same partition of the others. So one worker always has both inputs of a
partition; subscribed to both, it would lose one at a cooperative rebalance.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from threading import Thread
from typing import Final

from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition

from schemas.errors import BrokenInvariant, LostHistory, Transient
from schemas.records import Out, Records
from streams.engine.layout import CoPartitioned, Layout, Place
from streams.engine.ports import Commit, Owner
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import Gap, Reading
from streams.kafka.groups import one_commit, stable_offsets
from streams.kafka.reader import MessageReader, open_reader
from streams.kafka.reads import bounds_consumer, log_bounds, read_side_log, stream_log
from streams.kafka.retries import ANSWER_S
from streams.kafka.settings import group_member_settings, group_offsets_settings
from streams.kafka.slots import Slot
from streams.kafka.topic_watch import TopicWatch
from streams.kafka.transactions import Transactions

# More than one turn of the loop brings.
_GROUP_ERRORS: Final = 100


class KafkaLog:
    """One worker's consumer and transactional producer. `slot` is the worker's: it must be taken."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        inputs: Sequence[str] | Layout,
        *,
        slot: Slot,
        side_log: str | None = None,
        watch: TopicWatch | None = None,
        in_bulk: bool = False,
        with_headers: Collection[str] = (),
    ) -> None:
        """`inputs` are the roles of co-partitioned topics, or a layout. With an instance id of the slot the group keeps
        its partitions for it while it restarts. `in_bulk` reads by kernels, which take 90 MB of memory: for a fold that
        uses them anyway. Records of the topics `with_headers` have theirs.

        Once `watch` has seen that a topic changed, `poll` and `transact` raise TopicsChanged.
        """
        self._watch = watch
        self._cluster = cluster
        if not isinstance(inputs, Layout):
            inputs = CoPartitioned({cluster.topic(role): role for role in inputs})
        self._layout = inputs
        self._roles = inputs.roles
        self._side_log = side_log
        self._owner: Owner | None = None
        self._owned: set[int] = set()
        # Those of them that are placed with the reader.
        self._placed: set[int] = set()
        self._callback_error: Exception | None = None
        self._reading = Reading(
            self._roles,
            taken=f"slot {slot.name} of the group",
            remedy="start a new run with another --group",
            group=group,
            task_of=inputs.task,
            with_headers=with_headers,
        )
        # Per partition: the last known end of each input; replaced, never changed, as other threads read it.
        self._last_ends: dict[int, dict[str, int]] = {}
        self._note_ends_after_s = 0.0
        self._consumer = Consumer(
            group_member_settings(cluster, group=group, instance_id=slot.instance_id, client_id=slot.client_id)
        )
        # Reads the partitions: the consumer above only takes part in the group, and is given none.
        self._reader = open_reader(cluster, self._reading) if in_bulk else MessageReader(cluster, self._reading)
        self._bounds_consumer = bounds_consumer(cluster)
        # A consumer of its own, because loading asks from another thread: the one above would not answer while it is
        # polled.
        self._group_offsets = Consumer(group_offsets_settings(cluster, group))
        self._transactions = Transactions(cluster, f"{group}-{slot.name}", slot.fenced)

    # ---- group ------------------------------------------------------------------------------------------------------

    def join(self, owner: Owner) -> None:
        """Subscribes; partitions come with the next polls."""
        self._owner = owner
        self._consumer.subscribe(
            list(self._layout.subscribed),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def leave(self) -> None:
        """Leaves the group and closes all clients.

        A consumer that does not close in time is abandoned: the group fences it when its slot joins again.
        """
        self._transactions.close()
        closing = Thread(target=self._consumer.close, name="close", daemon=True)
        closing.start()
        closing.join(ANSWER_S)
        self._reader.close()
        self._bounds_consumer.close()
        self._group_offsets.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # An exception must not pass through librdkafka's callback: it is kept and raised by `poll`.
        try:
            assert self._owner is not None
            assigned = self._tasks(partitions)
            self._owned.update(assigned)
            # The answer to the rebalance. Where to read from is known only once the partition's state is loaded: `seek`
            # tells the reader then.
            consumer.incremental_assign([])
            self._owner.assigned(assigned)
        except Exception as error:  # noqa: BLE001  # the outermost frame on this side of the C library
            self._callback_error = error

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions, lost=False)

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions, lost=True)

    def _give_up(self, partitions: list[TopicPartition], *, lost: bool) -> None:
        try:
            assert self._owner is not None
            gone = self._tasks(partitions)
            (self._owner.lost if lost else self._owner.revoked)(gone)
            self._owned.difference_update(gone)
            self._unplace(gone)
            # The answer to the rebalance: the group's consumer was given no partition to read.
            self._consumer.incremental_unassign([])
        except Exception as error:  # noqa: BLE001  # as above
            self._callback_error = error

    def _tasks(self, partitions: Sequence[TopicPartition]) -> list[int]:
        subscribed = self._layout.subscribed
        return [self._layout.task(place.topic, place.partition) for place in partitions if place.topic in subscribed]

    def _all(self, partitions: Sequence[int]) -> list[TopicPartition]:
        """The partitions of all inputs of these tasks."""
        return [
            TopicPartition(place.topic, place.partition) for task in partitions for place in self._layout.places(task)
        ]

    def _at(self, partition: int, offsets: Mapping[str, int], mark: str = "") -> list[TopicPartition]:
        """These inputs of a task at these offsets."""
        return [
            TopicPartition(place.topic, place.partition, offsets[place.role], mark)
            for place in self._layout.places(partition)
            if place.role in offsets
        ]

    # ---- reading ----------------------------------------------------------------------------------------------------

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        """Up to `limit` records as columns per topic and partition, in order."""
        self._check()
        # The group's part: rebalances call back from within, and only errors are messages.
        self._reading.columns(self._consumer.consume(_GROUP_ERRORS, 0.0))
        if self._callback_error is not None:
            error, self._callback_error = self._callback_error, None
            raise error
        try:
            records = self._reader.read(limit, wait_s)
        except (LostHistory, Transient):
            # Offsets that Kafka does not have, or a topic that it does not have: the watch says which topic changed.
            self._look()
            raise
        while self._reading.gaps:
            self.check_gap(self._reading.gaps.pop())
        self._note_ends()
        return records

    def check_gap(self, gap: Gap) -> None:
        """Raises Transient if the log has records where reading began later than it was to: they were passed over."""
        record = next(stream_log(self._cluster, gap.topic, gap.partition, start=gap.began), None)
        if record is not None and record.offset < gap.first:
            raise Transient(
                f"Kafka's client began to read {gap.topic}[{gap.partition}] at offset {gap.first}, but offset "
                f"{record.offset} was to be read: reading anew"
            )

    def _check(self) -> None:
        if self._watch is not None:
            self._watch.check()

    def _look(self) -> None:
        if self._watch is not None:
            self._watch.look_again()

    def committed(self, partition: int) -> Commit | None:
        """The last stable commit of the group; waits for a transaction still open on it, up to its timeout."""
        # Loading begins with this, so a topic that changed is noticed at each assignment.
        self._look()
        places = stable_offsets(self._group_offsets, self._all([partition]))
        return one_commit(places, role_of=self._roles.__getitem__)

    def starts(self, partition: int) -> dict[str, int]:
        """The first offsets Kafka keeps."""
        return {place.role: self._bounds_of(place)[0] for place in self._layout.places(partition)}

    def ends(self, partition: int) -> dict[str, int]:
        """The end of each input, asked of the broker now. Records of an open transaction count as lag."""
        ends: dict[str, int] = {}
        for place in self._layout.places(partition):
            high = self._bounds_of(place)[1]
            ends[place.role] = self._reading.end(place.topic, place.partition, high)
        return ends

    def _bounds_of(self, place: Place) -> tuple[int, int]:
        return log_bounds(self._bounds_consumer, place.topic, place.partition)

    def cached_ends(self, partition: int) -> dict[str, int]:
        """High watermarks that came with the last fetches; a copy, as asking librdkafka may wait for its own lock."""
        return dict(self._last_ends.get(partition, {}))

    def _note_ends(self) -> None:
        now_s = time.monotonic()
        if now_s < self._note_ends_after_s and self._last_ends.keys() == self._owned:
            return
        self._note_ends_after_s = now_s + 0.5
        last_ends: dict[int, dict[str, int]] = {}
        for place in self._all(sorted(self._owned)):
            high = self._reader.high(place.topic, place.partition)
            if high >= 0:
                ends = last_ends.setdefault(self._layout.task(place.topic, place.partition), {})
                ends[self._roles[place.topic]] = self._reading.end(place.topic, place.partition, high)
        self._last_ends = last_ends

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Assigns the partition anew at these offsets, paused; librdkafka drops all it had fetched before."""
        if partition not in self._owned:
            return
        places = self._at(partition, offsets)
        self._unplace([partition])
        self._reader.place(places)
        self._placed.add(partition)

    def _unplace(self, partitions: Sequence[int]) -> None:
        """Reads these partitions no longer."""
        placed = self._all([each for each in partitions if each in self._placed])
        if placed:
            self._reader.drop(placed)
        self._placed.difference_update(partitions)

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        """Stops fetching these inputs."""
        self._reader.pause(self._at(partition, dict.fromkeys(logs, OFFSET_INVALID)))

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        """Fetches them again."""
        self._reader.resume(self._at(partition, dict.fromkeys(logs, OFFSET_INVALID)))

    def side_log(self, partition: int) -> Records:
        """All committed records of the side log up to its stable end.

        What this worker just committed to it is among them unless an older transaction is still open there.
        """
        return read_side_log(self._cluster, self._side_log, partition)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        """Begins a transaction of outputs, offsets and marks; a thread carries it out while the worker folds on."""
        foreign = set(commits) - self._owned
        if foreign:
            raise BrokenInvariant(f"about to commit partitions {sorted(foreign)} that are not owned")
        self._check()
        # The generation these outputs belong to: a later one must not commit them.
        generation = self._consumer.consumer_group_metadata()
        self._transactions.begin(outs, self._offsets(commits), generation)

    def settled(self) -> bool:
        """Whether no transaction is under way."""
        return self._transactions.settled()

    def settle(self) -> None:
        """Waits for the transaction under way. Raises TaskLost when it was aborted or fenced."""
        self._transactions.settle()

    def _offsets(self, commits: Mapping[int, Commit]) -> list[TopicPartition]:
        return [
            place
            for partition, commit in commits.items()
            for place in self._at(partition, commit.offsets, commit.mark.decode())
        ]

"""The log of a replay: assigned partitions are read up to fixed ends, commits are files beside the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
from confluent_kafka import Consumer, TopicPartition

from schemas.records import Out, Records
from streams.engine.ports import Commit, Owner
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import Reading
from streams.kafka.reads import read_all
from streams.kafka.settings import bulk_reader_settings
from streams.state.disk import Folder

COMMIT: Final = "commit"
Write = Callable[[Sequence[Out]], None]
# Partition -> input -> offset.
Offsets = Mapping[int, Mapping[str, int]]


class ReplayLog:
    """`streams.engine.ports.Log` without a group. `write` returns once its outputs are acknowledged.

    The outputs of a commit are written first, then the commit's file is replaced. A crash in between writes them again,
    which changes nothing: they are absolute and versioned.
    """

    def __init__(
        self,
        cluster: Cluster,
        inputs: Sequence[str],
        *,
        begins: Offsets,
        ends: Offsets,
        folder: Path,
        write: Write,
        side_log: str | None = None,
    ) -> None:
        self._cluster = cluster
        self._inputs = tuple(inputs)
        self._begins = begins
        self._ends = ends
        self._write = write
        self._side_log = side_log
        # Next offset by log and partition, and those that are at their end.
        self._positions: dict[tuple[str, int], int] = {}
        self._reached: set[tuple[str, int]] = set()
        self._reading = Reading(
            {cluster.topic(role): role for role in inputs},
            taken="the replay's name",
            remedy="begin later with --from and another --run",
        )
        self._consumer = Consumer(bulk_reader_settings(cluster))
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._under_way: Future[None] | None = None
        # Folders of their own, apart from the tasks': a thread writes the commits.
        self._commits = {partition: Folder(folder / str(partition) / COMMIT) for partition in begins}

    def join(self, owner: Owner) -> None:
        """Assigns all partitions at once."""
        owner.assigned(list(self._begins))

    def leave(self) -> None:
        """Waits for the commit under way, and closes."""
        self._committer.shutdown()
        self._consumer.close()
        for folder in self._commits.values():
            folder.close()

    # ---- reading ----------------------------------------------------------------------------------------------------

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        """Up to `limit` records, none at or after the end of its log."""
        batches = [self._within(records) for records in self._reading.columns(self._consumer.consume(limit, wait_s))]
        for partition, ends in self._ends.items():
            for log, end in ends.items():
                if self._reading.met_end(self._cluster.topic(log), partition) >= end:
                    self._reach(log, partition)
        return [records for records in batches if len(records)]

    def _within(self, records: Records) -> Records:
        end = self._ends[records.partition][records.log]
        if records.offsets[-1] >= end:
            records = records.slice(0, sum(1 for offset in records.offsets if offset < end))
            self._reach(records.log, records.partition)
        if len(records):
            self._positions[records.log, records.partition] = records.next_offset
        return records

    def _reach(self, log: str, partition: int) -> None:
        if (log, partition) not in self._reached:
            self._reached.add((log, partition))
            self._consumer.pause([TopicPartition(self._cluster.topic(log), partition)])

    def committed(self, partition: int) -> Commit | None:
        """What the commit file says; None before the first commit."""
        try:
            data = self._commits[partition].read(COMMIT, 0, 1 << 40)
        except FileNotFoundError:
            return None
        return msgspec.msgpack.decode(data, type=Commit)

    def starts(self, partition: int) -> dict[str, int]:
        """Where reading begins."""
        return dict(self._begins[partition])

    def ends(self, partition: int) -> dict[str, int]:
        """Where the logs end for this replay. A log read to its end ends behind its last record: no position passes a
        transaction's marker."""
        return {
            log: self._positions[log, partition] if (log, partition) in self._reached else end
            for log, end in self._ends[partition].items()
        }

    def cached_ends(self, partition: int) -> dict[str, int]:
        """The same: no broker has to be asked."""
        return self.ends(partition)

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Reads from these offsets on, paused."""
        placed = [log for log in offsets if (log, partition) in self._positions]
        if placed:
            self._consumer.incremental_unassign([TopicPartition(self._cluster.topic(log), partition) for log in placed])
        self._place(partition, offsets)

    def _place(self, partition: int, offsets: Mapping[str, int]) -> None:
        places = [TopicPartition(self._cluster.topic(log), partition, offset) for log, offset in offsets.items()]
        self._reading.begin(places)
        self._consumer.incremental_assign(places)
        self._consumer.pause(places)
        for log, offset in offsets.items():
            self._positions[log, partition] = offset
            self._reached.discard((log, partition))
            if offset >= self._ends[partition][log]:
                self._reach(log, partition)

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        """Fetches no more of these inputs."""
        self._consumer.pause([TopicPartition(self._cluster.topic(log), partition) for log in logs])

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        """Fetches them again, except those at their end."""
        going_on = [log for log in logs if (log, partition) not in self._reached]
        self._consumer.resume([TopicPartition(self._cluster.topic(log), partition) for log in going_on])

    def side_log(self, partition: int) -> list[bytes]:
        """All committed values of the side log, which live work writes."""
        return [] if self._side_log is None else read_all(self._cluster, self._side_log, partition)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        """Begins to write in a thread; folding goes on meanwhile."""
        self._under_way = self._committer.submit(self._transact, list(outs), dict(commits))

    def _transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        self._write(outs)
        for partition, commit in commits.items():
            self._commits[partition].replace(COMMIT, msgspec.msgpack.encode(commit))

    def settle(self) -> None:
        """Waits for the commit under way. Raises what made it fail: then it is not committed."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()

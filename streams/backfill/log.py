"""The log of a replay: it reads partitions up to fixed ends, and keeps commits as files beside the state."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
from confluent_kafka import TopicPartition

from schemas.codec import unpack
from schemas.records import Out, Records
from streams.engine.ports import Commit, Owner
from streams.kafka.cluster import Cluster
from streams.kafka.consumer import Reading
from streams.kafka.reader import open_reader
from streams.kafka.reads import read_side_log
from streams.state.disk import Folder

COMMIT: Final = "commit"
Write = Callable[[Sequence[Out]], None]
# Partition -> input -> offset.
Offsets = Mapping[int, Mapping[str, int]]


class ReplayLog:
    """`streams.engine.ports.Log` without a consumer group.

    A commit first writes its outputs, then replaces the commit's file. After a crash in between the outputs are written
    again. That changes nothing, because they are absolute and versioned.
    """

    def __init__(
        self,
        cluster: Cluster,
        inputs: Sequence[str],
        *,
        starts: Offsets,
        ends: Offsets,
        folder: Path,
        write: Write,
        side_log: str | None = None,
        mend: Callable[[Records], Records] = lambda records: records,
        with_headers: Sequence[str] = (),
    ) -> None:
        """`write` returns once the outputs are acknowledged. `side_log`: its role, if the folds need one.

        `mend` changes the values of records as they are read, and always in the same way. Records of the inputs
        `with_headers` have theirs.
        """
        self._mend = mend
        self._cluster = cluster
        self._inputs = tuple(inputs)
        self._starts = starts
        self._ends = ends
        self._write = write
        self._side_log = side_log
        # By log and partition: the next offset to read, and which are read to their end.
        self._positions: dict[tuple[str, int], int] = {}
        self._at_end: set[tuple[str, int]] = set()
        self._reading = Reading(
            {cluster.topic(role): role for role in inputs},
            taken="the replay's name",
            remedy="begin later with --from and another --run",
            with_headers=[cluster.topic(role) for role in with_headers],
        )
        self._reader = open_reader(cluster, self._reading)
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._pending_commit: Future[None] | None = None
        # Not the folders of the tasks: a thread of this log writes the commits.
        self._commits = {partition: Folder(folder / str(partition) / COMMIT) for partition in starts}

    def join(self, owner: Owner) -> None:
        """Assigns all partitions at once."""
        owner.assigned(list(self._starts))

    def leave(self) -> None:
        """Waits for the pending commit, and closes."""
        self._committer.shutdown()
        self._reader.close()
        for folder in self._commits.values():
            folder.close()

    # ---- reading ----------------------------------------------------------------------------------------------------

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        """Up to `limit` records, all of them below the end of their log."""
        batches = [self._before_end(records) for records in self._reader.read(limit, wait_s)]
        for partition, ends in self._ends.items():
            for log, end in ends.items():
                if self._reading.met_end(self._cluster.topic(log), partition) >= end:
                    self._stop_at_end(log, partition)
        return [self._mend(records) for records in batches if len(records)]

    def _before_end(self, records: Records) -> Records:
        end = self._ends[records.partition][records.log]
        if records.offsets[-1] >= end:
            records = records.slice(0, bisect_left(records.offsets, end))
            self._stop_at_end(records.log, records.partition)
        if len(records):
            self._positions[records.log, records.partition] = records.next_offset
        return records

    def _stop_at_end(self, log: str, partition: int) -> None:
        if (log, partition) not in self._at_end:
            self._at_end.add((log, partition))
            self._reader.pause([TopicPartition(self._cluster.topic(log), partition)])

    def committed(self, partition: int) -> Commit | None:
        """The commit in the partition's file; None before the first commit."""
        try:
            # 1 TiB, far above any commit: the whole file.
            data = self._commits[partition].read(COMMIT, 0, 1 << 40)
        except FileNotFoundError:
            return None
        return unpack(data, Commit)

    def starts(self, partition: int) -> dict[str, int]:
        """The offset of each input at which the replay begins to read."""
        return dict(self._starts[partition])

    def ends(self, partition: int) -> dict[str, int]:
        """The offset of each input at which this replay ends.

        For an input that is read to its end this is the next offset after its last record. A transaction's marker may
        follow, and no position is ever behind that.
        """
        return {
            log: self._positions[log, partition] if (log, partition) in self._at_end else end
            for log, end in self._ends[partition].items()
        }

    def cached_ends(self, partition: int) -> dict[str, int]:
        """As `ends`, which asks no broker."""
        return self.ends(partition)

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Assigns the inputs at these offsets, paused."""
        assigned = [log for log in offsets if (log, partition) in self._positions]
        if assigned:
            self._reader.drop([TopicPartition(self._cluster.topic(log), partition) for log in assigned])
        self._assign_paused(partition, offsets)

    def _assign_paused(self, partition: int, offsets: Mapping[str, int]) -> None:
        inputs = [TopicPartition(self._cluster.topic(log), partition, offset) for log, offset in offsets.items()]
        self._reader.place(inputs)
        for log, offset in offsets.items():
            self._positions[log, partition] = offset
            self._at_end.discard((log, partition))
            if offset >= self._ends[partition][log]:
                self._stop_at_end(log, partition)

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        """Stops fetching these inputs."""
        self._reader.pause([TopicPartition(self._cluster.topic(log), partition) for log in logs])

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        """Fetches these inputs again, except those that are read to their end."""
        unread = [log for log in logs if (log, partition) not in self._at_end]
        self._reader.resume([TopicPartition(self._cluster.topic(log), partition) for log in unread])

    def side_log(self, partition: int) -> Records:
        """All committed records of the side log, which live work writes."""
        return read_side_log(self._cluster, self._side_log, partition)

    # ---- writing ----------------------------------------------------------------------------------------------------

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        """Writes in a thread, so that folding goes on meanwhile."""
        self._pending_commit = self._committer.submit(self._transact, list(outs), dict(commits))

    def _transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        self._write(outs)
        for partition, commit in commits.items():
            self._commits[partition].replace(COMMIT, msgspec.msgpack.encode(commit))

    def settled(self) -> bool:
        """Whether no commit is pending."""
        return self._pending_commit is None or self._pending_commit.done()

    def settle(self) -> None:
        """Waits for the pending commit. Raises the error it failed with; then it is not committed."""
        if self._pending_commit is not None:
            pending, self._pending_commit = self._pending_commit, None
            pending.result()

"""The interfaces between the engine and the outside: logs, a disk, a clock, and a place to share snapshots.

`streams.kafka.log` is the real log; tests have one in memory. `streams.state` has the disk and the shared snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from schemas.records import Out, Records


class Commit(NamedTuple):
    """What is committed of a task: the next offset of each input, and the fold's mark."""

    offsets: dict[str, int]
    mark: bytes


class Owner(Protocol):
    """What the log calls, from within `Log.poll`, when partitions come and go."""

    def assigned(self, partitions: Iterable[int]) -> None:
        """Partitions now owned. Nothing of them is polled before `Log.seek` and `Log.resume` are called."""
        ...

    def revoked(self, partitions: Iterable[int]) -> None:
        """Partitions to give up: commits what was folded, then drops them."""
        ...

    def lost(self, partitions: Iterable[int]) -> None:
        """Partitions another worker owns already: drops them, and what was not committed."""
        ...


class Log(Protocol):
    """The logs of a group: batches in, transactions out."""

    def join(self, owner: Owner) -> None:
        """Joins the group; from then on `poll` calls `owner` when partitions come and go."""
        ...

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        """Up to `limit` records of the partitions owned and not paused, waiting at most `wait_s` for the first."""
        ...

    def committed(self, partition: int) -> Commit | None:
        """The last stable commit of a partition; None if the group never committed it."""
        ...

    def starts(self, partition: int) -> dict[str, int]:
        """The first offset Kafka still keeps of each input."""
        ...

    def ends(self, partition: int) -> dict[str, int]:
        """The end of each input, uncommitted records included, asked of the broker now. Raises Transient."""
        ...

    def cached_ends(self, partition: int) -> dict[str, int]:
        """The ends as of the last fetches; inputs not fetched yet are missing. Callable from any thread."""
        ...

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Reads from these offsets once resumed; records fetched before are dropped."""
        ...

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        """Stops polling these inputs until `resume`."""
        ...

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        """Polls these inputs again."""
        ...

    def side_log(self, partition: int) -> Records:
        """All records of the side log, at least up to what this Log has committed to it."""
        ...

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        """Begins one transaction of outputs and commits; the transaction before must have been settled."""
        ...

    def settled(self) -> bool:
        """Whether the transaction begun by `transact` has ended, in whichever way: then `settle` does not wait."""
        ...

    def settle(self) -> None:
        """Waits until the transaction begun by `transact` is committed. Raises TaskLost when it was aborted."""
        ...

    def leave(self) -> None:
        """Leaves the group; `owner.revoked` is called for its partitions."""
        ...


class Clock(Protocol):
    """The shell's clock: it says when to commit, never what to decide."""

    def monotonic(self) -> float:
        """Seconds since any fixed moment."""
        ...

    def now_s(self) -> int:
        """Seconds UTC, for epochs."""
        ...


@dataclass
class SharedProgress:
    """What the shell shows of one partition's shared snapshots; counts since start."""

    shared: int = 0
    shared_bytes: int = 0
    skipped: int = 0
    failures: int = 0
    fetched: int = 0
    # When the last snapshot was completely shared, s UTC; 0: none yet.
    last_s: float = 0.0


class Shared(Protocol):
    """One task's snapshots in a place other machines reach. It raises nothing: without it recovery takes longer."""

    progress: SharedProgress

    def fetch(self, disk: Disk, usable: Callable[[Mapping[str, int]], bool]) -> bool:
        """Replaces all the disk holds by the newest shared checkpoint whose cut is `usable`; False if there is none.

        Each checkpoint is given once: asking again gives the next older one. If there is none, the disk keeps what it
        held.
        """
        ...

    def offer(
        self, cut: Mapping[str, int], manifest: bytes, files: Mapping[str, int], disk: Disk, *, last: bool
    ) -> None:
        """Shares a durable checkpoint if it is time to; the `last` one before the task moves is always shared.

        Returns at once. The disk's files may grow meanwhile; none may be deleted while `copying`.
        """
        ...

    def copying(self) -> bool:
        """Whether files of an earlier checkpoint are still needed."""
        ...

    def distrust(self) -> None:
        """The shared state is damaged too: nothing is fetched until a new checkpoint is shared."""
        ...

    def drain(self) -> None:
        """Waits a few seconds at most until the last checkpoint is shared."""
        ...

    def close(self) -> None:
        """Stops sharing. From now on files may change."""
        ...


class Disk(Protocol):
    """Files in one folder. A crash may lose what was appended since `sync`. `replace` is atomic and durable."""

    def append(self, name: str, data: bytes | memoryview) -> None:
        """Adds `data` at the end of a file, which is made if missing. What a view shows must not change any more."""
        ...

    def read(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`; fewer if the file ends before. Raises FileNotFoundError."""
        ...

    def read_synced(self, name: str, start: int, length: int) -> bytes:
        """Like `read`, for bytes that `sync` has made durable. Callable from any thread."""
        ...

    def truncate(self, name: str, length: int) -> None:
        """Cuts a file to `length` bytes: drops what was appended after a checkpoint."""
        ...

    def sync(self, name: str) -> None:
        """Makes all that was appended durable; creates an empty file if nothing was appended."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """The file holds `data`, or what it held before, whenever the machine stops."""
        ...

    def delete(self, name: str) -> None:
        """Removes a file; no error when it is missing."""
        ...

    def rename(self, name: str, to: str) -> None:
        """Renames a file to `to`, replacing any file of that name; atomic and durable."""
        ...

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        ...

    def close(self) -> None:
        """Frees threads and files; no other call follows."""
        ...

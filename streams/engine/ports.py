"""What an engine needs of the world, as protocols: logs, a disk, a clock, and where snapshots are shared.

`streams.kafka.log` is the real log, tests have one in memory; `streams.state` keeps and shares.
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
    """Whom the log tells of partitions coming and going, from within `Log.poll`."""

    def assigned(self, partitions: Iterable[int]) -> None:
        """Partitions now owned. Nothing of them is polled until `Log.seek` says from where and `Log.resume` that."""
        ...

    def revoked(self, partitions: Iterable[int]) -> None:
        """Partitions to give up: commits what was folded, then forgets them."""
        ...

    def lost(self, partitions: Iterable[int]) -> None:
        """Partitions already owned by another: forgets them, and what was not committed."""
        ...


class Log(Protocol):
    """The logs of a group: batches in, transactions out."""

    def join(self, owner: Owner) -> None:
        """Enters the group; from then on `poll` tells `owner` of its partitions."""
        ...

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        """Up to `limit` records of the partitions owned and not paused, waiting at most `wait_s` for the first."""
        ...

    def committed(self, partition: int) -> Commit | None:
        """The last stable commit; None if the group never committed this partition."""
        ...

    def starts(self, partition: int) -> dict[str, int]:
        """The first offset still kept of each input."""
        ...

    def ends(self, partition: int) -> dict[str, int]:
        """The stable end of each input, asked of the broker now. Raises Transient when it does not answer."""
        ...

    def known_ends(self, partition: int) -> dict[str, int]:
        """The ends as last heard of, without asking; inputs not heard of are left out. Callable from any thread."""
        ...

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        """Reads from these offsets once resumed; nothing polled before comes any more."""
        ...

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        """Polls nothing of these inputs until `resume`."""
        ...

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        """Polls these inputs again."""
        ...

    def side(self, partition: int) -> list[bytes]:
        """All values of the side log, at least up to what this Log has committed to it."""
        ...

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        """Begins to write and commit, all or nothing; the one before must have been settled."""
        ...

    def settle(self) -> None:
        """Waits until what was handed to `transact` is committed. Raises TaskLost when nothing of it is."""
        ...

    def leave(self) -> None:
        """Leaves the group; `owner` is told that its partitions are revoked."""
        ...


class Clock(Protocol):
    """Time of the shell: for when to commit, never for what is decided."""

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
    # When the last one was complete, s UTC; 0: none yet.
    last_s: float = 0.0


class Shared(Protocol):
    """One task's snapshots where other machines find them. It never fails: without one, recovery only takes longer."""

    progress: SharedProgress

    def fetch(self, disk: Disk, usable: Callable[[Mapping[str, int]], bool]) -> bool:
        """Puts the checkpoint furthest on whose cut is `usable` in place of all the disk holds; whether there was one.

        Each is given once: after one that turned out to be of no use, asking again gives the next. Without one the
        disk keeps what it held.
        """
        ...

    def offer(
        self, cut: Mapping[str, int], manifest: bytes, files: Mapping[str, int], disk: Disk, *, last: bool
    ) -> None:
        """A durable checkpoint that may be shared, if it is time to; the `last` before the task goes always is.

        Returns at once. The disk's files may grow meanwhile, and none may go while `copying`.
        """
        ...

    def copying(self) -> bool:
        """Whether files of an earlier checkpoint are still needed."""
        ...

    def distrust(self) -> None:
        """What is shared was damaged before it was: nothing of it is fetched until a new one is shared."""
        ...

    def drain(self) -> None:
        """Waits, but only for seconds, until the last one is shared."""
        ...

    def close(self) -> None:
        """Nothing more is shared: files may change from now on."""
        ...


class Disk(Protocol):
    """Flat names, no folders. `append` may be lost by a crash until `sync`; `replace` is atomic and durable."""

    def append(self, name: str, data: bytes) -> None:
        """Adds `data` at the end of a file, which is made if missing."""
        ...

    def read(self, name: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`; fewer if the file ends before. Raises FileNotFoundError."""
        ...

    def read_synced(self, name: str, start: int, length: int) -> bytes:
        """As `read`, of what a `sync` made durable, and callable from any thread beside the one that owns the disk."""
        ...

    def truncate(self, name: str, length: int) -> None:
        """Cuts a file to `length` bytes: what was appended behind a checkpoint is gone."""
        ...

    def sync(self, name: str) -> None:
        """Makes all that was appended durable; a file to which nothing was is made, empty."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """The file holds `data`, or what it held before, whenever the machine stops."""
        ...

    def delete(self, name: str) -> None:
        """Removes a file; no error when it is missing."""
        ...

    def rename(self, name: str, to: str) -> None:
        """The file is called `to`, in place of what was; atomic and durable."""
        ...

    def names(self) -> list[str]:
        """The files there are, sorted."""
        ...

    def close(self) -> None:
        """Lets go of threads and files; nothing more is asked."""
        ...

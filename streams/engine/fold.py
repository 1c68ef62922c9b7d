"""The contract every worker fulfils: a deterministic fold over Kafka logs.

`outputs = fold.step(records)`: the same records, in the order of each log, give the same state and the same set of
outputs. Batching, the interleaving of several logs and the time of day make no difference. Live work, recovery,
backfill and tests drive the same fold; only start, stop and whether outputs are written differ
(`streams.engine.runner`).

A fold takes no clock, network, environment or randomness.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from schemas.records import Out, Records


class Fold(ABC):
    """One partition's fold. What a method returns is written in the transaction that commits its position.

    A fold must say how it steps, where it is, and how it comes back. Everything else has a default: no sweeps, no
    reports, no idle seals, no files beside the snapshot.

    Order of calls: made empty; then `restore` or `rebuild` or neither; `begin`; `take_side_log`; `step` up to the
    committed offsets, its outputs dropped; `resume`; then live: `step`, `sweep`, `report`, each followed by `committed`
    once its transaction is committed. `streams.engine.task` names the states.
    """

    # ---- required: fold, position, recovery -------------------------------------------------------------------------

    @abstractmethod
    def step(self, records: Records) -> list[Out]:
        """Folds in records of one input log, at or after `positions()` of that log."""

    @abstractmethod
    def positions(self) -> dict[str, int]:
        """The next offset of each input log."""

    @abstractmethod
    def state_bytes(self) -> int:
        """Memory the state takes, bytes, with an error of about a tenth."""

    @abstractmethod
    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:
        """Takes ownership: an epoch above the one of the committed `mark` (None: never committed) and at least `epoch`.

        Without a `mark` the fold starts at `offsets`. Returns the start record, if the fold has a side log.
        """

    @abstractmethod
    def mark(self) -> bytes:
        """What recovery needs beside the positions. It becomes the metadata of the commit: at most 4,000 bytes."""

    @abstractmethod
    def resume(self, mark: bytes) -> None:
        """Replay has reached the committed offsets: makes the decisions that the mark covers, without outputs."""

    @abstractmethod
    def rebuild_offsets(self, mark: bytes) -> dict[str, int]:
        """The offsets a `rebuild` would read from; changes nothing."""

    @abstractmethod
    def rebuild(self, mark: bytes) -> None:
        """Without a checkpoint: starts empty at the rebuild offsets of `mark`; deletes files of earlier states."""

    @abstractmethod
    def skip_to(self, offsets: Mapping[str, int]) -> None:
        """After `restore` or `rebuild`: goes on at these later offsets. The records in between are lost."""

    @abstractmethod
    def snapshot(self) -> bytes:
        """The whole state at `positions()`. Files it names on the fold's Disk are durable before it returns."""

    @abstractmethod
    def restore(self, snapshot: bytes) -> None:
        """Takes the state of a snapshot. Raises StateMismatch or DamagedState; then the fold must not be used."""

    def needs_replay(self) -> bool:
        """Whether the records between a checkpoint and the committed offsets make the state what it was.

        Without it a task goes on at the committed offsets at once, by `skip_to`, however old its checkpoint is.
        """
        return True

    # ---- optional: decisions that wait for the bounds of the logs ---------------------------------------------------

    def can_sweep(self) -> bool:
        """Whether another `sweep` would decide something."""
        return False

    def sweep(self, limit: int) -> list[Out]:  # noqa: ARG002
        """Decides what the logs' bounds allow, at most about `limit` records at a time; see `can_sweep`."""
        return []

    def report(self, limit: int) -> list[Out]:  # noqa: ARG002
        """What changed since the last report as absolute, versioned values, at most about `limit` records."""
        return []

    def finish(self) -> None:  # noqa: B027
        """Every input has ended: the next sweeps and reports decide and report what is left."""

    def committed(self) -> None:  # noqa: B027
        """All outputs so far are committed; what was kept for that may be dropped, and seals apply."""

    # ---- optional: inputs that wait for each other ------------------------------------------------------------------

    def input_ahead(self, *, tight: bool) -> str | None:  # noqa: ARG002
        """The input that is too far ahead of the other in event time, or None. With `tight`, any lead is too far."""
        return None

    def seal(self, log: str, *, now_ms: int) -> list[Out]:  # noqa: ARG002
        """Input `log` is idle at its position, at `now_ms` UTC. [] if that changes nothing.

        It holds once `committed` is called.
        """
        return []

    def advance(self, *, silent_ms: int, now_ms: int) -> list[Out]:  # noqa: ARG002
        """All inputs are read to their ends and silent for so long, at `now_ms` UTC. As `seal`."""
        return []

    def take_side_log(self, records: Records) -> None:  # noqa: B027
        """The records of this partition of the side log (`ads.seals`), up to the fold's own start record."""

    # ---- optional: files beside the snapshot, resources -------------------------------------------------------------

    def files(self) -> Mapping[str, int]:
        """The files that the last snapshot, taken or restored, names, with the length that belongs to the snapshot.

        Below that length they never change: a fold only appends, and truncates only in `restore`.
        """
        return {}

    def snapshot_kept(self) -> None:  # noqa: B027
        """The last snapshot is durable: files that only earlier snapshots name may be deleted."""

    def close(self) -> None:  # noqa: B027
        """Frees threads and files."""

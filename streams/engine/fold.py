"""The contract every worker fulfils: a deterministic fold over Kafka logs.

`outputs = fold.step(records)`: the same records, in the order of each log, give the same state and the same set of
outputs, whatever the batching, the interleaving of several logs, or the time of day. Live work, recovery, backfill and
tests drive the same fold; only start, stop and whether outputs are let through differ (`streams.engine.runner`).

A fold takes no clock, network, environment or randomness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas.records import Out, Records


class Fold(Protocol):
    """One partition's fold. Whatever a method returns is written in the transaction that commits its position.

    Life: made empty; then `restore` or `rebuild` or neither; `begin`; `standing`; `step` up to the committed offsets in
    silence; `resume`; then live: `step`, `sweep`, `report`, each followed by `committed` once it is.
    """

    def step(self, records: Records) -> list[Out]:
        """Folds in records of one input log, at or after `positions()` of that log."""
        ...

    def sweep(self, limit: int) -> list[Out]:
        """Decides what the logs' bounds allow, at most about `limit` records at a time; see `behind`."""
        ...

    def behind(self) -> bool:
        """Whether another `sweep` would decide something."""
        ...

    def report(self, limit: int) -> list[Out]:
        """What changed since the last report as absolute, versioned values, at most about `limit` records."""
        ...

    def finish(self) -> None:
        """Every input has ended: the next sweeps and reports decide and report what is left."""
        ...

    def committed(self) -> None:
        """All that was returned so far is committed; what only waited for that may be forgotten."""
        ...

    def positions(self) -> dict[str, int]:
        """The next offset of each input log."""
        ...

    def ahead(self, *, tight: bool) -> str | None:
        """The input so far ahead of another in event time that reading on would only fill memory; `tight`: at all."""
        ...

    def state_bytes(self) -> int:
        """Memory the state takes, to within a tenth or so."""
        ...

    def mark(self) -> bytes:
        """What recovery needs beside the positions, at most 4,000 bytes: the commit's metadata."""
        ...

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:
        """Takes ownership: an epoch above the one of the committed `mark` (None: never committed) and at least `epoch`.

        Without restored or rebuilt state the fold starts at `offsets`. Returns the start record, if it keeps one.
        """
        ...

    def standing(self, side: Sequence[bytes]) -> None:
        """The values of this partition of its side log, up to its own start record (`ads.seals` for the join)."""
        ...

    def seal(self, log: str) -> list[Out]:
        """Input `log` was seen to be idle at its position; [] if nothing follows. Holds once `committed` is called."""
        ...

    def resume(self, mark: bytes) -> None:
        """The committed offsets are reached: in silence decides just what was decided, then is live."""
        ...

    def needed(self, mark: bytes) -> dict[str, int]:
        """The offsets a `rebuild` would read from; changes nothing."""
        ...

    def rebuild(self, mark: bytes) -> None:
        """Without a checkpoint: starts empty where `mark` says; files of earlier states are deleted."""
        ...

    def lose(self, starts: Mapping[str, int]) -> None:
        """After `restore` or `rebuild`: goes on at these later offsets; what was before them is lost, and said so."""
        ...

    def snapshot(self) -> bytes:
        """The whole state at `positions()`. Files it names on the fold's Disk are durable before it returns."""
        ...

    def files(self) -> Mapping[str, int]:
        """The files the last snapshot, taken or restored, names, with the length of each that counts.

        Below that length they never change: a fold only appends, and truncates nowhere but in `restore`.
        """
        ...

    def snapshot_kept(self) -> None:
        """The last snapshot is durable; files that only earlier ones name may go."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Takes the state of a snapshot. Raises StateMismatch or DamagedState; then it is not used any more."""
        ...

    def close(self) -> None:
        """Lets go of threads and files."""
        ...

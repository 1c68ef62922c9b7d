"""The learner as a worker's fold: what `online_models` knows of a model, plus what the runner asks of every fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from online_models.learner import Learner
from schemas.codec import decode, encode
from schemas.errors import BrokenInvariant, StateMismatch
from schemas.records import Out, Records


class _Mark(msgspec.Struct):
    settings: str
    next_offset: int
    trail: str
    # Where the log began when this model did: what learning again must start from, and not from 0.
    start: int = 0


class LearnFold:
    """One model shard as `streams.engine.fold.Fold`: no side log, no seals, no bounds that wait."""

    def __init__(self, learner: Learner[Out]) -> None:
        self.learner = learner
        self._start = 0
        self._lossy = False

    def step(self, records: Records) -> list[Out]:
        """Learns the records; gives the metrics of windows they close."""
        return self.learner.step(records)

    def sweep(self, limit: int) -> list[Out]:
        """At the end of a bounded run, what still waits."""
        return self.learner.sweep(limit)

    def behind(self) -> bool:
        """Whether `sweep` has more to do."""
        return self.learner.behind()

    def report(self, limit: int) -> list[Out]:
        """The model, when it is due."""
        return self.learner.report(limit)

    def finish(self) -> None:
        """No more outcomes will come."""
        self.learner.finish()

    def committed(self) -> None:
        """Nothing waits for a commit."""

    def positions(self) -> dict[str, int]:
        """The next offset of `outcomes`; where the log began, before anything was learned."""
        at = self.learner.positions()
        return {log: max(offset, self._start) for log, offset in at.items()}

    def ahead(self, *, tight: bool) -> str | None:  # noqa: ARG002
        """One input cannot be ahead of another."""
        return None

    def state_bytes(self) -> int:
        """Memory of the weights, which are many from the start and never more."""
        return self.learner.nbytes

    def mark(self) -> bytes:
        """Settings, position and trail of the learner, and where it began."""
        return encode(msgspec.structs.replace(decode(self.learner.mark(), _Mark), start=self._start))

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:  # noqa: ARG002
        """Versions of a model follow its offset, so an owner needs no epoch."""
        self._start = offsets["outcomes"] if mark is None else self._known(mark).start
        return []

    def standing(self, side: Sequence[bytes]) -> None:
        """There is no side log."""

    def seal(self, log: str) -> list[Out]:  # noqa: ARG002
        """A learner does not wait for a silent log."""
        return []

    def needed(self, mark: bytes) -> dict[str, int]:
        """From the first outcome it learned: a model is the sum of all it saw."""
        return {"outcomes": self._known(mark).start}

    def rebuild(self, mark: bytes) -> None:
        """Learns again from there."""
        self._start = self._known(mark).start

    def resume(self, mark: bytes) -> None:
        """Raises BrokenInvariant if learning again came to another history than was committed."""
        known = self._known(mark)
        if known.trail != self.learner.trail and not self._lossy:
            raise BrokenInvariant(
                f"recovery of model shard {self.learner.shard} came to trail {self.learner.trail} at offset "
                f"{known.next_offset}, committed was {known.trail}"
            )

    def _known(self, mark: bytes) -> _Mark:
        known = decode(mark, _Mark)
        settings = self.learner.settings.digest()
        if known.settings != settings:
            raise StateMismatch(
                f"model shard {self.learner.shard} was learned under settings {known.settings}, these are {settings}; "
                "restore them, or learn under another --group"
            )
        return known

    def lose(self, starts: Mapping[str, int]) -> None:
        """Learns on from what Kafka has: the model is another one than it would have been."""
        self._start = starts["outcomes"]
        self.learner.skip_to(self._start)
        self._lossy = True

    def snapshot(self) -> bytes:
        """Weights and position in one."""
        return self.learner.snapshot()

    def files(self) -> Mapping[str, int]:
        """None: a snapshot is whole."""
        return {}

    def snapshot_kept(self) -> None:
        """A snapshot names no files."""

    def restore(self, snapshot: bytes) -> None:
        """Goes on where the snapshot was taken."""
        self.learner.restore(snapshot)

    def close(self) -> None:
        """Nothing is held."""

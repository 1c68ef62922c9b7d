"""The learner as a worker's fold: how a model shard is owned, committed and recovered."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from online_models.learner import Learner
from online_models.settings import LearnerSettings
from schemas.codec import decode, encode
from schemas.errors import BrokenInvariant, StateMismatch
from schemas.records import Out
from streams.engine.fold import Fold


class LearnMark(msgspec.Struct, frozen=True):
    """Commit metadata of a learn task. `start`: the offset from which this model is learned.

    `trail` is empty where the program before learned in another way: then the trail is not compared.
    """

    settings: str
    next_offset: int
    trail: str
    start: int = 0


class LearnFold(Learner, Fold):
    """One model shard: a `Learner` with an owner. It has no side log, no seals, and needs no epoch."""

    def __init__(self, settings: LearnerSettings, *, shard: int) -> None:
        super().__init__(settings, shard=shard)
        self._start = 0
        self._lossy = False
        # What the former owner committed, until this one has caught up with it.
        self._committed: LearnMark | None = None

    def positions(self) -> dict[str, int]:
        """The next offset of `outcomes`; before anything is learned, the offset where the log began."""
        return {log: max(offset, self._start) for log, offset in super().positions().items()}

    def state_bytes(self) -> int:
        """Memory of the weights, which is allocated at the start."""
        return self.nbytes

    def mark(self) -> bytes:
        """Settings, next offset and trail of the learner, and the offset where it began."""
        return encode(LearnMark(self.settings.digest(), super().positions()["outcomes"], self.trail, self._start))

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:  # noqa: ARG002
        """Takes ownership. Versions of a model follow its offset, so no epoch is needed."""
        if mark is None:
            self._start = offsets["outcomes"]
        else:
            self._committed = self._checked(mark)
            self._start = self._committed.start
        return []

    def rebuild_offsets(self, mark: bytes) -> dict[str, int]:
        """The first outcome it learned: a model is the sum of all it saw."""
        return {"outcomes": self._checked(mark).start}

    def rebuild(self, mark: bytes) -> None:
        """Starts empty at that outcome."""
        self._start = self._checked(mark).start

    def resume(self, mark: bytes) -> None:
        """Raises BrokenInvariant when the trail is not the committed one: replay has learned something else."""
        committed = self._checked(mark)
        self._committed = None
        if committed.trail not in ("", self.trail) and not self._lossy:
            raise BrokenInvariant(
                f"recovery of model shard {self.shard} came to trail {self.trail} at offset {committed.next_offset}, "
                f"committed was {committed.trail}"
            )

    def skip_to(self, offsets: Mapping[str, int]) -> None:
        """Goes on at a later offset. The model lacks the outcomes in between, so its trail is not compared any more."""
        self._start = self._next_offset = offsets["outcomes"]
        self._lossy = True

    def _checked(self, mark: bytes) -> LearnMark:
        committed, digest = decode(mark, LearnMark), self.settings.digest()
        if committed.settings == self.settings.former_digest():
            raise StateMismatch(
                f"model shard {self.shard} was learned by the version before; stop all workers of the group, run "
                "`clickfold upgrade`, and start this one again"
            )
        if committed.settings != digest:
            raise StateMismatch(
                f"model shard {self.shard} was learned under settings {committed.settings}, these are {digest}; "
                "restore them, or learn under another --group"
            )
        return committed

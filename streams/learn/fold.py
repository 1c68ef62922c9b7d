"""The learner as a worker's fold: how a model shard is owned, committed and recovered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from online_models.learner import Learner
from online_models.settings import LearnerSettings
from online_models.snapshot import KeptModel
from online_models.turns import EVERYTHING
from schemas.codec import decode, encode
from schemas.errors import BrokenInvariant, StateMismatch
from schemas.records import Out
from streams.engine.fold import Fold
from streams.engine.ports import Disk
from streams.learn.saves import Saves

# Of a challenger's settings digest: enough to see that it is another one, and few bytes.
_SHORT: Final = 8


class LearnMark(msgspec.Struct, frozen=True):
    """Commit metadata of a learn task. `start`: the offset from which this model is learned.

    `trail` is empty where the program before learned in another way: then the trail is not compared. `challengers` has
    the first letters of each one's settings digest and the offset from which it learns: 60 bytes each, of 4,000.
    """

    settings: str
    next_offset: int
    trail: str
    start: int = 0
    challengers: dict[str, tuple[str, int]] = {}


class LearnFold(Learner, Fold):
    """One model shard: a `Learner` with an owner. It has no side log, no seals, and needs no epoch."""

    def __init__(self, settings: LearnerSettings, *, shard: int, disk: Disk | None = None) -> None:
        """Without a disk a snapshot is the whole state."""
        super().__init__(settings, shard=shard)
        self._saves = Saves(disk) if disk is not None else None
        self._start = 0
        self._lossy = False
        # What the former owner committed, until this one has caught up with it.
        self._committed: LearnMark | None = None

    def positions(self) -> dict[str, int]:
        """The next offset of `outcomes`; before anything is learned, the offset where the log began."""
        return {log: max(offset, self._start) for log, offset in super().positions().items()}

    def state_bytes(self) -> int:
        """Memory of the arrays of all models, whether they are in use yet or not."""
        return self.nbytes

    def mark(self) -> bytes:
        """Settings, next offset and trail of the learner, and the offset where it and each challenger began."""
        challengers = {each.name: (each.digest[:_SHORT], each.start or 0) for each in self.lineup.entrants[1:]}
        if self._committed is not None:
            # What is committed is ahead of this learner, which replays.
            return encode(msgspec.structs.replace(self._committed, challengers=challengers))
        offset = super().positions()["outcomes"]
        return encode(LearnMark(self.settings.digest(), offset, self.trail, self._start, challengers))

    def begin(self, mark: bytes | None, *, offsets: dict[str, int], epoch: int) -> list[Out]:  # noqa: ARG002
        """Takes ownership. Versions of a model follow its offset, so no epoch is needed."""
        if mark is None:
            self._start = offsets["outcomes"]
        else:
            self._committed = self._checked(mark)
            self._start = self._committed.start
        starts = self._committed.challengers if self._committed is not None else {}
        self.lineup.begin(
            {name: KeptModel(name, digest, start) for name, (digest, start) in starts.items()},
            self.positions()["outcomes"],
        )
        return []

    def rebuild_offsets(self, mark: bytes) -> dict[str, int]:
        """The first outcome it learned: a model is the sum of all it saw."""
        return {"outcomes": self._checked(mark).start}

    def rebuild(self, mark: bytes) -> None:
        """Starts empty at that outcome."""
        self._start = self._checked(mark).start
        if self._saves is not None:
            self._saves.clear()

    def snapshot(self) -> bytes:
        """The manifest of the files that have the state, of which this call wrote the last one."""
        if self._saves is None:
            return super().snapshot()
        if not self.continues:
            self.continues = True
            return self._saves.add(self.save(EVERYTHING), alone=True)
        return self._saves.add(self.save(self._saves.turn))

    def restore(self, *saved: bytes) -> None:
        """Takes the state of a snapshot. Raises StateMismatch or DamagedState."""
        super().restore(*(saved if self._saves is None else self._saves.read(saved[-1])))

    def files(self) -> Mapping[str, int]:
        """The files that the last snapshot names, with their lengths."""
        return self._saves.files() if self._saves is not None else {}

    def snapshot_kept(self) -> None:
        """The last snapshot is durable: deletes the files that it does not name."""
        if self._saves is not None:
            self._saves.kept()

    def resume(self, mark: bytes) -> None:
        """Raises BrokenInvariant when the trail is not the committed one: replay has learned something else."""
        committed = self._checked(mark)
        self._committed = None
        self.offers.resumed(committed.next_offset)
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
        if committed.settings in self.settings.former_digests():
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

"""The digest of everything that a join decides by, and the digests of groups that may be moved to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from schemas.bounds import JoinBounds
from schemas.dimensions import ExtraDimension, digest_texts
from streams.join.moved import former_digest


@dataclass(frozen=True)
class JoinIdentity:
    """The settings of a join. `topics`: the ids of its inputs, their partitions and the shards of outcomes, as text.

    `input_map`: the digest of the mapping that it reads inputs through; empty for none.
    """

    bounds: JoinBounds
    dimensions: Sequence[str]
    extra: Sequence[ExtraDimension]
    topics: Sequence[str]
    input_map: str = ""

    @cached_property
    def digest(self) -> str:
        """The digest under which this version runs it."""
        return self._digest(self.extra)

    @cached_property
    def former(self) -> str:
        """The digest that fold version 1 gave it. That version had no extra dimensions."""
        return former_digest(self.bounds, *self.dimensions, *self._inputs)

    @cached_property
    def before(self) -> dict[str, tuple[ExtraDimension, ...]]:
        """The digests before some of the extra dimensions were added, each with those that were added."""
        return {
            self._digest([dimension for dimension in self.extra if dimension not in added]): added
            for count in range(1, len(self.extra) + 1)
            for added in combinations(self.extra, count)
        }

    def _digest(self, extra: Sequence[ExtraDimension]) -> str:
        return self.bounds.digest(*self.dimensions, *digest_texts(extra), *self._inputs)

    @property
    def _inputs(self) -> Sequence[str]:
        return (*self.topics, self.input_map) if self.input_map else self.topics

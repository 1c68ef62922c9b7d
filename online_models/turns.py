"""Which part of a state a checkpoint writes, and how parts become the state again.

A checkpoint writes what changed since the one before, and of all the rest the part whose turn it is: one of `TURNS`. So
its cost follows what changed, and the last `TURNS` checkpoints together have everything, however old it is. A state
that is written anew as a whole now and then would hold up the learner for as long as all of it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# A power of two. With twice as many, a checkpoint writes half as much of what did not change; but a restart reads twice
# as many changes, each of which may be the whole state when all of it changes between two checkpoints.
TURNS: Final = 16


@dataclass(frozen=True, slots=True)
class Turn:
    """Selects entries of a state by their numbers, which they keep. `part` None: all entries."""

    part: int | None

    def has(self, numbers: NDArray[np.int64], unsaved: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which entries are to be written: those that are not saved yet, and those whose turn it is."""
        if self.part is None:
            return np.ones(len(numbers), np.bool_)
        chosen: NDArray[np.bool_] = unsaved | (numbers & (TURNS - 1) == self.part)
        return chosen


EVERYTHING: Final = Turn(None)


def joined(saved: Sequence[Sequence[bytes]], kinds: Iterable[str]) -> list[NDArray[Any]]:
    """The first columns of what was saved by turns, each put end to end in that order, as these types."""
    return [np.frombuffer(b"".join(columns[place] for columns in saved), kind) for place, kind in enumerate(kinds)]


def latest(numbers: NDArray[np.int64], kept: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Of entries that were written in this order: the places of the last of each number, by number.

    Only of numbers in `kept`; None: of all.
    """
    _, from_end = np.unique(numbers[::-1], return_index=True)
    places = len(numbers) - 1 - from_end
    return places if kept is None else places[np.isin(numbers[places], kept)]

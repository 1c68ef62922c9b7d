"""Which part of a state a checkpoint writes, and how parts become the state again.

A checkpoint writes what changed since the one before, and of all the rest the part whose turn it is: one of `TURNS`. So
its cost follows what changed, and the last `TURNS` checkpoints together have everything, however old it is. A state
that is written anew as a whole now and then would hold up the learner for as long as all of it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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


def latest(numbers: Sequence[NDArray[np.int64]], kept: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Of entries that were written in this order, put end to end: the places of the last of each number, by number.

    Only of numbers in `kept`; None: of all.
    """
    every = np.concatenate((np.zeros(0, np.int64), *numbers))
    _, from_end = np.unique(every[::-1], return_index=True)
    places = len(every) - 1 - from_end
    return places if kept is None else places[np.isin(every[places], kept)]

"""Which lines of an array were written: a bit for each line, ever and since the last checkpoint.

The kernels set bits. With a byte a line, those of the 2^22 lines of pairs were no longer in the processor's cache when
a row wrote some hundred of them: that took a tenth of the mixture's time (2026-11-30).
"""

from __future__ import annotations

import numpy as np

from online_models.turns import TURNS, Turn
from schemas.compiled import inlined


@inlined
def mark(unsaved: np.ndarray, line: int) -> None:
    """Sets the bit of a line."""
    unsaved[line >> 3] |= 1 << (line & 7)


class Marks:
    """The bits of an array with so many lines. None was written yet."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self.unsaved = np.zeros(-(-lines // 8), np.uint8)
        self._saved = np.zeros(len(self.unsaved), np.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.unsaved.nbytes + self._saved.nbytes

    def used(self) -> np.ndarray:
        """The numbers of lines that were ever written."""
        return np.flatnonzero(self._of(self.unsaved | self._saved))

    def due(self, turn: Turn) -> np.ndarray:
        """The numbers of lines that a checkpoint writes in this turn: all that changed, and its part of the others."""
        chosen, its = self._of(self.unsaved), slice(turn.part, None, None if turn.part is None else TURNS)
        chosen[its] = self._of(self.unsaved | self._saved)[its]
        return np.flatnonzero(chosen)

    def saved(self) -> None:
        """All that changed is saved."""
        self._saved |= self.unsaved
        self.unsaved[:] = 0

    def clear(self) -> None:
        """None is written."""
        self.unsaved[:] = self._saved[:] = 0

    def add_saved(self, lines: np.ndarray) -> None:
        """These lines have what a checkpoint has."""
        written = np.zeros(self._lines, np.uint8)
        written[lines] = 1
        self._saved |= np.packbits(written, bitorder="little")

    def _of(self, bits: np.ndarray) -> np.ndarray:
        return np.unpackbits(bits, count=self._lines, bitorder="little").view(np.bool_)

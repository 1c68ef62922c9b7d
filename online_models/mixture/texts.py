"""The texts of keys: each is decoded once, from the first row that has it, found by a kernel."""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.compiled import INT64, kernel, read, written

# The fewest places of the table of keys; a power of two.
_FEWEST: Final = 1 << 10


class Texts(dict[int, str]):
    """The text of each key that was taken since it was last cleared. 32 bytes a key besides."""

    def __init__(self) -> None:
        super().__init__()
        # Keys at places that follow from them; 0 where there is none. At most half of it is filled.
        self._keys = np.zeros(_FEWEST, np.uint64)

    def clear(self) -> None:
        super().clear()
        self._keys = np.zeros(_FEWEST, np.uint64)

    def take(self, joined: bytes, spans: np.ndarray, keys: np.ndarray, column: int) -> None:
        """Takes the texts of the keys in a column, 0 for none. The spans say where in `joined` each is."""
        most = 2 * (len(self) + len(keys))
        if most > len(self._keys):
            self._keys = np.zeros(1 << most.bit_length(), np.uint64)
            self._unseen(np.array([list(self)], np.uint64).T, 0)
        rows = self._unseen(keys, column)
        for key, (at, to) in zip(keys[rows, column].tolist(), spans[rows, column].tolist(), strict=True):
            self.setdefault(key, joined[at:to].decode("ascii"))

    def _unseen(self, keys: np.ndarray, column: int) -> np.ndarray:
        rows = np.empty(len(keys), np.int64)
        count = np.zeros(1, np.int64)
        unseen(np.ascontiguousarray(keys), self._keys, rows, count, column)
        return rows[: int(count[0])]


@kernel(read("u8", 2), written("u8"), written("i8"), written("i8"), INT64, allocates=False)
def unseen(keys: np.ndarray, table: np.ndarray, rows: np.ndarray, count: np.ndarray, column: int) -> None:
    """Puts the keys in a column into the table, and the rows of those that were not there into `rows`."""
    mask = np.uint64(len(table) - 1)
    for row in range(len(keys)):
        key = keys[row, column]
        place = np.int64(key & mask)
        while table[place] != key and table[place] != 0:
            place = np.int64((np.uint64(place) + np.uint64(1)) & mask)
        if table[place] != key:
            table[place] = key
            rows[count[0]] = row
            count[0] += 1

"""The positions of each hash of an id: hash tables, each filled, then only asked, then dropped as a whole.

Positions only grow, and those that are no longer in use are the lowest. So nothing is ever taken out of a table: it is
dropped when its highest position is below the lowest in use. A new table is as large as all that the index holds: two
or three of them are in use at a time, and a dozen while the first million rows come in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streams.kernels import index as kernels

Hashes = npt.NDArray[np.uint64]
# 64 bits, because 50,000 impressions a second fill 32 bits in a day.
Positions = npt.NDArray[np.int64]

# Rows of the smallest table: 128 KiB. Every partition has one.
SMALLEST_ROWS = 12_288
# Positions that one table tells apart.
TABLE_POSITIONS = kernels.MOST_POSITIONS
# At most three of four slots are taken. A look-up then reads eight of them on average, which are one line of cache.
_ROWS = 3
_OF_SLOTS = 4


class _Table:
    """A table for rows from the position `first` on: it always has free slots."""

    def __init__(self, first: int, rows: int) -> None:
        self.first = first
        slots = -(-rows * _OF_SLOTS // _ROWS)
        self.slots: npt.NDArray[np.uint64] = np.zeros(1 << (slots - 1).bit_length(), np.uint64)
        self.rows = 0
        self.last = first

    @property
    def room(self) -> int:
        """How many more rows it takes."""
        return len(self.slots) * _ROWS // _OF_SLOTS - self.rows

    def add(self, hashes: Hashes, positions: Positions) -> None:
        kernels.insert(self.slots, self.first, hashes, positions)
        self.rows += len(hashes)
        self.last = int(positions[-1])


class Index:
    """Every position of a hash, over all tables."""

    def __init__(self) -> None:
        self._tables: list[_Table] = []

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return sum(table.slots.nbytes for table in self._tables)

    def add(self, hashes: Hashes, positions: Positions, *, base: int) -> None:
        """Adds rows; `positions` ascend and are above all before. `base` is the lowest position that is in use."""
        while self._tables and self._tables[0].last < base:
            del self._tables[0]
        done = 0
        while done < len(hashes):
            first = int(positions[done])
            # Those that its table can number.
            stop = int(np.searchsorted(positions, self._table(first).first + TABLE_POSITIONS))
            table = self._tables[-1]
            part = slice(done, min(stop, done + table.room))
            table.add(hashes[part], positions[part])
            done = part.stop

    def _table(self, position: int) -> _Table:
        """The table that takes this position."""
        last = self._tables[-1] if self._tables else None
        if last is None or not last.room or position - last.first >= TABLE_POSITIONS:
            held = sum(table.rows for table in self._tables)
            last = _Table(position, min(max(SMALLEST_ROWS, held), TABLE_POSITIONS))
            self._tables.append(last)
        return last

    def find(self, hashes: Hashes, *, base: int = 0) -> tuple[npt.NDArray[np.int64], Positions]:
        """All hits as (place in `hashes`, position), positions below `base` left out. Two hashes may be taken for one:
        compare the ids.
        """
        columns = [(table.slots.ctypes.data, len(table.slots) - 1, table.first) for table in self._tables]
        tables = np.array(columns, np.int64).reshape(-1, kernels.COLUMNS)
        room = len(hashes) + 16
        while True:
            places, positions = np.empty(room, np.int64), np.empty(room, np.int64)
            count = kernels.find(tables, hashes, base, places, positions)
            if count >= 0:
                return places[:count], positions[:count]
            room *= 4

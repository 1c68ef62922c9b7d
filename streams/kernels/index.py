"""Hash tables of positions by the hash of an id: a table is filled, then only asked, then dropped as a whole.

A slot holds the upper bits of a hash and how far behind the table's first position the position is; 0 is free. Two
hashes may have the same upper bits: who asks compares the ids.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.compiled import INT64, kernel, part, read, written
from schemas.instructions import prefetch, word
from streams.kernels.machine import Int

Int64s = npt.NDArray[np.int64]
Uint64s = npt.NDArray[np.uint64]

# Bits of a slot for the distance from the table's first position.
_POSITION_BITS: Final = 26
# A table holds positions less than this above its first.
MOST_POSITIONS: Final = (1 << _POSITION_BITS) - 1
_SHIFT: Final = np.uint64(_POSITION_BITS)
_DISTANCE: Final = np.uint64(MOST_POSITIONS)
# Columns of a list of tables: the address of the slots, their number less one, the first position.
_SLOTS, _MASK, _FIRST, COLUMNS = range(4)
# So many look-ups ahead a slot is fetched into the processor's cache.
_AHEAD: Final = 12


@part
def _place(hash_: Int, mask: Int) -> Int:
    return np.int64(hash_ & np.uint64(mask))


@kernel(written("u8"), INT64, read("u8"), read("i8"))
def insert(slots: Uint64s, first: int, hashes: Uint64s, positions: Int64s) -> None:
    """Adds positions, each with its hash. The number of slots is a power of two.

    Raises IndexError when a position is out of the table's range or not every one finds a free slot.
    """
    mask = len(slots) - 1
    if len(hashes) > len(positions) or len(slots) & mask != 0:
        raise IndexError("there are more hashes than positions, or the slots are not a power of two")
    for number in range(len(hashes)):
        distance = positions[number] - first + 1
        if distance < 1 or distance > MOST_POSITIONS:
            raise IndexError("a position is not within the table")
        place, tries = _place(hashes[number], mask), 0
        while slots[place] != 0:
            place, tries = (place + 1) & mask, tries + 1
            if tries > mask:
                raise IndexError("the table is full")
        slots[place] = (hashes[number] >> _SHIFT) << _SHIFT | np.uint64(distance)


@kernel(read("i8", 2), read("u8"), INT64, written("i8"), written("i8"))
def find(tables: Int64s, hashes: Uint64s, base: int, places: Int64s, positions: Int64s) -> int:
    """Writes each position from `base` on that one of the hashes may have, with the hash's place in `hashes`.

    Returns how many there are, or -1 when more than fit. Each table has a free slot.
    """
    room, count = min(len(places), len(positions)), 0
    for number in range(len(hashes)):
        if number + _AHEAD < len(hashes):
            for table in range(len(tables)):
                prefetch(tables[table, _SLOTS] + 8 * _place(hashes[number + _AHEAD], tables[table, _MASK]))
        tag = hashes[number] >> _SHIFT
        for table in range(len(tables)):
            mask = tables[table, _MASK]
            place = _place(hashes[number], mask)
            while True:
                slot = word(tables[table, _SLOTS] + 8 * place)
                if slot == 0:
                    break
                if slot >> _SHIFT == tag:
                    position = tables[table, _FIRST] + np.int64(slot & _DISTANCE) - 1
                    if position >= base:
                        if count == room:
                            return -1
                        places[count], positions[count] = number, position
                        count += 1
                place = (place + 1) & mask
    return count

"""From a row's slots to lines of the arrays: where they are, then numbers scaled, and how new each category is.

Where a row's lines are does not depend on what was learned, but for which pairs of fields are counted. So they are
found one row ahead and fetched into the processor's cache, because they are far apart in memory: waiting for them took
a third of the time of a row (2026-11-30).
"""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.hashing import bucketed, mixed, paired
from online_models.mixture.layout import (
    CACHE_BYTES,
    FIELDS,
    NOVELTIES,
    NUMBERS,
    PAIR_COLUMNS,
    ROW_PAIRS,
    ROW_SLOTS,
    SEEN,
    SLOT_COLUMNS,
    SQUARES,
)
from online_models.mixture.marks import mark
from schemas.compiled import inlined
from schemas.instructions import Int, prefetch, word

# Sizes of a row, in `sizes`: entries without novelties, all entries, categories, pairs.
PLAIN, WHOLE, CATEGORIES, PAIRS = 0, 1, 2, 3
SIZES = 4
# `ahead`, addresses of the next row's lines, behind where the next one that is to be fetched is and where they end.
NEXT, END = 0, 1
AHEAD = 2 + 3 * ROW_SLOTS + ROW_PAIRS
# Lines that are fetched together. A processor that is to fetch some dozens at once from pages that it does not know
# waits for them: nothing is won with 58, all with 12 (2026-11-30).
_FETCHED = 12
# A number that is nearly always 0 is not blown up beyond a thousandfold.
_LEAST_SCALE = 1e-3
_FRACTION, _POWER_OF_HALF = np.uint64(52), 1_022
# Bytes of a line, and where the count of rows is.
_SLOT_BYTES, _PAIR_BYTES = 8 * SLOT_COLUMNS, 8 * PAIR_COLUMNS
assert SEEN == 0, "it is read at the address of a line"
assert CACHE_BYTES < _SLOT_BYTES <= 2 * CACHE_BYTES, "three places are within each line that a slot may lie on"


@inlined
def _novelty(seen: np.uint64) -> Int:
    """0 for a category that was never seen, else 1 + the power of two of how often, bounded; from the bits of a double.

    How often is a whole number. A double has its power of two, and 1,023, above the 52 bits of its fraction.
    """
    return max(0, min(NOVELTIES - 1, np.int64(seen >> _FRACTION) - _POWER_OF_HALF))


@inlined
def locate_slots(
    turn: int,
    first: int,
    last: int,
    keys: np.ndarray,
    values: np.ndarray,
    numbers: np.ndarray,
    field_of: np.ndarray,
    slots: np.ndarray,
    entry_at: np.ndarray,
    category_at: np.ndarray,
    category_key: np.ndarray,
    category_field: np.ndarray,
    sizes: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """Fills the lines of the entries and categories of the row with the slots `first` to `last`; all but novelties.

    Entry 0 is the intercept. A number is an entry with its value, and an entry for its bucket. The key of a category is
    mixed.
    """
    hashed = len(slots) - 1 - FIELDS * NOVELTIES
    mask, address = np.uint64(hashed - 1), np.int64(slots.ctypes.data)
    entry_at[turn, 0] = hashed
    entries, end = 1, 2
    for slot in range(first, last):
        key = keys[slot]
        if numbers[slot]:
            line = np.int64(mixed(key) & mask)
            entry_at[turn, entries] = line
            entries += 1
            key = bucketed(key, values[slot])
        key = mixed(key)
        line, category = np.int64(key & mask), slot - first
        entry_at[turn, entries], category_at[turn, category] = line, line
        category_key[turn, category], category_field[turn, category] = key, field_of[slot]
        entries += 1
        begin = address + line * _SLOT_BYTES
        ahead[end], ahead[end + 1], ahead[end + 2] = begin, begin + CACHE_BYTES, begin + _SLOT_BYTES - 1
        end += 3
    sizes[turn, PLAIN], sizes[turn, CATEGORIES] = entries, last - first
    sizes[turn, WHOLE] = entries + last - first
    ahead[NEXT], ahead[END] = 2, end


@inlined
def locate_pairs(
    turn: int,
    many: int,
    ids: np.ndarray,
    category_key: np.ndarray,
    category_field: np.ndarray,
    pairs: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    pair_at: np.ndarray,
    pair_cross: np.ndarray,
    pair_one: np.ndarray,
    pair_other: np.ndarray,
    sizes: np.ndarray,
    ahead: np.ndarray,
) -> None:
    """Fills the lines of the row's pairs, the places of their crosses among those counted, and their two categories.

    Categories are in the order of their fields; a field may have several.
    """
    mask, address = np.uint64(len(pairs) - 1), np.int64(pairs.ctypes.data)
    for field in range(FIELDS):
        begins[field], ends[field] = 0, 0
    for category in range(sizes[turn, CATEGORIES]):
        field = category_field[turn, category]
        if ends[field] == 0:
            begins[field] = category
        ends[field] = category + 1
    found, end = 0, ahead[END]
    for place in range(many):
        field, other_field = ids[place] // FIELDS, ids[place] % FIELDS
        for one in range(begins[field], ends[field]):
            for other in range(begins[other_field], ends[other_field]):
                if found < ROW_PAIRS:
                    key = paired(category_key[turn, one], category_key[turn, other])
                    line = np.int64(key & mask)
                    ahead[end + found] = address + line * _PAIR_BYTES
                    pair_at[turn, found], pair_cross[turn, found] = line, place
                    pair_one[turn, found], pair_other[turn, found] = one, other
                    found += 1
    sizes[turn, PAIRS] = found
    ahead[END] = end + found


@inlined
def fetch_some(ahead: np.ndarray) -> None:
    """Begins to fetch the next few lines."""
    begin, end = ahead[NEXT], min(ahead[END], ahead[NEXT] + _FETCHED)
    for each in range(begin, end):
        prefetch(ahead[each])
    ahead[NEXT] = end


@inlined
def scale_entries(
    turn: int,
    first: int,
    last: int,
    late: bool,
    values: np.ndarray,
    numbers: np.ndarray,
    field_of: np.ndarray,
    seen: np.ndarray,
    slots: np.ndarray,
    fields: np.ndarray,
    entry_at: np.ndarray,
    entry_x: np.ndarray,
    category_at: np.ndarray,
    sizes: np.ndarray,
) -> None:
    """Fills what each entry is multiplied by, and the lines of novelties, which stand behind all other entries.

    A number is divided by its running root mean square. A `late` row keeps the novelty it was shown with, because at
    that time its own neighbours had not been learned.
    """
    hashed, address = len(slots) - 1 - FIELDS * NOVELTIES, np.int64(slots.ctypes.data)
    entry_x[0] = 1.0
    entries, new = 1, sizes[turn, PLAIN]
    for slot in range(first, last):
        field = field_of[slot]
        if numbers[slot]:
            x = values[slot]
            square = (fields[field, SQUARES] + x * x) / (fields[field, NUMBERS] + 1.0)
            entry_x[entries] = x / max(_LEAST_SCALE, math.sqrt(square))
            entries += 1
        entry_x[entries] = 1.0
        entries += 1
        if not late:
            seen[slot] = _novelty(word(address + category_at[turn, slot - first] * _SLOT_BYTES))
        entry_at[turn, new] = hashed + 1 + field * NOVELTIES + np.int64(seen[slot])
        entry_x[new] = 1.0
        new += 1


@inlined
def mark_lines(
    turn: int,
    slot_marks: np.ndarray,
    pair_marks: np.ndarray,
    entry_at: np.ndarray,
    pair_at: np.ndarray,
    sizes: np.ndarray,
) -> None:
    """Marks the lines of a row's entries, which include its categories, and of its pairs."""
    for entry in range(sizes[turn, WHOLE]):
        mark(slot_marks, entry_at[turn, entry])
    for pair in range(sizes[turn, PAIRS]):
        mark(pair_marks, pair_at[turn, pair])

"""From a row's slots to lines of the arrays: numbers scaled and bucketed, and how new each category is."""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.hashing import bucketed, mixed
from online_models.mixture.layout import FIELDS, NOVELTIES, NUMBERS, SEEN, SQUARES, UNSAVED
from schemas.compiled import inlined, part

# Sizes of a row, in `sizes`: entries without novelties, all entries, categories, pairs.
PLAIN, WHOLE, CATEGORIES, PAIRS = 0, 1, 2, 3
# A number that is nearly always 0 is not blown up beyond a thousandfold.
_LEAST_SCALE = 1e-3


@part
def novelty(seen: float) -> int:
    """0 for a category that was never seen, else 1 + the power of two of how often, bounded."""
    power, left = 0, seen
    while left >= 1.0 and power < NOVELTIES - 1:
        power, left = power + 1, left * 0.5
    return power


@inlined
def expand(
    first: int,
    last: int,
    late: bool,
    keys: np.ndarray,
    values: np.ndarray,
    numbers: np.ndarray,
    field_of: np.ndarray,
    seen: np.ndarray,
    slots: np.ndarray,
    fields: np.ndarray,
    entry_at: np.ndarray,
    entry_x: np.ndarray,
    category_at: np.ndarray,
    category_key: np.ndarray,
    category_field: np.ndarray,
    sizes: np.ndarray,
) -> None:
    """Fills the entries and categories of the row with the slots `first` to `last`.

    Entry 0 is the intercept. A number is an entry with its value by its running root mean square, and an entry for its
    bucket. The key of a category is mixed. The novelty of each category is an entry behind all of these; a `late` row
    keeps the novelty it was shown with, because at that time its own neighbours had not been learned.
    """
    hashed = len(slots) - 1 - FIELDS * NOVELTIES
    mask = np.uint64(hashed - 1)
    entry_at[0], entry_x[0] = hashed, 1.0
    entries, categories = 1, 0
    for slot in range(first, last):
        field, key, x = field_of[slot], keys[slot], values[slot]
        if numbers[slot]:
            square = (fields[field, SQUARES] + x * x) / (fields[field, NUMBERS] + 1.0)
            entry_at[entries] = np.int64(mixed(key) & mask)
            entry_x[entries] = x / max(_LEAST_SCALE, math.sqrt(square))
            entries += 1
            key = bucketed(key, x)
        key = mixed(key)
        line = np.int64(key & mask)
        entry_at[entries], entry_x[entries] = line, 1.0
        category_at[categories], category_key[categories], category_field[categories] = line, key, field
        if not late:
            seen[slot] = novelty(slots[line, SEEN])
        entries, categories = entries + 1, categories + 1
    sizes[PLAIN], sizes[CATEGORIES] = entries, categories
    for slot in range(first, last):
        entry_at[entries] = hashed + 1 + field_of[slot] * NOVELTIES + np.int64(seen[slot])
        entry_x[entries] = 1.0
        entries += 1
    sizes[WHOLE] = entries


@inlined
def mark_lines(
    slot_marks: np.ndarray, pair_marks: np.ndarray, entry_at: np.ndarray, pair_at: np.ndarray, sizes: np.ndarray
) -> None:
    """Marks the lines of a row's entries, which include its categories, and of its pairs."""
    for entry in range(sizes[WHOLE]):
        slot_marks[entry_at[entry]] = UNSAVED
    for pair in range(sizes[PAIRS]):
        pair_marks[pair_at[pair]] = UNSAVED

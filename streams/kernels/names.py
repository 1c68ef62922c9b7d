"""Names of dimensions to codes: one hash table for all dimensions of a quarter-hour."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.compiled import BYTES, inlined, kernel, part, read, written
from schemas.events import MAX_ID_CHARS
from schemas.instructions import LOW_BYTES, word
from streams.kernels.hashing import xxh3
from streams.kernels.machine import Int, copy, half, start_of
from streams.kernels.scan import AT_SPANS, DIMS, ROW, ROW_BYTES
from streams.kernels.slices import MARGIN

# Columns of an entry: where its text begins, its length, dimension, code, and hash.
START, LENGTH, DIMENSION, CODE, HASH, ENTRY = range(6)
# Numbers in `state`: names, bytes of text; then the next code of each dimension, at least of those of `scan`.
NAMES, TEXT_BYTES = range(2)
NEXT_CODES: Final = 2
STATE: Final = NEXT_CODES + DIMS
# The longest name in UTF-8. Texts are compared in words, so that many bytes more than they have must be readable.
MAX_NAME_BYTES: Final = 4 * MAX_ID_CHARS
TEXT_MARGIN: Final = 8
_PER_DIMENSION = np.uint64(0x9E3779B97F4A7C15)
_HASH_BITS = np.uint64(2**63 - 1)

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
_TABLE = (written("i4"), written("i8", 2), written("u1"), written("i8"))


@part
def _equal(left: Int, right: Int, length: Int) -> bool:
    while length > 8:
        if word(left) != word(right):
            return False
        left += 8
        right += 8
        length -= 8
    return bool(((word(left) ^ word(right)) & LOW_BYTES[length]) == 0)


@inlined
def _code(dimension: Int, at: Int, length: Int, slots: Int, entries: Int, texts: Int, state: Int) -> Int:
    """The code of the text at an address. A new name is added: `_has_room` was asked."""
    hash_ = np.int64((xxh3(at, length) + _PER_DIMENSION * np.uint64(dimension)) & _HASH_BITS)
    mask = len(slots) - 1
    slot = hash_ & mask
    base = start_of(texts)
    number = slots[slot]
    while number != 0:
        if (
            entries[number, HASH] == hash_
            and entries[number, DIMENSION] == dimension
            and entries[number, LENGTH] == length
            and _equal(base + entries[number, START], at, length)
        ):
            break
        slot = (slot + 1) & mask
        number = slots[slot]
    if number == 0:
        state[NAMES] += 1
        number = state[NAMES]
        slots[slot] = number
        entries[number, START] = state[TEXT_BYTES]
        entries[number, LENGTH] = length
        entries[number, DIMENSION] = dimension
        entries[number, CODE] = state[NEXT_CODES + dimension]
        entries[number, HASH] = hash_
        copy(base + state[TEXT_BYTES], at, length)
        state[TEXT_BYTES] += length
        state[NEXT_CODES + dimension] += 1
    return entries[number, CODE]


@inlined
def _has_room(slots: Int, entries: Int, texts: Int, state: Int, names: Int) -> Int:
    """Whether so many names more fit, each of the greatest length."""
    count = state[NAMES] + names
    needed = state[TEXT_BYTES] + names * MAX_NAME_BYTES + TEXT_MARGIN
    return count < len(entries) and 2 * count < len(slots) and needed <= len(texts)


@kernel(BYTES, read("i8"), read(ROW), read("i8"), read("?"), *_TABLE, written("i4", 2))
def code_scanned(
    values: Bytes,
    starts: Int64s,
    rows: npt.NDArray[np.void],
    chosen: Int64s,
    wanted: npt.NDArray[np.bool_],
    slots: Int32s,
    entries: Int64s,
    texts: Bytes,
    state: Int64s,
    codes: Int32s,
) -> int:
    """Writes the codes of the chosen rows of `scan`, whose values begin at `starts`. Unwanted and absent ones are 0.

    Returns how many of them it did: fewer than there are when the table has no room for the names of the next one.
    """
    if len(codes) < len(chosen) or len(wanted) < DIMS or len(state) < STATE or len(starts) < len(rows):
        raise IndexError("an array is shorter than the rows are many")
    if codes.shape[1] < DIMS:
        raise IndexError("there are fewer codes than dimensions")
    base, row_base = start_of(values), start_of(rows)
    for number in range(len(chosen)):
        if not _has_room(slots, entries, texts, state, DIMS):
            return number
        place = chosen[number]
        if place < 0 or place >= len(rows):
            raise IndexError("there is no such row")
        start = starts[place]
        for dimension in range(DIMS):
            span = np.int64(half(row_base + ROW_BYTES * place + AT_SPANS + 4 * dimension))
            length, at = span & 0xFFFF, start + (span >> 16)
            code = np.int64(0)
            if wanted[dimension] and length > 0:
                if at < 0 or length > MAX_NAME_BYTES or at + length + MARGIN > len(values):
                    raise IndexError("a name is not within its buffer")
                code = _code(dimension, base + at, length, slots, entries, texts, state)
            codes[number, dimension] = code
    return len(chosen)


@kernel(BYTES, read("i8", 2), read("i8"), *_TABLE, written("i4"))
def code_texts(
    buffer: Bytes,
    spans: Int64s,
    dimensions: Int64s,
    slots: Int32s,
    entries: Int64s,
    texts: Bytes,
    state: Int64s,
    codes: Int32s,
) -> int:
    """Writes the code of each text, of its dimension; that of an empty one is 0. Returns how many it did, as above."""
    if len(codes) < len(spans) or len(dimensions) < len(spans) or len(state) < STATE:
        raise IndexError("an array is shorter than the texts are many")
    base = start_of(buffer)
    for number in range(len(spans)):
        if not _has_room(slots, entries, texts, state, 1):
            return number
        start, length, dimension = spans[number, 0], spans[number, 1], dimensions[number]
        if start < 0 or length < 0 or length > MAX_NAME_BYTES or start + length + MARGIN > len(buffer):
            raise IndexError("a text is not within its buffer")
        if dimension < 0 or dimension >= len(state) - NEXT_CODES:
            raise IndexError("there is no such dimension")
        code = np.int64(0)
        if length > 0:
            code = _code(dimension, base + start, length, slots, entries, texts, state)
        codes[number] = code
    return len(spans)


@kernel(written("i4"), read("i8", 2), read("i8"))
def fill_name_slots(slots: Int32s, entries: Int64s, state: Int64s) -> None:
    """Puts all names into slots that are free."""
    mask = len(slots) - 1
    for number in range(1, state[NAMES] + 1):
        slot = entries[number, HASH] & mask
        while slots[slot] != 0:
            slot = (slot + 1) & mask
        slots[slot] = number

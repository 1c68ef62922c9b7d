"""Where the wanted values of JSON objects are: each record is read once, for any number of mappings.

What is read is a strict subset of JSON, as in `scan`: a record with anything else is left to msgspec. Names are UTF-8
without escapes; numbers have no exponent, at most 19 digits before the dot and 32 characters, and are no `-0`; a
wanted field is there at most once. Fields that nobody wants may be anything that msgspec reads within that, nested up
to `MOST_NESTED` deep. A wanted text with escapes is found, as ODD.

The wanted paths are a tree. An entry of it is a name within an object, or a number within a list.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.compiled import BYTES, inlined, kernel, part, read, written
from schemas.instructions import same_bytes
from streams.kernels.machine import Int, byte, put_int, signed_word, start_of
from streams.kernels.passing import container_end, escaped_text_end, scalar_end, value_start
from streams.kernels.slices import MARGIN
from streams.kernels.tokens import space_end, text_end

# Columns of an entry: where its name is in `names` (a place in a list, if its length is -1), the length of the name,
# the slot that keeps its value or -1, its first child or 0, and the next child of its parent or 0. Entry 0 is the
# record. Children have greater numbers than their parents, and each next child a greater one.
NAME, LENGTH, SLOT, CHILD, NEXT, ENTRY = range(6)
_ENTRY_BYTES = 8 * ENTRY
# Which were seen is one bit each.
MOST_ENTRIES: Final = 62
# How deep wanted values may be.
MOST_STEPS: Final = 12
# A slot is `start << 32 | length << 4 | kind`; the start and length of a text are those within the quotes.
ABSENT, TEXT, WHOLE, DECIMAL, TRUE, FALSE, OBJECT, LIST, ODD = range(9)
KIND_BITS, LENGTH_BITS = 4, 28
# Of a record that is read.
LONGEST: Final = (1 << LENGTH_BITS) - 1
LEFT, READ = 0, 1

Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@inlined
def _column(entries: Int, entry: Int, column: Int) -> Int:
    return signed_word(entries + _ENTRY_BYTES * entry + 8 * column)


@inlined
def _is_named(at: Int, stop: Int, entry: Int, entries: Int, names: Int) -> Int:
    """Whether the text that begins at `at` is the name of the entry."""
    length = _column(entries, entry, LENGTH)
    return (
        length >= 0
        and at + length < stop
        and byte(at + length) == 34
        and same_bytes(at, names + _column(entries, entry, NAME), length)
    )


@part
def _child_named(at: Int, stop: Int, parent: Int, entries: Int, names: Int) -> Int:
    """The child with the name that begins at `at`, 0 for none."""
    child = _column(entries, parent, CHILD)
    while child and not _is_named(at, stop, child, entries, names):
        child = _column(entries, child, NEXT)
    return child


@part
def _child_at(place: Int, parent: Int, entries: Int) -> Int:
    """The child at a place in a list, 0 for none."""
    child = _column(entries, parent, CHILD)
    while child and (_column(entries, child, LENGTH) >= 0 or _column(entries, child, NAME) != place):
        child = _column(entries, child, NEXT)
    return child


@part
def _kind(at: Int, end: Int) -> Int:
    """Of a literal or a number."""
    first = byte(at)
    if first == 110:
        return ABSENT
    if first == 116:
        return TRUE
    if first == 102:
        return FALSE
    for place in range(at, end):
        if byte(place) == 46:
            return DECIMAL
    return WHOLE


@part
def _find_one(value: Int, stop: Int, row: Int, slots: Int, entries: Int, names: Int, after: Int, open_ones: Int) -> Int:
    """READ, and then its row is written; or LEFT. All of the value and MARGIN bytes beyond can be read.

    `after` remembers which child was first, and which followed another one. `open_ones` has room for the entries and
    places of containers that are open.
    """
    at = space_end(value, stop)
    if at >= stop or byte(at) != 123:
        return LEFT
    for number in range(slots):
        put_int(row + 8 * number, np.int64(ABSENT))
    # A place below 0 is that of an object; `memory` is where the next child is remembered.
    depth, entry, place, seen, memory = 0, np.int64(0), np.int64(-1), np.int64(0), after
    at, is_first = at + 1, True
    while True:
        # At a member, or at the end of a container that is empty.
        at = space_end(at, stop)
        if at >= stop:
            return LEFT
        if not (is_first and byte(at) == (125 if place < 0 else 93)):
            child = np.int64(0)
            if place < 0:
                if byte(at) != 34:
                    return LEFT
                at += 1
                child = signed_word(memory)
                if child == 0 or not _is_named(at, stop, child, entries, names):
                    child = _child_named(at, stop, entry, entries, names)
                    if child:
                        put_int(memory, child)
                if child:
                    if seen >> child & 1:
                        return LEFT
                    seen |= np.int64(1) << child
                    memory = after + 16 * child + 8
                    at += _column(entries, child, LENGTH)
                else:
                    at = text_end(at, stop)
                    if at < 0:
                        return LEFT
                at = value_start(at, stop)
                if at < 0:
                    return LEFT
            else:
                child = _child_at(place, entry, entries)
                place += 1
            first = byte(at)
            slot = _column(entries, child, SLOT) if child else np.int64(-1)
            if first == 123 or first == 91:
                is_object = first == 123
                if child and _column(entries, child, CHILD):
                    if slot >= 0:
                        # The length follows at its end.
                        put_int(row + 8 * slot, (at - value) << 32 | (OBJECT if is_object else LIST))
                    put_int(open_ones + 24 * depth, entry)
                    put_int(open_ones + 24 * depth + 8, place)
                    put_int(open_ones + 24 * depth + 16, memory)
                    depth += 1
                    entry, place, memory = child, np.int64(-1 if is_object else 0), after + 16 * child
                    at, is_first = at + 1, True
                    continue
                end = container_end(at, stop)
                if end < 0:
                    return LEFT
                if slot >= 0:
                    put_int(
                        row + 8 * slot, (at - value) << 32 | (end - at) << KIND_BITS | (OBJECT if is_object else LIST)
                    )
            elif slot < 0:
                end = scalar_end(at, stop)
                if end < 0:
                    return LEFT
            elif first == 34:
                kind = np.int64(TEXT)
                end = text_end(at + 1, stop)
                if end < 0:
                    kind, end = np.int64(ODD), escaped_text_end(at + 1, stop)
                    if end < 0:
                        return LEFT
                put_int(row + 8 * slot, (at + 1 - value) << 32 | (end - at - 1) << KIND_BITS | kind)
                end += 1
            else:
                end = scalar_end(at, stop)
                if end < 0:
                    return LEFT
                kind = _kind(at, end)
                put_int(row + 8 * slot, (at - value) << 32 | (end - at) << KIND_BITS | kind)
            at = space_end(end, stop)
        while True:
            # Behind a value, or at the end of an empty container.
            if at >= stop:
                return LEFT
            closing = byte(at)
            if closing == 44:
                break
            if closing != (125 if place < 0 else 93):
                return LEFT
            at += 1
            if depth == 0:
                return READ if space_end(at, stop) == stop else LEFT
            slot = _column(entries, entry, SLOT)
            if slot >= 0:
                begun = signed_word(row + 8 * slot)
                put_int(row + 8 * slot, begun | (at - value - (begun >> 32)) << KIND_BITS)
            depth -= 1
            entry = signed_word(open_ones + 24 * depth)
            place = signed_word(open_ones + 24 * depth + 8)
            memory = signed_word(open_ones + 24 * depth + 16)
            at = space_end(at, stop)
        at, is_first = at + 1, False


@inlined
def _require_tree(entries: Int, names: Int, after: Int, open_ones: Int, slots: Int) -> Int:
    count = len(entries)
    if count < 1 or count > MOST_ENTRIES or entries.shape[1] != ENTRY:
        raise IndexError("a tree has 1 to 62 entries")
    if len(after) < 2 * count or len(open_ones) < 3 * (count + 1):
        raise IndexError("an array is shorter than the entries are many")
    for entry in range(count):
        length, slot = entries[entry, LENGTH], entries[entry, SLOT]
        child, following = entries[entry, CHILD], entries[entry, NEXT]
        if length >= 0 and (entries[entry, NAME] < 0 or entries[entry, NAME] + length + MARGIN > len(names)):
            raise IndexError("a name is not within its buffer")
        if slot >= slots or (child and (child <= entry or child >= count)):
            raise IndexError("there is no such slot or child")
        if following and (following <= entry or following >= count):
            raise IndexError("there is no such child")
    for number in range(2 * count):
        if after[number] < 0 or after[number] >= count:
            raise IndexError("no entry has such a number")
    return count


@kernel(BYTES, read("i8", 2), read("i8", 2), BYTES, written("i8"), written("i8"), written("i8", 2), written("i1"))
def find_places(
    values: Bytes,
    spans: Int64s,
    entries: Int64s,
    names: Bytes,
    after: Int64s,
    open_ones: Int64s,
    slots: Int64s,
    results: npt.NDArray[np.int8],
) -> int:
    """Writes the slots of each record, and says of each whether it is READ or LEFT. Returns how many are READ.

    `values` and `names` have `MARGIN` bytes beyond each of their spans. `after` has two numbers for each entry, at
    first all 0; it is memory from call to call. `open_ones` has three for each entry and three more, and is scratch.
    Raises IndexError for what is not within its array.
    """
    if len(slots) < len(spans) or len(results) < len(spans):
        raise IndexError("an array is shorter than the records are many")
    width = slots.shape[1]
    _require_tree(entries, names, after, open_ones, width)
    base, tree, texts = start_of(values), start_of(entries), start_of(names)
    memory, scratch, row, found = start_of(after), start_of(open_ones), start_of(slots), 0
    for number in range(len(spans)):
        start, length = spans[number, 0], spans[number, 1]
        result = LEFT
        if length > 0 and length <= LONGEST:
            if start < 0 or start + length + MARGIN > len(values):
                raise IndexError("a value is not within its buffer")
            value = base + start
            result = _find_one(value, value + length, row, width, tree, texts, memory, scratch)
        results[number] = result
        found += result
        row += 8 * width
    return found

"""Events in clickfold's own form, written from values that `find_places` has found, by the rules of a mapping.

What is written is, byte for byte, what `streams.mapping.compiled` makes of the record by single values. A record with
a value that a rule takes in another way, or does not take, is LEFT to it. A test holds this for mutated records.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.compiled import BYTES, INT64, inlined, kernel, part, read, written
from streams.kernels.machine import Int, copy, put_byte, put_int, signed_word, start_of
from streams.kernels.places import ABSENT, OBJECT, READ, TEXT
from streams.kernels.rules import (
    CONDITION,
    DATE,
    FEATURES,
    FIRST,
    FIXED,
    FIXED_LENGTH,
    FIXED_VALUE,
    IS,
    JOINED,
    KIND_MASK,
    LEFT,
    MANY,
    MOMENT,
    MONEY,
    NO_MORE,
    NOT,
    OP,
    PREFIX,
    PREFIX_LENGTH,
    REQUIRED,
    RULE,
    SLOT,
    TAKEN,
    A,
    B,
    C,
    is_word,
    length_of,
    ms_of,
    of,
    verdict,
)
from streams.kernels.slices import MARGIN
from streams.kernels.written import is_new, name_hash, put_digits, put_features, put_joined, put_value

# What a rule writes besides its prefix, its fixed text and what its sources have.
VALUE_BYTES: Final = 32
# Hashes of names of features, with how many they are, and what one record gives.
SCRATCH: Final = 300
_RULE_BYTES = 8 * RULE

Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@part
def _chosen(row: Int, value: Int, rule: Int, sources: Int, nulls: Int, words: Int, texts: Int) -> Int:
    """The first slot of a rule that has a value, else 0, which is ABSENT."""
    first = of(rule, FIRST)
    for number in range(first, first + of(rule, MANY)):
        slot = signed_word(row + 8 * signed_word(sources + 8 * number))
        kind, length = slot & KIND_MASK, length_of(slot)
        if kind == ABSENT:
            continue
        if kind == TEXT and (length == 0 or is_word(value + (slot >> 32), length, 0, nulls, words, texts)):
            continue
        return slot
    return np.int64(ABSENT)


# Numbers in `made`: where the key begins, its length, and the time.
_KEY, _KEY_LENGTH, _TIME, _MADE = 0, 8, 16, 3


@part
def _make_one(
    value: Int,
    row: Int,
    rules: Int,
    many: Int,
    sources: Int,
    nulls: Int,
    words: Int,
    texts: Int,
    hashes: Int,
    to: Int,
    made: Int,
) -> Int:
    """Writes the event and returns where it ends; -1 if the record is left."""
    start, features, before, taken = to, np.int64(0), to, np.int64(0)
    for number in range(many):
        rule = rules + _RULE_BYTES * number
        op, prefix = of(rule, OP), of(rule, PREFIX_LENGTH)
        if op == NO_MORE:
            if to == features:
                to = before
            else:
                # In place of the comma before the first of them.
                put_byte(features, np.int64(123))
                put_byte(to, np.int64(125))
                to += 1
            continue
        begun = to
        copy(to, texts + of(rule, PREFIX), prefix)
        to += prefix
        if op == FEATURES:
            before, features = begun, to
            put_int(hashes, np.int64(0))
            if of(rule, A) >= 0:
                slot = signed_word(row + 8 * of(rule, A))
                kind = slot & KIND_MASK
                if kind == OBJECT:
                    at = value + (slot >> 32)
                    to = put_features(to, at, at + length_of(slot), hashes)
                    if to < 0:
                        return to
                elif kind != ABSENT:
                    return np.int64(-1)
            taken = signed_word(hashes)
            continue
        # The rule of a feature replaces the one of the object, where that stood.
        if features and taken and not is_new(name_hash(begun + 2, prefix - 4), hashes + 8, taken):
            return np.int64(-1)
        if op == FIXED_VALUE:
            copy(to, texts + of(rule, FIXED), of(rule, FIXED_LENGTH))
            to += of(rule, FIXED_LENGTH)
            continue
        end = to
        if op == JOINED:
            end = put_joined(to, value, row, rule, sources, nulls, words, texts)
        else:
            slot = _chosen(row, value, rule, sources, nulls, words, texts)
            kind, at, length = slot & KIND_MASK, value + (slot >> 32), length_of(slot)
            if kind == ABSENT:
                end = to
            elif op == MOMENT or op == DATE:
                ms = ms_of(at, length, kind, rule)
                if ms < 0:
                    return ms
                put_int(made + _TIME, ms)
                end = put_digits(to, ms)
            else:
                end = put_value(to, at, length, kind, rule)
        if end < 0:
            return end
        if end == to:
            if of(rule, REQUIRED):
                return np.int64(-1)
            if of(rule, FIXED_LENGTH) == 0:
                to = begun
                continue
            copy(to, texts + of(rule, FIXED), of(rule, FIXED_LENGTH))
            end = to + of(rule, FIXED_LENGTH)
        elif op <= JOINED and of(rule, C):
            put_int(made + _KEY, to + 1)
            put_int(made + _KEY_LENGTH, end - to - 2)
        to = end
    put_byte(start, np.int64(123))
    put_byte(to, np.int64(125))
    return to + 1


@inlined
def _require_span(start: Int, length: Int, texts: Int) -> Int:
    if start < 0 or length < 0 or start + length + MARGIN > len(texts):
        raise IndexError("a text of the mapping is not within its buffer")
    return length


@inlined
def _require_mapping(conditions: Int, rules: Int, sources: Int, nulls: Int, words: Int, texts: Int, slots: Int) -> Int:
    """How many bytes a record needs at most for all but its values; those it may need `copies` times."""
    if conditions.shape[1] != CONDITION or rules.shape[1] != RULE or words.shape[1] != 2:
        raise IndexError("an array has other columns than a mapping")
    if nulls < 0 or nulls > len(words):
        raise IndexError("there are fewer words")
    for number in range(len(words)):
        _require_span(words[number, 0], words[number, 1], texts)
    for number in range(len(conditions)):
        if conditions[number, SLOT] < 0 or conditions[number, SLOT] >= slots:
            raise IndexError("there is no such slot")
        for first in (IS, NOT):
            many = conditions[number, first + 1]
            if many > 0 and (conditions[number, first] < 0 or conditions[number, first] + many > len(words)):
                raise IndexError("there are fewer words")
    for number in range(len(sources)):
        if sources[number] < 0 or sources[number] >= slots:
            raise IndexError("there is no such slot")
    room = np.int64(2)
    for number in range(len(rules)):
        op, first, many = rules[number, OP], rules[number, FIRST], rules[number, MANY]
        room += VALUE_BYTES
        # A comma, two quotes and a colon.
        if op != NO_MORE and rules[number, PREFIX_LENGTH] < 4:
            raise IndexError("a rule has no name")
        room += _require_span(rules[number, PREFIX], rules[number, PREFIX_LENGTH], texts)
        room += _require_span(rules[number, FIXED], rules[number, FIXED_LENGTH], texts)
        if first < 0 or many < 0 or first + many > len(sources):
            raise IndexError("there are fewer sources")
        if op == JOINED:
            room += many * _require_span(rules[number, A], rules[number, B], texts)
        if op == FEATURES and rules[number, A] >= slots:
            raise IndexError("there is no such slot")
        if (op == MOMENT or op == MONEY) and rules[number, B] < 1:
            raise IndexError("a unit has no parts")
        if op == MONEY and rules[number, A] < 1:
            raise IndexError("a unit has no parts")
    return room


@part
def _are_within(row: Int, slots: Int, length: Int) -> bool:
    """Whether the values in these slots are within so many bytes."""
    for number in range(slots):
        slot = signed_word(row + 8 * number)
        if slot < 0 or (slot >> 32) + length_of(slot) > length:
            return False
    return True


@kernel(
    *(BYTES, read("i8", 2), read("i8", 2), read("i1")),
    *(read("i8", 2), read("i8", 2), read("i8"), INT64, read("i8", 2), BYTES),
    *(INT64, INT64, written("i8"), written("u1"), written("i8", 2), written("i8", 2), written("i8"), written("i1")),
)
def make_events(
    values: Bytes,
    spans: Int64s,
    slots: Int64s,
    found: npt.NDArray[np.int8],
    conditions: Int64s,
    rules: Int64s,
    sources: Int64s,
    nulls: int,
    words: Int64s,
    texts: Bytes,
    first: int,
    begin: int,
    scratch: Int64s,
    events: Bytes,
    event_spans: Int64s,
    key_spans: Int64s,
    times: Int64s,
    results: npt.NDArray[np.int8],
) -> int:
    """Writes the events of records from number `first` on into `events` from `begin` on, with spans of each and of its
    key, and its time. `results` says of each record LEFT, TAKEN or OTHER, which the conditions leave out.

    `slots` and `found` are what `find_places` says of the same records. The first so many `words` are `nulls`. Returns
    the number of the first record for which there was no room, or how many there are. `scratch` has 300 numbers.
    Raises IndexError for what is not within its array.
    """
    count = len(spans)
    if len(slots) < count or len(found) < count or len(event_spans) < count or len(key_spans) < count:
        raise IndexError("an array is shorter than the records are many")
    if len(times) < count or len(results) < count or len(scratch) < SCRATCH or first < 0 or begin < 0:
        raise IndexError("an array is shorter than the records are many")
    width = slots.shape[1]
    room = _require_mapping(conditions, rules, sources, nulls, words, texts, width)
    # No record of a mapping has more values than it has sources, and one object of features.
    copies = len(sources) + 1
    base, row, out = start_of(values), start_of(slots) + 8 * width * first, start_of(events)
    hashes, made = start_of(scratch), start_of(scratch) + 8 * (SCRATCH - _MADE)
    where, rule, source = start_of(conditions), start_of(rules), start_of(sources)
    texts_base, words_base, at = start_of(texts), start_of(words), begin
    for number in range(first, count):
        result = np.int64(LEFT)
        if found[number] == READ:
            start, length = spans[number, 0], spans[number, 1]
            if start < 0 or length < 0 or start + length + MARGIN > len(values):
                raise IndexError("a value is not within its buffer")
            if not _are_within(row, width, length):
                raise IndexError("a slot is not within its value")
            value = base + start
            result = verdict(value, row, where, len(conditions), words_base, texts_base)
            if result == TAKEN:
                if at + room + copies * length > len(events):
                    return number
                to = out + at
                end = _make_one(
                    *(value, row, rule, len(rules), source, nulls, words_base, texts_base, hashes, to, made)
                )
                if end < 0:
                    result = np.int64(LEFT)
                else:
                    event_spans[number, 0], event_spans[number, 1] = at, end - to
                    key_spans[number, 0] = signed_word(made + _KEY) - out
                    key_spans[number, 1] = signed_word(made + _KEY_LENGTH)
                    times[number] = signed_word(made + _TIME)
                    at += end - to
        results[number] = result
        row += 8 * width
    return count

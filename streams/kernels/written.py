"""Values of an event, written as the encoder writes them.

Each function returns where what it wrote ends, -1 if the record is left. All that a value may take can be written.
"""

from __future__ import annotations

import numpy as np

from schemas.compiled import part
from schemas.digits import TENS
from schemas.events import MAX_FEATURES, MAX_ID_CHARS
from schemas.instructions import LOW_BYTES, word
from streams.kernels.machine import Int, byte, copy, put_byte, put_int, signed_word
from streams.kernels.passing import plain_number_end
from streams.kernels.places import ABSENT, DECIMAL, FALSE, TEXT, TRUE, WHOLE
from streams.kernels.rules import (
    FIRST,
    KIND_MASK,
    LABEL,
    MANY,
    MONEY,
    NUMERIC,
    OP,
    SHARE,
    A,
    B,
    decimal_of,
    is_shortest,
    is_word,
    length_of,
    money,
    of,
)
from streams.kernels.tokens import literal_end, space_end, text_end

_MAX_TEXT, _MAX_FEATURES = np.int64(MAX_ID_CHARS), np.int64(MAX_FEATURES)
_MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


@part
def put_digits(to: Int, number: Int) -> Int:
    """Writes a number that is not negative, and returns where it ends."""
    count = 1
    while count < 16 and number >= TENS[count]:
        count += 1
    for place in range(to + count - 1, to - 1, -1):
        put_byte(place, 48 + number % 10)
        number //= 10
    return to + count


@part
def put_text(to: Int, at: Int, length: Int) -> Int:
    """Writes bytes between quotes, and returns where they end."""
    put_byte(to, np.int64(34))
    copy(to + 1, at, length)
    put_byte(to + 1 + length, np.int64(34))
    return to + length + 2


@part
def _put_share(to: Int, at: Int, length: Int, kind: Int) -> Int:
    """Writes a share as the encoder writes its double; -1 if it is left."""
    if kind != TEXT and kind != WHOLE and kind != DECIMAL:
        return np.int64(-1)
    is_number, number, places = decimal_of(at, length)
    if not is_number or number > TENS[places]:
        return np.int64(-1)
    if places == 0:
        if length != 1:
            return np.int64(-1)
        put_byte(to, 48 + number)
        put_byte(to + 1, np.int64(46))
        put_byte(to + 2, np.int64(48))
        return to + 3
    if not is_shortest(at, length):
        return np.int64(-1)
    copy(to, at, length)
    return to + length


@part
def _put_plain(to: Int, at: Int, length: Int, kind: Int) -> Int:
    """Writes a value as it is; -1 if the encoder would write it otherwise."""
    if kind == TEXT:
        return put_text(to, at, length)
    if kind == DECIMAL:
        if not is_shortest(at, length):
            return np.int64(-1)
    elif kind != WHOLE and kind != TRUE and kind != FALSE:
        return np.int64(-1)
    copy(to, at, length)
    return to + length


@part
def _put_numeric(to: Int, at: Int, length: Int, kind: Int) -> Int:
    """Writes the number of a number or text; -1 if it is left."""
    if kind != TEXT and kind != WHOLE and kind != DECIMAL:
        return np.int64(-1)
    if kind != WHOLE:
        is_number, number, places = decimal_of(at, length)
        # Whole numbers are written without a dot, and none with zeros before it.
        if not is_number or (places == 0 and length > 1 and byte(at) == 48):
            return np.int64(-1)
        if places > 0 and (number % TENS[places] == 0 or not is_shortest(at, length)):
            return np.int64(-1)
    copy(to, at, length)
    return to + length


@part
def name_hash(at: Int, length: Int) -> Int:
    """Equal for equal names. Seven bytes before the last eight may be read as well, and seven beyond."""
    first = word(at) & LOW_BYTES[min(length, np.int64(8))]
    last = word(at + length - 8) if length > 8 else np.uint64(0)
    return np.int64((first * _MIX_1) ^ ((last + np.uint64(length)) * _MIX_2))


@part
def is_new(hash_: Int, hashes: Int, many: Int) -> bool:
    number = 0
    while number < many and signed_word(hashes + 8 * number) != hash_:
        number += 1
    return bool(number == many)


@part
def put_features(to: Int, at: Int, stop: Int, hashes: Int) -> Int:
    """Writes the members of the object at `at`, each with a comma before it, without spaces; the hashes of their
    names follow their number in `hashes`. -1 for an object that is left.
    """
    many = np.int64(0)
    put_int(hashes, many)
    at = space_end(at + 1, stop)
    if byte(at) == 125:
        return to
    while True:
        # `find_places` has found a whole object: only its values may be of other kinds.
        end = text_end(at + 1, stop)
        if end < 0 or many == _MAX_FEATURES:
            break
        hash_ = name_hash(at + 1, end - at - 1)
        if not is_new(hash_, hashes + 8, many):
            break
        many += 1
        put_int(hashes, many)
        put_int(hashes + 8 * many, hash_)
        put_byte(to, np.int64(44))
        to = put_text(to + 1, at + 1, end - at - 1)
        put_byte(to, np.int64(58))
        to += 1
        at = space_end(space_end(end + 1, stop) + 1, stop)
        first = byte(at)
        if first == 34:
            end = text_end(at + 1, stop)
            if end < 0:
                break
            to = put_text(to, at + 1, end - at - 1)
            end += 1
        elif first == 123 or first == 91:
            break
        elif first == 110 or first == 116 or first == 102:
            end = literal_end(at, stop)
            if end < 0:
                break
            copy(to, at, end - at)
            to += end - at
        else:
            end = plain_number_end(at, stop)
            if end < 0:
                break
            has_dot = False
            for place in range(at, end):
                has_dot = has_dot or byte(place) == 46
            if has_dot and not is_shortest(at, end - at):
                break
            copy(to, at, end - at)
            to += end - at
        at = space_end(end, stop)
        if at >= stop:
            break
        if byte(at) == 125:
            return to
        at = space_end(at + 1, stop)
    return np.int64(-1)


@part
def put_joined(to: Int, value: Int, row: Int, rule: Int, sources: Int, nulls: Int, words: Int, texts: Int) -> Int:
    """Writes the texts of all sources; `to` itself if one is not there, -1 if the record is left."""
    start = to
    put_byte(to, np.int64(34))
    to += 1
    is_there = True
    for number in range(of(rule, FIRST), of(rule, FIRST) + of(rule, MANY)):
        slot = signed_word(row + 8 * signed_word(sources + 8 * number))
        kind, at, length = slot & KIND_MASK, value + (slot >> 32), length_of(slot)
        if kind == ABSENT or (kind == TEXT and (length == 0 or is_word(at, length, 0, nulls, words, texts))):
            is_there = False
        elif kind != TEXT and kind != WHOLE:
            return np.int64(-1)
        else:
            if number > of(rule, FIRST):
                copy(to, texts + of(rule, A), of(rule, B))
                to += of(rule, B)
            copy(to, at, length)
            to += length
    if not is_there:
        return start
    if to - start - 1 > _MAX_TEXT:
        return np.int64(-1)
    put_byte(to, np.int64(34))
    return to + 1


@part
def put_value(to: Int, at: Int, length: Int, kind: Int, rule: Int) -> Int:
    """Writes the value of a field that is no time, and returns where it ends; -1 if the record is left."""
    op = of(rule, OP)
    if op == LABEL:
        if (kind != TEXT and kind != WHOLE) or length > _MAX_TEXT:
            return np.int64(-1)
        return put_text(to, at, length)
    if op == MONEY:
        micros = money(at, length, kind, rule)
        return put_digits(to, micros) if micros >= 0 else micros
    if op == SHARE:
        return _put_share(to, at, length, kind)
    if op == NUMERIC:
        return _put_numeric(to, at, length, kind)
    return _put_plain(to, at, length, kind)

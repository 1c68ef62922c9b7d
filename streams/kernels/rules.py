"""The rules of a mapping as numbers, and what times and amounts they make of texts and numbers of JSON.

Each function returns -1 for a value that is left to `streams.mapping.compiled`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.compiled import inlined, part
from schemas.digits import TENS
from schemas.events import MAX_PRICE_MICROS, MAX_TS_MS, MIN_TS_MS
from schemas.instructions import same_bytes
from streams.kernels.machine import Int, byte, signed_word
from streams.kernels.places import ABSENT, DECIMAL, FALSE, KIND_BITS, LENGTH_BITS, TEXT, TRUE, WHOLE

LEFT, TAKEN, OTHER = 0, 1, 2
# Columns of a condition: the slot; whether a value must be there, -1 if that does not matter; which of the words it
# must be one of, and how many they are, -1 if there is no such condition; the same of those it must not be.
SLOT, EXISTS, IS, IS_MANY, NOT, NOT_MANY, CONDITION = range(7)
# Columns of a rule: what it does; what it writes first, such as `,"ts":`, and its length; its slots in `sources`, and
# how many they are, of which the first that has a value counts; whether a record without a value is refused; what is
# written for one that has none, with its length, 0 for nothing; three numbers, as below.
OP, PREFIX, PREFIX_LENGTH, FIRST, MANY, REQUIRED, FIXED, FIXED_LENGTH, A, B, C, RULE = range(12)
# LABEL: a text, or the digits of a whole number. JOINED: those of all sources, with a text between, whose span A and B
# are. Of both C is 1 for the id of the impression, which is the key.
# MOMENT: a number A / B of which is ms, from C on. DATE: ISO 8601; a text without zone is taken if A is 1.
# MONEY: an amount A / B of which is micros; it must be whole if C is 1. SHARE: a number from 0 to 1.
# PLAIN: a value of a feature as it is. NUMERIC: a number, also of a text. FIXED_VALUE: the same for all.
# FEATURES: the features begin, with those of the object in slot A unless that is below 0. NO_MORE: they end.
(LABEL, JOINED, MOMENT, DATE, MONEY, SHARE, PLAIN, NUMERIC, FIXED_VALUE, FEATURES, NO_MORE) = range(11)
# Decimals of so many digits are those that are shortest for their double, and exact in products with a thousand.
MOST_DECIMAL_DIGITS: Final = 15
# With one digit more it has 64 bits.
_MOST_WHOLE = np.int64(9 * 10**17)
_MOST_FACTORED = np.int64(2**53)
_MOST_PRODUCT = np.int64(2**62)
# The encoder writes smaller numbers with an exponent.
_MOST_ZEROS = 4
_MIN_TS_MS, _MAX_TS_MS, _MAX_MICROS = np.int64(MIN_TS_MS), np.int64(MAX_TS_MS), np.int64(MAX_PRICE_MICROS)
_LENGTH_MASK, KIND_MASK = np.int64((1 << LENGTH_BITS) - 1), np.int64((1 << KIND_BITS) - 1)
_FIRST_YEAR, _LAST_YEAR = 2000, 2099
_CONDITION_BYTES = 8 * CONDITION


@inlined
def of(rule: Int, column: Int) -> Int:
    return signed_word(rule + 8 * column)


@inlined
def length_of(slot: Int) -> Int:
    return (slot >> KIND_BITS) & _LENGTH_MASK


@part
def is_word(at: Int, length: Int, first: Int, many: Int, words: Int, texts: Int) -> bool:
    """Whether a text is one of so many words from the first on."""
    for number in range(first, first + many):
        start, size = signed_word(words + 16 * number), signed_word(words + 16 * number + 8)
        if size == length and same_bytes(at, texts + start, length):
            return True
    return False


@part
def decimal_of(at: Int, length: Int) -> Int:
    """Whether these are digits with at most one dot among them, their number without the dot, and how many digits are
    behind the dot.
    """
    number, places, dot, digits = np.int64(0), np.int64(0), np.int64(-1), np.int64(0)
    end = at + length
    while at < end:
        one = byte(at)
        if 48 <= one <= 57:
            digits += 1
            if number >= _MOST_WHOLE:
                return False, number, places
            number = 10 * number + one - 48
        elif one == 46 and dot < 0:
            dot = digits
        else:
            return False, number, places
        at += 1
    if dot >= 0:
        places = digits - dot
        if digits > MOST_DECIMAL_DIGITS or places == 0 or dot == 0:
            return False, number, np.int64(0)
    return digits > 0, number, places


@part
def is_shortest(at: Int, length: Int) -> bool:
    """Whether a decimal of the subset is written as the encoder writes its double."""
    end = at + length
    if byte(at) == 45:
        at += 1
    start, dot, zeros, is_zero = at, np.int64(-1), np.int64(0), True
    while at < end:
        one = byte(at)
        if one == 46:
            dot = at
        elif one == 48 and is_zero:
            zeros += dot >= 0
        else:
            is_zero = False
        at += 1
    # Digits without the dot; those of a short one are the shortest of its double.
    if dot < 0 or end - start - 1 > MOST_DECIMAL_DIGITS or (byte(start) == 48 and dot > start + 1):
        return False
    if byte(end - 1) == 48:
        return bool(end == dot + 2)
    return bool(zeros <= _MOST_ZEROS)


@part
def _moment(at: Int, length: Int, kind: Int, rule: Int) -> Int:
    """A number of a unit as ms, or -1."""
    if kind != TEXT and kind != WHOLE and kind != DECIMAL:
        return np.int64(-1)
    is_number, number, places = decimal_of(at, length)
    if not is_number:
        return np.int64(-1)
    times = of(rule, A)
    # Without a unit a fraction of a millisecond is refused.
    if (times > 1 and number > _MOST_FACTORED) or (times == 0 and places > 0):
        return np.int64(-1)
    return number * max(times, np.int64(1)) // TENS[places] // of(rule, B) + of(rule, C)


@part
def _two(at: Int) -> Int:
    """A number of two digits, or a thousand."""
    tens, ones = byte(at) - 48, byte(at + 1) - 48
    return 10 * tens + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else np.int64(1_000)


@part
def _days(year: Int, month: Int, day: Int) -> Int:
    """Days since 1970 of a date from 2000 on, -1 if there is no such day."""
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    most = np.int64(30 + (month + (month > 7)) % 2)
    if month == 2:
        most = np.int64(28 + is_leap)
    if month < 1 or month > 12 or day < 1 or day > most:
        return np.int64(-1)
    # The year begins in March: https://howardhinnant.github.io/date_algorithms.html
    if month <= 2:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469


@part
def _date(at: Int, length: Int, is_utc: Int) -> Int:
    """A date and time of ISO 8601 as ms, or -1. All of MARGIN bytes can be read."""
    if length < 19 or byte(at + 4) != 45 or byte(at + 7) != 45 or byte(at + 13) != 58 or byte(at + 16) != 58:
        return np.int64(-1)
    if byte(at + 10) != 84 and byte(at + 10) != 32:
        return np.int64(-1)
    year = 100 * _two(at) + _two(at + 2)
    hour, minute, second = _two(at + 11), _two(at + 14), _two(at + 17)
    if year < _FIRST_YEAR or year > _LAST_YEAR or hour > 23 or minute > 59 or second > 59:
        return np.int64(-1)
    days = _days(year, _two(at + 5), _two(at + 8))
    if days < 0:
        return days
    ms, end, place = np.int64(0), at + length, at + 19
    if place < end and byte(place) == 46:
        digits = 0
        place += 1
        while place < end and 48 <= byte(place) <= 57:
            # Fractions of a millisecond are dropped.
            if digits < 3:
                ms += (byte(place) - 48) * TENS[2 - digits]
            digits += 1
            place += 1
        if digits == 0 or digits > 9:
            return np.int64(-1)
    offset = np.int64(0)
    if place == end:
        if not is_utc:
            return np.int64(-1)
    elif byte(place) == 90:
        place += 1
    elif (byte(place) == 43 or byte(place) == 45) and end - place == 6 and byte(place + 3) == 58:
        hours, minutes = _two(place + 1), _two(place + 4)
        if hours > 23 or minutes > 59:
            return np.int64(-1)
        offset = 60 * hours + minutes
        if byte(place) == 45:
            offset = -offset
        place += 6
    if place != end:
        return np.int64(-1)
    return 1_000 * (60 * (60 * (24 * days + hour) + minute - offset) + second) + ms


@part
def money(at: Int, length: Int, kind: Int, rule: Int) -> Int:
    """An amount as micros, or -1."""
    if kind != TEXT and kind != WHOLE and kind != DECIMAL:
        return np.int64(-1)
    is_number, number, places = decimal_of(at, length)
    times, parts = of(rule, A), of(rule, B)
    if not is_number or (of(rule, C) and number % TENS[places]):
        return np.int64(-1)
    if number > _MOST_PRODUCT // times or parts > _MOST_PRODUCT // TENS[places]:
        return np.int64(-1)
    product, divisor = number * times, parts * TENS[places]
    micros, rest = product // divisor, product % divisor
    # Half of a micro is rounded to the even one.
    if 2 * rest > divisor or (2 * rest == divisor and micros & 1):
        micros += 1
    return micros if micros <= _MAX_MICROS else np.int64(-1)


@part
def ms_of(at: Int, length: Int, kind: Int, rule: Int) -> Int:
    """The time of an event; -1 if the record is left."""
    ms = np.int64(-1)
    if of(rule, OP) == MOMENT:
        ms = _moment(at, length, kind, rule)
    elif kind == TEXT:
        ms = _date(at, length, of(rule, A))
    return ms if _MIN_TS_MS <= ms <= _MAX_TS_MS else np.int64(-1)


@part
def _compared(value: Int, slot: Int, first: Int, many: Int, words: Int, texts: Int) -> Int:
    """1 if the value is one of the words, 0 if not, -1 if it is left."""
    kind, at, length = slot & KIND_MASK, value + (slot >> 32), length_of(slot)
    if kind == ABSENT:
        length = np.int64(0)
    elif kind == TEXT:
        # 1.0 as a text is equal to 1.
        if length > 0 and byte(at + length - 1) == 48:
            for place in range(at, at + length):
                if byte(place) == 46:
                    return np.int64(-1)
    elif kind != WHOLE and kind != TRUE and kind != FALSE:
        return np.int64(-1)
    return np.int64(is_word(at, length, first, many, words, texts))


@part
def _holds(value: Int, slot: Int, condition: Int, words: Int, texts: Int) -> Int:
    """1 if the condition holds, 0 if not, -1 if the record is left."""
    kind = slot & KIND_MASK
    is_there = kind != ABSENT and not (kind == TEXT and length_of(slot) == 0)
    exists = of(condition, EXISTS)
    if exists >= 0 and is_there != (exists == 1):
        return np.int64(0)
    if of(condition, IS_MANY) >= 0:
        found = _compared(value, slot, of(condition, IS), of(condition, IS_MANY), words, texts)
        if found != 1:
            return found
    if of(condition, NOT_MANY) >= 0:
        found = _compared(value, slot, of(condition, NOT), of(condition, NOT_MANY), words, texts)
        if found != 0:
            return np.int64(-1 if found < 0 else 0)
    return np.int64(1)


@part
def verdict(value: Int, row: Int, conditions: Int, many: Int, words: Int, texts: Int) -> Int:
    """TAKEN if all conditions hold, OTHER if one does not, or LEFT."""
    for number in range(many):
        condition = conditions + _CONDITION_BYTES * number
        holds = _holds(value, signed_word(row + 8 * of(condition, SLOT)), condition, words, texts)
        if holds != 1:
            return np.int64(LEFT if holds < 0 else OTHER)
    return np.int64(TAKEN)

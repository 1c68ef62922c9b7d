"""Parts of JSON in a buffer: spaces, literals, strings with their hash, and numbers. All of them are a strict subset.

Those of `streams.kernels` take any white space and UTF-8; these are a stricter subset, and hash what they read. No loop
passes a byte below a space, and up to 15 bytes behind it are read.
"""

from __future__ import annotations

import numpy as np

from online_models.mixture.rows import PRIME
from schemas.compiled import inlined, part
from schemas.digits import whole
from schemas.instructions import LOW_BYTES, PLAIN_BYTES, Int, byte, plain_bytes, word

QUOTE, SPACE, COMMA, COLON, OPEN, CLOSE, ESCAPE = 34, 32, 44, 58, 123, 125, 92
_PLUS, _MINUS, _POINT, _ZERO, _NINE, _SCORE = 43, 45, 46, 48, 57, 95
_SMALL_E, _LARGE_E = 101, 69
# The first letters of the literals.
TRUE, FALSE, NULL = 116, 102, 110
_DIGITS = 15
_TENS = np.array([10.0**power for power in range(_DIGITS + 1)])
_PRIME = np.uint64(PRIME)
_BYTE = np.uint64(255)
# What takes so many hashed zeros out again: a power of the inverse of the prime.
_UNDONE = np.array([pow(PRIME, -zeros, 1 << 64) for zeros in range(8)], np.uint64)
# In place of where a part ends: msgspec must look at it.
LEFT = -1


@inlined
def space_end(at: Int) -> Int:
    while byte(at) == SPACE:
        at += 1
    return at


@part
def word_end(at: Int) -> Int:
    """The end of `true`, `false` or `null`, or LEFT."""
    if byte(at) == TRUE and byte(at + 1) == 114 and byte(at + 2) == 117 and byte(at + 3) == 101:
        return at + 4
    if byte(at) == FALSE and byte(at + 1) == 97 and byte(at + 2) == 108 and byte(at + 3) == 115 and byte(at + 4) == 101:
        return at + 5
    if byte(at) == NULL and byte(at + 1) == 117 and byte(at + 2) == 108 and byte(at + 3) == 108:
        return at + 4
    return LEFT


@inlined
def text_end(at: Int, hashed: np.ndarray) -> Int:
    """The end of the string that begins behind a quote, or LEFT.

    `hashed[0]` goes on from what it was; `hashed[1]` is what it was behind the first underscore, 0 without one.
    """
    found, group = hashed[0], np.uint64(0)
    end = at
    while byte(end) != QUOTE:
        letter = byte(end)
        if letter < SPACE or letter == ESCAPE or letter > 126:
            end = LEFT
            break
        found = (found ^ np.uint64(letter)) * _PRIME
        if letter == _SCORE and group == 0:
            group = found
        end += 1
    hashed[0], hashed[1] = found, group
    return end


@inlined
def _hashed_word(found: np.uint64, eight: np.uint64) -> np.uint64:
    """Eight steps of the hash."""
    for place in range(8):
        found = (found ^ ((eight >> np.uint64(8 * place)) & _BYTE)) * _PRIME
    return found


@inlined
def value_end(at: Int, hashed: np.ndarray) -> Int:
    """As `text_end`, but for the underscore.

    Sixteen bytes are looked at together. A part of eight bytes is hashed as if zeros followed it, each of which is a
    factor, and these are then taken out: so nothing is decided by its length.
    """
    found = hashed[0]
    end = at
    plain: Int = plain_bytes(end)
    while plain == PLAIN_BYTES:
        found = _hashed_word(_hashed_word(found, word(end)), word(end + 8))
        end += PLAIN_BYTES
        plain = plain_bytes(end)
    if plain >= 8:
        found = _hashed_word(found, word(end))
        end, plain = end + 8, plain - 8
    if plain > 0:
        found = _hashed_word(found, word(end) & LOW_BYTES[plain]) * _UNDONE[8 - plain]
    hashed[0] = found
    end += plain
    return end if byte(end) == QUOTE else LEFT


@inlined
def read_number(at: Int, value: np.ndarray) -> Int:
    """The end of the number, or LEFT; `value` has the number, and 1 if it is whole."""
    end: Int
    count, number = whole(at)
    end = at + count
    if 0 < count <= _DIGITS and byte(end) != _POINT and (count == 1 or byte(at) != _ZERO):
        value[0], value[1] = float(number), 1.0
    else:
        end = _read_any_number(at, value)
    return end


@inlined
def _read_any_number(at: Int, value: np.ndarray) -> Int:
    """As `read_number`, digit by digit."""
    end, negative, count, places = at, False, 0, 0
    number = np.int64(0)
    if byte(end) == _MINUS:
        negative = True
        end += 1
    first = end
    while _ZERO <= byte(end) <= _NINE and count <= _DIGITS:
        number = number * 10 + (byte(end) - _ZERO)
        count += 1
        end += 1
    good = count > 0 and not (byte(first) == _ZERO and count > 1)
    is_whole = byte(end) != _POINT
    if not is_whole:
        end += 1
        while _ZERO <= byte(end) <= _NINE and count <= _DIGITS:
            number = number * 10 + (byte(end) - _ZERO)
            count += 1
            places += 1
            end += 1
        good = good and places > 0
    # An exponent, or a further digit, is not followed by what the caller wants.
    if not good or count > _DIGITS:
        end = LEFT
    else:
        found = float(number) / _TENS[places]
        # A whole -0 is an integer, which has no sign.
        value[0] = -found if negative and (found != 0.0 or not is_whole) else found
        value[1] = 1.0 if is_whole else 0.0
    return end


@part
def _digits(at: Int) -> Int:
    while _ZERO <= byte(at) <= _NINE:
        at += 1
    return at


@part
def number_end(at: Int) -> Int:
    """The end of any number of JSON, or LEFT."""
    if byte(at) == _MINUS:
        at += 1
    end = _digits(at)
    good = end > at and (byte(at) != _ZERO or end == at + 1)
    if byte(end) == _POINT:
        at = end + 1
        end = _digits(at)
        good = good and end > at
    if byte(end) == _SMALL_E or byte(end) == _LARGE_E:
        at = end + 1
        if byte(at) == _PLUS or byte(at) == _MINUS:
            at += 1
        end = _digits(at)
        good = good and end > at
    return end if good else LEFT

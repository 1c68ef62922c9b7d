"""Parts of JSON in a buffer: spaces, literals, strings with their hash, and numbers. All of them are a strict subset.

The tokens of `streams.kernels` are at addresses and are looked at in blocks; these are hashed byte by byte. No loop
passes a byte below a space, so nothing is read beyond a line that ends with one.
"""

from __future__ import annotations

import numpy as np

from online_models.mixture.rows import PRIME
from schemas.compiled import inlined, part

QUOTE, SPACE, COMMA, COLON, OPEN, CLOSE, ESCAPE = 34, 32, 44, 58, 123, 125, 92
_PLUS, _MINUS, _POINT, _ZERO, _NINE, _SCORE = 43, 45, 46, 48, 57, 95
_SMALL_E, _LARGE_E = 101, 69
# The first letters of the literals.
TRUE, FALSE, NULL = 116, 102, 110
_DIGITS = 15
_TENS = np.array([10.0**power for power in range(_DIGITS + 1)])
_PRIME = np.uint64(PRIME)
# Whether a byte is part of a text that is read here.
_PLAIN = np.array([SPACE <= byte <= 126 and byte != QUOTE and byte != ESCAPE for byte in range(256)])
# In place of where a part ends: msgspec must look at it.
LEFT = -1


@inlined
def space_end(text: np.ndarray, at: int) -> int:
    while text[at] == SPACE:
        at += 1
    return at


@part
def word_end(text: np.ndarray, at: int) -> int:
    """The end of `true`, `false` or `null`, or LEFT."""
    if text[at] == TRUE and text[at + 1] == 114 and text[at + 2] == 117 and text[at + 3] == 101:
        return at + 4
    if text[at] == FALSE and text[at + 1] == 97 and text[at + 2] == 108 and text[at + 3] == 115 and text[at + 4] == 101:
        return at + 5
    if text[at] == NULL and text[at + 1] == 117 and text[at + 2] == 108 and text[at + 3] == 108:
        return at + 4
    return LEFT


@inlined
def text_end(text: np.ndarray, at: int, hashed: np.ndarray) -> int:
    """The end of the string that begins behind a quote, or LEFT.

    `hashed[0]` goes on from what it was; `hashed[1]` is what it was behind the first underscore, 0 without one.
    """
    found, group = hashed[0], np.uint64(0)
    end = at
    while text[end] != QUOTE:
        byte = text[end]
        if byte < SPACE or byte == ESCAPE or byte > 126:
            end = LEFT
            break
        found = (found ^ np.uint64(byte)) * _PRIME
        if byte == _SCORE and group == 0:
            group = found
        end += 1
    hashed[0], hashed[1] = found, group
    return end


@inlined
def value_end(text: np.ndarray, at: int, hashed: np.ndarray) -> int:
    """As `text_end`, but for the underscore."""
    found = hashed[0]
    end = at
    while _PLAIN[text[end]]:
        found = (found ^ np.uint64(text[end])) * _PRIME
        end += 1
    hashed[0] = found
    return end if text[end] == QUOTE else LEFT


@inlined
def read_number(text: np.ndarray, at: int, value: np.ndarray) -> int:
    """The end of the number, or LEFT; `value` has the number, and 1 if it is whole."""
    end, negative, digits, places = at, False, 0, 0
    whole = np.int64(0)
    if text[end] == _MINUS:
        negative = True
        end += 1
    first = end
    while _ZERO <= text[end] <= _NINE and digits <= _DIGITS:
        whole = whole * 10 + (np.int64(text[end]) - _ZERO)
        digits += 1
        end += 1
    good = digits > 0 and not (text[first] == _ZERO and digits > 1)
    is_whole = text[end] != _POINT
    if not is_whole:
        end += 1
        while _ZERO <= text[end] <= _NINE and digits <= _DIGITS:
            whole = whole * 10 + (np.int64(text[end]) - _ZERO)
            digits += 1
            places += 1
            end += 1
        good = good and places > 0
    # An exponent, or a further digit, is not followed by what the caller wants.
    if not good or digits > _DIGITS:
        end = LEFT
    else:
        found = float(whole) / _TENS[places]
        # A whole -0 is an integer, which has no sign.
        value[0] = -found if negative and (found != 0.0 or not is_whole) else found
        value[1] = 1.0 if is_whole else 0.0
    return end


@part
def _digits(text: np.ndarray, at: int) -> int:
    while _ZERO <= text[at] <= _NINE:
        at += 1
    return at


@part
def number_end(text: np.ndarray, at: int) -> int:
    """The end of any number of JSON, or LEFT."""
    if text[at] == _MINUS:
        at += 1
    end = _digits(text, at)
    good = end > at and (text[at] != _ZERO or end == at + 1)
    if text[end] == _POINT:
        at = end + 1
        end = _digits(text, at)
        good = good and end > at
    if text[end] == _SMALL_E or text[end] == _LARGE_E:
        at = end + 1
        if text[at] == _PLUS or text[at] == _MINUS:
            at += 1
        end = _digits(text, at)
        good = good and end > at
    return end if good else LEFT

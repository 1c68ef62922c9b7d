"""Parts of JSON that are passed over: numbers, texts with escapes, and whole objects and lists, of a strict subset.

What ends at -1 is left to msgspec. All that ends elsewhere is decoded by it. Each function may read `TEXT_BYTES` beyond
`stop`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.compiled import part
from streams.kernels.machine import Int, byte
from streams.kernels.tokens import literal_end, space_end, text_end, utf8

MOST_NESTED: Final = 48
_MOST_DIGITS, _MOST_NEGATIVE_DIGITS, _MOST_CHARS = 19, 18, 32


@part
def plain_number_end(at: Int, stop: Int) -> Int:
    """Where a number of the subset ends, -1 for anything else."""
    first = at
    if at < stop and byte(at) == 45:
        at += 1
    start, is_zero = at, True
    while at < stop and 48 <= byte(at) <= 57:
        is_zero = is_zero and byte(at) == 48
        at += 1
    digits = at - start
    most = _MOST_DIGITS if start == first else _MOST_NEGATIVE_DIGITS
    if digits == 0 or digits > most or (byte(start) == 48 and digits > 1):
        return np.int64(-1)
    if at < stop and byte(at) == 46:
        at += 1
        dot = at
        while at < stop and 48 <= byte(at) <= 57:
            is_zero = is_zero and byte(at) == 48
            at += 1
        if at == dot:
            return np.int64(-1)
    if (is_zero and start > first) or at - first > _MOST_CHARS:
        return np.int64(-1)
    if at < stop and (byte(at) == 69 or byte(at) == 101):
        return np.int64(-1)
    return at


@part
def _is_hex(at: Int) -> bool:
    one = byte(at)
    return bool(48 <= one <= 57 or 65 <= one <= 70 or 97 <= one <= 102)


@part
def _escape_end(at: Int, stop: Int) -> Int:
    """Where the escape ends whose backslash is before `at`; -1 if msgspec must look, as at halves of characters."""
    if at >= stop:
        return np.int64(-1)
    one = byte(at)
    # The marks " \\ / and the letters b f n r t.
    if one == 34 or one == 92 or one == 47 or one == 98 or one == 102 or one == 110 or one == 114 or one == 116:
        return at + 1
    if one != 117 or at + 4 >= stop or byte(at + 1) == 68 or byte(at + 1) == 100:
        return np.int64(-1)
    for number in range(1, 5):
        if not _is_hex(at + number):
            return np.int64(-1)
    return at + 5


@part
def escaped_text_end(start: Int, stop: Int) -> Int:
    """As `text_end`, of a text that may have escapes."""
    at = start
    while at < stop:
        one = byte(at)
        if one == 34:
            return at if utf8(start, at) else np.int64(-1)
        if one < 32:
            break
        at += 1
        if one == 92:
            at = _escape_end(at, stop)
            if at < 0:
                break
    return np.int64(-1)


@part
def _any_text_end(at: Int, stop: Int) -> Int:
    end = text_end(at, stop)
    return end if end >= 0 else escaped_text_end(at, stop)


@part
def scalar_end(at: Int, stop: Int) -> Int:
    """Where a text, with its quotes, a number or a literal ends; -1 if msgspec must look."""
    first = byte(at)
    if first == 34:
        end = _any_text_end(at + 1, stop)
        return end + 1 if end >= 0 else end
    if first == 110 or first == 116 or first == 102:
        return literal_end(at, stop)
    return plain_number_end(at, stop)


@part
def value_start(at: Int, stop: Int) -> Int:
    """Where the value begins whose name ends at the quote at `at`; -1 if there is none."""
    at = space_end(at + 1, stop)
    if at >= stop or byte(at) != 58:
        return np.int64(-1)
    at = space_end(at + 1, stop)
    return at if at < stop else np.int64(-1)


@part
def _member_start(at: Int, stop: Int) -> Int:
    """Where the value of the member begins whose name does at `at`; -1 if there is none."""
    if at >= stop or byte(at) != 34:
        return np.int64(-1)
    at = text_end(at + 1, stop)
    return value_start(at, stop) if at >= 0 else at


@part
def container_end(at: Int, stop: Int) -> Int:
    """Where the object or list at `at` ends; -1 if msgspec must look at it."""
    # A bit for each that is open: 1 for an object.
    kinds, depth = np.int64(0), 0
    while True:
        # At the first character of a value.
        first = byte(at)
        closing = np.int64(0)
        if first == 123 or first == 91:
            depth += 1
            if depth > MOST_NESTED:
                break
            is_object = np.int64(first == 123)
            kinds = kinds << 1 | is_object
            at = space_end(at + 1, stop)
            if at >= stop:
                break
            if byte(at) != (125 if is_object else 93):
                if is_object:
                    at = _member_start(at, stop)
                    if at < 0:
                        break
                continue
        else:
            at = scalar_end(at, stop)
            if at < 0:
                break
            at = space_end(at, stop)
        while True:
            # Behind a value.
            if at >= stop:
                return np.int64(-1)
            closing = byte(at)
            if closing == 44:
                break
            if closing != (125 if kinds & 1 else 93):
                return np.int64(-1)
            depth -= 1
            kinds >>= 1
            if depth == 0:
                return at + 1
            at = space_end(at + 1, stop)
        at = space_end(at + 1, stop)
        if at >= stop:
            break
        if kinds & 1:
            at = _member_start(at, stop)
            if at < 0:
                break
    return np.int64(-1)

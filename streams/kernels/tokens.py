"""Parts of JSON at an address: text, whole numbers, numbers, literals. All of them are a strict subset.

What is not in it, such as escapes, exponents and long numbers, ends at -1 or has too many digits, and is left to
msgspec. Each function may read `TEXT_BYTES` beyond `stop`.
"""

from __future__ import annotations

import numpy as np

from schemas.compiled import inlined, part
from schemas.instructions import LOW_BYTES, lowest, word
from streams.kernels.machine import TEXT_BYTES, Int, byte, others, quotes, specials

FLOAT_TENS = np.array([10.0**power for power in range(17)], np.float64)
_NULL, _TRUE, _FALSE = (np.uint64(int.from_bytes(text, "little")) for text in (b"null", b"true", b"false"))
_ONE = np.uint64(1)


@part
def utf8(at: Int, stop: Int) -> bool:
    """Whether these bytes are UTF-8, as Unicode defines it: no surrogates, nothing longer than needed."""
    while at < stop:
        first = byte(at)
        if first < 0x80:
            at += 1
            continue
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
        elif 0xF0 <= first <= 0xF4:
            more = 3
        else:
            return False
        if at + more >= stop:
            return False
        second = byte(at + 1)
        if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F):
            return False
        if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
            return False
        for number in range(1, more + 1):
            if byte(at + number) & 0xC0 != 0x80:
                return False
        at += more + 1
    return True


@inlined
def text_end(at: Int, stop: Int) -> Int:
    """Where the text that begins at `at` has its closing quote; -1 if it is to be left to msgspec."""
    start, ascii_only, end = at, True, np.int64(-1)
    while at < stop:
        ends = quotes(at)
        # All bits below the first quote; all 64 where there is none.
        below = (ends & (~ends + _ONE)) - _ONE
        if specials(at) & below:
            break
        if others(at) & below:
            ascii_only = False
        if ends:
            end = at + lowest(ends)
            break
        at += TEXT_BYTES
    if end >= stop or (end >= 0 and not ascii_only and not utf8(start, end)):
        end = np.int64(-1)
    return end


@inlined
def space_end(at: Int, stop: Int) -> Int:
    """Where the first character that is no white space is, or `stop`."""
    while at < stop and (byte(at) == 32 or byte(at) == 10 or byte(at) == 13 or byte(at) == 9):
        at += 1
    return at


@part
def number_end(at: Int, stop: Int) -> Int:
    """Where a number without exponent and with at most 32 characters ends; -1 for anything else."""
    first = at
    if at < stop and byte(at) == 45:
        at += 1
    start = at
    while at < stop and 48 <= byte(at) <= 57:
        at += 1
    if at == start or (byte(start) == 48 and at - start > 1) or at - start > 18:
        return np.int64(-1)
    if at < stop and byte(at) == 46:
        at += 1
        start = at
        while at < stop and 48 <= byte(at) <= 57:
            at += 1
        if at == start:
            return np.int64(-1)
    if at - first > 32 or (at < stop and (byte(at) == 69 or byte(at) == 101)):
        return np.int64(-1)
    return at


@part
def literal_end(at: Int, stop: Int) -> Int:
    """Where null, true or false ends; -1 for anything else."""
    if at + 4 < stop:
        four = word(at) & LOW_BYTES[4]
        if four == _NULL or four == _TRUE:
            return at + 4
    if at + 5 < stop and (word(at) & LOW_BYTES[5]) == _FALSE:
        return at + 5
    return np.int64(-1)

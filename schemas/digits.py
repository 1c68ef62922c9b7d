"""Digits, eight at once, for kernels: https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/"""

from __future__ import annotations

import numpy as np

from schemas.compiled import inlined
from schemas.instructions import Int, byte, lowest, word

TENS = np.array([10**power for power in range(17)], np.int64)
_EIGHT, _SIXTY_FOUR = map(np.uint64, (8, 64))
_ZEROS, _SIXES, _TOPS = map(np.uint64, (0x3030303030303030, 0x7676767676767676, 0x8080808080808080))
_MASKS = tuple(map(np.uint64, (0x0F0F0F0F0F0F0F0F, 0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF)))
_MASK_1, _MASK_2, _MASK_3 = _MASKS
_STEP_1, _STEP_2, _STEP_3 = map(np.uint64, (2_561, 6_553_601, 42_949_672_960_001))
_BITS_8, _BITS_16, _BITS_32 = map(np.uint64, (8, 16, 32))


@inlined
def digits(at: Int) -> Int:
    """How many of the eight bytes at an address are digits up to the first that is none, and their number."""
    raw = word(at) ^ _ZEROS
    count = lowest(((raw + _SIXES) | raw) & _TOPS) >> 3
    number = np.int64(0)
    if count > 0:
        raw = raw << (_SIXTY_FOUR - _EIGHT * np.uint64(count))
        raw = ((raw & _MASK_1) * _STEP_1) >> _BITS_8
        raw = ((raw & _MASK_2) * _STEP_2) >> _BITS_16
        number = np.int64(((raw & _MASK_3) * _STEP_3) >> _BITS_32)
    return count, number


@inlined
def whole(at: Int) -> Int:
    """How many digits follow, 17 for more than 16, and their number."""
    count, number = digits(at)
    if count == 8:
        more, rest = digits(at + 8)
        number = number * TENS[more] + rest
        count += more
        if count == 16 and 48 <= byte(at + 16) <= 57:
            count = np.int64(17)
    return count, number

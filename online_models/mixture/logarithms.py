"""Natural logarithms of many numbers, in loops that a compiler turns into instructions for several at once.

A number is 2^k * m with m from the root of 1/2 to that of 2, and log m = 2 * (s + s^3/3 + s^5/5 + ...) with
s = (m - 1) / (m + 1), so s^2 < .0295. The rest of the sum is below 3e-14 of it. The logarithm of 1 is exactly 0.
"""

from __future__ import annotations

import math

import numpy as np

from schemas.compiled import inlined

# The bits of the root of 1/2. Less these, the bits of a double have k above the 52 of the fraction.
_ROOT = np.int64(0x3FE6A09E667F3BCD)
_FRACTION = np.int64(52)
_LOG_2 = math.log(2.0)
_T1, _T2, _T3, _T4, _T5, _T6, _T7 = (1.0 / power for power in (3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0))


@inlined
def take_logarithms(many: int, numbers: np.ndarray, bits: np.ndarray, powers: np.ndarray, found: np.ndarray) -> None:
    """Fills `found` with the logarithms of the first `many` numbers, which are positive; `bits` are theirs.

    `numbers` and `bits` are one memory: the numbers are overwritten.
    """
    for each in range(many):
        power = (bits[each] - _ROOT) >> _FRACTION
        powers[each] = power
        bits[each] -= power << _FRACTION
    for each in range(many):
        s = (numbers[each] - 1.0) / (numbers[each] + 1.0)
        z = s * s
        series = z * (_T1 + z * (_T2 + z * (_T3 + z * (_T4 + z * (_T5 + z * (_T6 + z * _T7))))))
        found[each] = powers[each] * _LOG_2 + 2.0 * (s + s * series)

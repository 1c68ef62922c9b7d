"""Hashes, probabilities and log odds for kernels of this room. Compiled or not, they give the same bits."""

from __future__ import annotations

import math

import numpy as np

from online_models.model import MAX_MARGIN
from schemas.compiled import part

# The finalizer of MurmurHash3 (A. Appleby, public domain).
_M1, _M2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_U33, _U3 = np.uint64(33), np.uint64(3)
# 2^64 divided by the golden ratio, as in splitmix64: neighbouring buckets get keys that are far apart.
_GOLDEN, _OFFSET = np.uint64(0x9E3779B97F4A7C15), np.uint64(12345)
# Above the magnitude of every bucket, so that their numbers are positive: 4 * log(1.8e308) is 2,839.
_BUCKETS = 4_096
# Log odds are limited to +- this; see `online_models.model`.
_MOST = 35.0
assert _MOST == MAX_MARGIN, "kernels are made of sources of this room alone"


@part
def mixed(key: np.uint64) -> np.uint64:
    """A key with all bits stirred, so that its low bits are an index."""
    key ^= key >> _U33
    key *= _M1
    key ^= key >> _U33
    key *= _M2
    key ^= key >> _U33
    return key


@part
def paired(one: np.uint64, other: np.uint64) -> np.uint64:
    """The key of a pair of mixed keys, as an index; the order of both matters."""
    key = one * _U3 + other
    key ^= key >> _U33
    key *= _M1
    return key ^ (key >> _U33)


@part
def bucketed(key: np.uint64, value: float) -> np.uint64:
    """The key of a number's bucket: a quarter in the logarithm wide, so a factor of 1.28."""
    # Above 0, the whole part is the floor, and is no call.
    return key ^ (np.uint64(np.int64(4.0 * value + 0.5 + _BUCKETS)) * _GOLDEN + _OFFSET)


@part
def probability(log_odds: float) -> float:
    """The probability of log odds, strictly between 0 and 1."""
    return 1.0 / (1.0 + math.exp(-max(-_MOST, min(_MOST, log_odds))))

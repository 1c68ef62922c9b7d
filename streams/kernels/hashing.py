"""XXH3-64 with seed 0, equal to the xxhash package's, callable from kernels.

The constants have the names of xxHash's specification, version 0.8. Reads only the bytes that it hashes.
"""

from __future__ import annotations

import numpy as np

from schemas.compiled import inlined, part
from schemas.instructions import word
from streams.kernels.machine import Int, byte, folded, half, start_of, swapped

# The default secret of the specification.
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_SECRET_BYTES = np.frombuffer(_SECRET, np.uint8).copy()
P32_1, P32_2, P32_3 = np.uint64(0x9E3779B1), np.uint64(0x85EBCA77), np.uint64(0xC2B2AE3D)
P64_1, P64_2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
P64_3, P64_4, P64_5 = np.uint64(0x165667B19E3779F9), np.uint64(0x85EBCA77C2B2AE63), np.uint64(0x27D4EB2F165667C5)
MX1, MX2 = np.uint64(0x165667919E3779F9), np.uint64(0x9FB21C651E98DF25)
LOW = np.uint64(0xFFFFFFFF)
# Shifts, as unsigned numbers: numba makes a float of signed and unsigned.
U8, U15, U16, U24, U28, U29 = map(np.uint64, (8, 15, 16, 24, 28, 29))
U32, U33, U35, U37, U40, U47, U49 = map(np.uint64, (32, 33, 35, 37, 40, 47, 49))


def _secret(first: int, second: int) -> np.uint64:
    """Two words of the secret, combined by exclusive or."""
    left, right = (int.from_bytes(_SECRET[at : at + 8], "little") for at in (first, second))
    return np.uint64(left ^ right)


S8_16, S24_32, S40_48, S56_64 = _secret(8, 16), _secret(24, 32), _secret(40, 48), _secret(56, 64)
S0_4 = np.uint64(int.from_bytes(_SECRET[0:4], "little") ^ int.from_bytes(_SECRET[4:8], "little"))


@inlined
def _avalanche(h: Int) -> Int:
    h ^= h >> U37
    h *= MX1
    return h ^ (h >> U32)


@inlined
def _mix(at: Int, secret: Int) -> Int:
    return folded(word(at) ^ word(secret), word(at + 8) ^ word(secret + 8))


@part
def _short(at: Int, length: Int) -> Int:
    if length > 8:
        low = word(at) ^ S24_32
        high = word(at + length - 8) ^ S40_48
        return _avalanche(np.uint64(length) + swapped(low) + high + folded(low, high))
    if length >= 4:
        keyed = (half(at + length - 4) + (half(at) << U32)) ^ S8_16
        # rrmxmx
        keyed ^= ((keyed << U49) | (keyed >> U15)) ^ ((keyed << U24) | (keyed >> U40))
        keyed *= MX2
        keyed ^= (keyed >> U35) + np.uint64(length)
        keyed *= MX2
        return keyed ^ (keyed >> U28)
    if length > 0:
        first, middle, last = np.uint64(byte(at)), np.uint64(byte(at + (length >> 1))), np.uint64(byte(at + length - 1))
        keyed = ((first << U16) | (middle << U24) | last | (np.uint64(length) << U8)) ^ S0_4
        keyed ^= keyed >> U33
        keyed *= P64_2
        keyed ^= keyed >> U29
        keyed *= P64_3
        return keyed ^ (keyed >> U32)
    h = S56_64
    h ^= h >> U33
    h *= P64_2
    h ^= h >> U29
    h *= P64_3
    return h ^ (h >> U32)


@part
def xxh3(at: Int, length: Int) -> Int:
    """Of the bytes at an address."""
    if length <= 16:
        return _short(at, length)
    secret = start_of(_SECRET_BYTES)
    acc = np.uint64(length) * P64_1
    if length <= 128:
        if length > 32:
            if length > 64:
                if length > 96:
                    acc += _mix(at + 48, secret + 96) + _mix(at + length - 64, secret + 112)
                acc += _mix(at + 32, secret + 64) + _mix(at + length - 48, secret + 80)
            acc += _mix(at + 16, secret + 32) + _mix(at + length - 32, secret + 48)
        acc += _mix(at, secret) + _mix(at + length - 16, secret + 16)
        return _avalanche(acc)
    if length <= 240:
        for number in range(8):
            acc += _mix(at + 16 * number, secret + 16 * number)
        acc = _avalanche(acc)
        for number in range(8, length // 16):
            acc += _mix(at + 16 * number, secret + 16 * (number - 8) + 3)
        return _avalanche(acc + _mix(at + length - 16, secret + 136 - 17))
    return _long(at, length, secret)


@inlined
def _lane(own: Int, at: Int, secret: Int) -> Int:
    keyed = word(at) ^ word(secret)
    return own + (keyed & LOW) * (keyed >> U32)


@inlined
def _scrambled(own: Int, secret: Int) -> Int:
    return (own ^ (own >> U47) ^ word(secret)) * P32_1


@part
def _long(at: Int, length: Int, secret: Int) -> Int:
    a, b, c, d, e, f, g, h = P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1
    stripes = (length - 1) // 64
    for stripe in range(stripes + 1):
        last = stripe == stripes
        data = at + length - 64 if last else at + 64 * stripe
        key = secret + 192 - 64 - 7 if last else secret + 8 * (stripe & 15)
        a = _lane(a, data, key) + word(data + 8)
        b = _lane(b, data + 8, key + 8) + word(data)
        c = _lane(c, data + 16, key + 16) + word(data + 24)
        d = _lane(d, data + 24, key + 24) + word(data + 16)
        e = _lane(e, data + 32, key + 32) + word(data + 40)
        f = _lane(f, data + 40, key + 40) + word(data + 32)
        g = _lane(g, data + 48, key + 48) + word(data + 56)
        h = _lane(h, data + 56, key + 56) + word(data + 48)
        if stripe & 15 == 15 and not last:
            key = secret + 128
            a, b = _scrambled(a, key), _scrambled(b, key + 8)
            c, d = _scrambled(c, key + 16), _scrambled(d, key + 24)
            e, f = _scrambled(e, key + 32), _scrambled(f, key + 40)
            g, h = _scrambled(g, key + 48), _scrambled(h, key + 56)
    key = secret + 11
    result = np.uint64(length) * P64_1
    result += folded(a ^ word(key), b ^ word(key + 8)) + folded(c ^ word(key + 16), d ^ word(key + 24))
    result += folded(e ^ word(key + 32), f ^ word(key + 40)) + folded(g ^ word(key + 48), h ^ word(key + 56))
    return _avalanche(result)

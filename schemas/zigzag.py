"""Whole numbers of variable length, as Kafka and Protobuf write signed ones."""

from __future__ import annotations

from typing import Final

# Ten bytes have 70 bits.
_MOST_BYTES: Final = 10


def zigzag(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a place, and the place behind it. Raises ValueError where it does not end."""
    bits = 0
    for place, byte in enumerate(data[at : at + _MOST_BYTES]):
        bits |= (byte & 127) << (7 * place)
        if byte < 128:
            return (bits >> 1) ^ -(bits & 1), at + place + 1
    raise ValueError("a number does not end")

"""Batches of records in Kafka's format 2, written by its description."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import cramjam
import google_crc32c
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode  # type: ignore[import-untyped]

FIRST_MS = 1_700_000_000_000
# Attributes of a batch.
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
APPENDED, TRANSACTIONAL, CONTROL = 8, 16, 32
ENCODERS = {GZIP: gzip_encode, SNAPPY: cramjam.snappy.compress_raw, LZ4: lz4_encode, ZSTD: zstd_encode}
snappy_java = snappy_encode
Header = tuple[bytes, bytes | None]


class Rec(NamedTuple):
    """A record to write: deltas from the batch's first offset and time."""

    delta: int
    delta_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


def number(value: int) -> bytes:
    """A zigzag number of variable length."""
    left, written = (value << 1) ^ (value >> 63), bytearray()
    while left > 127:
        written.append(left & 127 | 128)
        left >>= 7
    return bytes([*written, left])


def text(value: bytes | None) -> bytes:
    return number(-1) if value is None else number(len(value)) + value


def written(records: list[Rec]) -> bytes:
    """The records of a batch as a producer writes them."""
    parts = []
    for each in records:
        body = b"\0" + number(each.delta_ms) + number(each.delta) + text(each.key) + text(each.value)
        body += number(len(each.headers)) + b"".join(text(part) for header in each.headers for part in header)
        parts.append(number(len(body)) + body)
    return b"".join(parts)


def batch(
    first: int,
    records: Sequence[Rec],
    *,
    attributes: int = 0,
    producer: int = -1,
    last: int | None = None,
    packed: bytes | None = None,
    most_ms: int = FIRST_MS + 99,
) -> bytes:
    """A batch from an offset on. `last` is the delta of its last offset, by default that of its last record; `packed`
    are its records as they are compressed, by default by the codec that the attributes name."""
    if packed is None:
        packed = written(list(records))
        packed = bytes(ENCODERS[attributes & 7](packed)) if attributes & 7 else packed
    if last is None:
        last = records[-1].delta
    checked = struct.pack(">hiqqqhii", attributes, last, FIRST_MS, most_ms, producer, 0, -1, len(records)) + packed
    rest = struct.pack(">ibI", 0, 2, google_crc32c.value(checked)) + checked
    return struct.pack(">qi", first, len(rest)) + rest


def marker(first: int, producer: int, *, abort: bool) -> bytes:
    """The marker at the end of a transaction."""
    record = Rec(0, 0, struct.pack(">hh", 0, 0 if abort else 1), bytes(6))
    return batch(first, [record], attributes=TRANSACTIONAL | CONTROL, producer=producer)

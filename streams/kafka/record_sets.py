"""Record sets, as Kafka answers a fetch with them, to columns: checked, decompressed, and taken apart by a kernel."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import cramjam
import google_crc32c
import numpy as np

from schemas.errors import Transient
from streams.kafka.buffers import Buffers
from streams.kernels.record_sets import BATCH, COUNT, LEAST_RECORD_BYTES, take_apart
from streams.kernels.slices import MARGIN, Numbers, Slices

# First offset, bytes that follow this number, leader epoch, format, CRC-32C, attributes, last offset (from the first),
# first and highest timestamp, producer, its epoch, first sequence number, number of records.
_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
_SIZE_FROM: Final = 12
# The checksum is of all that follows it.
_CHECKED_FROM: Final = 21
_FORMAT: Final = 2
# Attributes: the codec, then whether the broker has stamped the records, and whether they belong to a transaction.
_CODEC, _APPENDED, _TRANSACTIONAL, _CONTROL = 7, 8, 16, 32
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
# A marker's record begins with four numbers of one byte: its length, attributes and deltas. Then come the length of the
# key (4, as zigzag), and in the key a version and the kind, of which 0 is an abort.
_MARKER: Final = struct.Struct(">4xbhh")
_MARKER_KEY, _ABORT = 8, 0
# What snappy-java writes before its blocks; each begins with its length. Others compress a batch as one block.
_SNAPPY_JAVA: Final = b"\x82SNAPPY\x00"
_SNAPPY_JAVA_HEAD: Final = 16
# A batch that does not fit is decompressed into twice the memory, up to this. Kafka's own bound for a batch is 1 MiB
# compressed by default, and no codec makes a thousandth of JSON.
_LARGEST_BATCH: Final = 1 << 30
# Room that a batch is expected to need, over what the last one needed of its compressed size.
_RESERVE: Final = 1.1


class UnknownFormat(Exception):
    """Kafka has records in a form that this reader does not read; librdkafka may."""


class Batch(NamedTuple):
    """A batch of records that count. Its compressed records are at `start` to `stop` of the set.

    `time_ms` is the first record's timestamp; `appended_ms` the broker's, which all records have then, or -1.
    """

    start: int
    stop: int
    codec: int
    records: int
    offset: int
    time_ms: int
    appended_ms: int


class Columns(NamedTuple):
    """Records in order of their offsets. `size` is how many bytes of a buffer they take."""

    offsets: Numbers
    times: Numbers
    keys: Slices
    values: Slices
    size: int

    def split(self, count: int) -> tuple[Columns, Columns]:
        """The first so many, and the rest; the size is that of the rest, because the buffer is held until then."""
        offsets, times, keys, values, size = self
        first = Columns(offsets[:count], times[:count], keys[:count], values[:count], 0)
        return first, Columns(offsets[count:], times[count:], keys[count:], values[count:], size)


def batches_of(
    data: memoryview, *, wanted: int, aborted: Sequence[tuple[int, int]], where: str
) -> tuple[list[Batch], int]:
    """The batches from offset `wanted` on that a consumer is to see, and the offset behind the last whole batch.

    `aborted` are the aborted transactions that Kafka names for this set: producer and first offset. `where` names the
    partition in errors. Raises Transient for a batch that is not what Kafka has stored, and UnknownFormat.
    """
    found: list[Batch] = []
    pending = sorted(aborted, key=lambda each: each[1], reverse=True)
    aborting: set[int] = set()
    at, after = 0, wanted
    # Kafka cuts the last batch off where the answer is full.
    while at + _HEAD.size <= len(data):
        first, size, _, magic, crc, attributes, last, first_ms, most_ms, producer, _, _, count = _HEAD.unpack_from(
            data, at
        )
        start, stop = at + _HEAD.size, at + _SIZE_FROM + size
        if magic != _FORMAT:
            raise UnknownFormat(f"the batch at offset {first} of {where} has format {magic}, not {_FORMAT}")
        if stop > len(data):
            break
        # A copy, because the function wants bytes; it takes a twentieth of the time of decompressing.
        if stop < start or last < 0 or google_crc32c.value(bytes(data[at + _CHECKED_FROM : stop])) != crc:
            raise _damaged(first, where, f"its CRC-32C is not {crc:08x}, as its header says")
        at = stop
        while pending and pending[-1][1] <= first + last:
            aborting.add(pending.pop()[0])
        if attributes & _CONTROL:
            if stop - start < _MARKER.size:
                raise _malformed(first, where)
            key_length, _, kind = _MARKER.unpack_from(data, start)
            if key_length != _MARKER_KEY:
                raise _malformed(first, where)
            if kind == _ABORT:
                aborting.discard(producer)
        elif count and first + last >= wanted and not (attributes & _TRANSACTIONAL and producer in aborting):
            appended_ms = most_ms if attributes & _APPENDED else -1
            found.append(Batch(start, stop, attributes & _CODEC, count, first, first_ms, appended_ms))
        after = max(after, first + last + 1)
    if len(data) and not at:
        # Kafka gives the first batch whole, however large it is.
        raise _damaged(wanted, where, "it is shorter than its header says")
    return found, after


def _damaged(offset: int, where: str, why: str) -> Transient:
    return Transient(
        f"the batch at offset {offset} of {where} is damaged: {why}; it is fetched again, and if that never helps, the "
        "broker's disk or the network is faulty"
    )


class Unpacker:
    """Decompresses batches one behind the other into buffers, and takes them apart. One thread uses it."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._buffer = buffers.take(0)
        self._used = 0
        # How many times as long as its compressed form the last batch was.
        self._ratio = 1.0

    def columns(self, data: memoryview, batches: Sequence[Batch], *, wanted: int, where: str) -> Iterator[Columns]:
        """The records of these batches from offset `wanted` on, in pieces of up to a buffer.

        Raises Transient for a batch that is malformed, and UnknownFormat.
        """
        rows: list[tuple[int, ...]] = []
        for batch in batches:
            packed = data[batch.start : batch.stop]
            size = self._unpacked(packed, batch, where, expected=int(len(packed) * self._ratio * _RESERVE))
            if size is None:
                # This buffer is full: what is in it goes on, and the batch gets a new one.
                if rows:
                    yield self._piece(rows, wanted, where)
                rows = []
                size = self._into_new(packed, batch, where)
            if batch.records * LEAST_RECORD_BYTES > size:
                raise _malformed(batch.offset, where)
            self._ratio = size / max(len(packed), 1)
            stop = self._used + size
            rows.append((self._used, stop, batch.records, batch.offset, batch.time_ms, batch.appended_ms))
            self._used = stop
        if rows:
            yield self._piece(rows, wanted, where)

    def _unpacked(self, packed: memoryview, batch: Batch, where: str, *, expected: int = 0) -> int | None:
        """Decompresses into what is left of the buffer. Returns how many bytes it were, None if it is too small."""
        room = self._buffer.data[self._used : len(self._buffer) - MARGIN]
        if expected > len(room):
            return None
        try:
            return _decompress(packed, batch.codec, room)
        except (cramjam.DecompressionError, _TooSmall):
            return None
        except KeyError as failure:
            raise UnknownFormat(
                f"the batch at offset {batch.offset} of {where} is compressed with codec {batch.codec}, which no "
                "version of Kafka had when this was written"
            ) from failure

    def _into_new(self, packed: memoryview, batch: Batch, where: str) -> int:
        self._used, room = 0, 0
        while room <= _LARGEST_BATCH:
            self._buffer = self._buffers.take(room)
            size = self._unpacked(packed, batch, where)
            if size is not None:
                return size
            room = 2 * len(self._buffer)
        raise Transient(
            f"the batch at offset {batch.offset} of {where} cannot be decompressed into {_LARGEST_BATCH} bytes: its "
            "producer compressed it wrongly, or it is too large"
        )

    def _piece(self, rows: list[tuple[int, ...]], wanted: int, where: str) -> Columns:
        table = np.array(rows, np.int64).reshape(-1, BATCH)
        count = int(table[:, COUNT].sum())
        offsets, times = np.empty(count, np.int64), np.empty(count, np.int64)
        keys, values = np.empty((count, 2), np.int64), np.empty((count, 2), np.int64)
        buffer = self._buffer
        found = take_apart(buffer, table, wanted, offsets, times, keys, values)
        if found < 0:
            raise _malformed(rows[-1 - found][3], where)
        return Columns(
            Numbers(offsets[:found]),
            Numbers(times[:found]),
            Slices(buffer, keys[:found]),
            Slices(buffer, values[:found]),
            rows[-1][1] - rows[0][0],
        )


def _malformed(offset: int, where: str) -> Transient:
    return Transient(
        f"the batch at offset {offset} of {where} is malformed, though its checksum is right: its records do not fill "
        "it, or are not in order; its producer wrote it wrongly"
    )


class _TooSmall(Exception):
    """The room given is too small."""


def _decompress(packed: memoryview, codec: int, room: memoryview) -> int:
    """Writes the decompressed bytes and returns how many there are. Raises KeyError for an unknown codec."""
    if codec == 0:
        if len(packed) > len(room):
            raise _TooSmall
        room[: len(packed)] = packed
        return len(packed)
    if codec == _SNAPPY and bytes(packed[: len(_SNAPPY_JAVA)]) == _SNAPPY_JAVA:
        at, done = _SNAPPY_JAVA_HEAD, 0
        while at + 4 <= len(packed):
            length = int.from_bytes(packed[at : at + 4], "big")
            at += 4 + length
            done += cramjam.snappy.decompress_raw_into(packed[at - length : at], room[done:])
        return done
    return int(_INTO[codec](packed, room))


_INTO: Final = {
    _GZIP: cramjam.gzip.decompress_into,
    _SNAPPY: cramjam.snappy.decompress_raw_into,
    _LZ4: cramjam.lz4.decompress_into,
    _ZSTD: cramjam.zstd.decompress_into,
}

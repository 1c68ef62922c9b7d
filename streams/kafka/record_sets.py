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
from streams.kafka.headers import PackedHeaders
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
# What snappy-java writes before its blocks; each begins with its length. Others compress a batch as one block.
_SNAPPY_JAVA: Final = b"\x82SNAPPY\x00"
_SNAPPY_JAVA_HEAD: Final = 16
# A batch that does not fit is decompressed into twice the memory, up to this. Kafka's own bound for a batch is 1 MiB
# compressed by default, and no codec makes a thousandth of JSON.
_LARGEST_BATCH: Final = 1 << 30
# What an answer has of one partition, at four times its compressed size.
_SOURCE_BYTES: Final = 4 << 20


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
    """Records in order of their offsets. `size` is how many bytes of a buffer they take. `headers` are there if they
    are wanted."""

    offsets: Numbers
    times: Numbers
    keys: Slices
    values: Slices
    size: int
    headers: PackedHeaders | None = None

    def split(self, count: int) -> tuple[Columns, Columns]:
        """The first so many, and the rest; the size is that of the rest, because the buffer is held until then."""
        return self._part(slice(count), 0), self._part(slice(count, None), self.size)

    def _part(self, part: slice, size: int) -> Columns:
        headers = self.headers[part] if self.headers is not None else None
        return Columns(self.offsets[part], self.times[part], self.keys[part], self.values[part], size, headers)


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
            # The end of a transaction of this producer. If that was one of those aborted, it is over.
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
    """Decompresses batches, and copies their records into buffers. One thread uses it.

    Copied, values follow each other, as the join's files want them, and headers that nobody wants are left behind. What
    is decompressed lies in memory that is used again and again. A copy by the thread that folds took longer.
    """

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._buffer = buffers.take(0)
        self._used = 0
        self._source = np.empty(_SOURCE_BYTES, np.uint8)

    def columns(
        self, data: memoryview, batches: Sequence[Batch], *, wanted: int, where: str, headers: bool = False
    ) -> Iterator[Columns]:
        """The records of these batches from offset `wanted` on, in pieces; with their `headers`.

        Raises Transient for a batch that is malformed, and UnknownFormat.
        """
        rows: list[tuple[int, ...]] = []
        used = 0
        for batch in batches:
            packed = data[batch.start : batch.stop]
            size = _decompressed(packed, batch, self._source.data[used:], where)
            if size is None:
                # The memory is full: what is in it goes on first.
                if rows:
                    yield self._piece(rows, wanted, where, headers=headers)
                rows, used, size = [], 0, self._decompressed_alone(packed, batch, where)
            if batch.records * LEAST_RECORD_BYTES > size:
                raise _malformed(batch.offset, where)
            rows.append((used, used + size, batch.records, batch.offset, batch.time_ms, batch.appended_ms))
            used += size
        if rows:
            yield self._piece(rows, wanted, where, headers=headers)

    def _decompressed_alone(self, packed: memoryview, batch: Batch, where: str) -> int:
        """Decompresses into the whole memory, which grows as far as it has to."""
        while True:
            size = _decompressed(packed, batch, self._source.data, where)
            if size is not None:
                return size
            if len(self._source) >= _LARGEST_BATCH:
                raise Transient(
                    f"the batch at offset {batch.offset} of {where} cannot be decompressed into {_LARGEST_BATCH} "
                    "bytes: its producer compressed it wrongly, or it is too large"
                )
            self._source = np.empty(2 * len(self._source), np.uint8)

    def _piece(self, rows: list[tuple[int, ...]], wanted: int, where: str, *, headers: bool) -> Columns:
        table = np.array(rows, np.int64).reshape(-1, BATCH)
        count, size = int(table[:, COUNT].sum()), rows[-1][1]
        if self._used + size + MARGIN > len(self._buffer):
            self._buffer, self._used = self._buffers.take(size + MARGIN), 0
        start, stop, buffer = self._used, self._used + size, self._buffer
        offsets, times = np.empty(count, np.int64), np.empty(count, np.int64)
        keys, values = np.empty((count, 2), np.int64), np.empty((count, 2), np.int64)
        packed = np.empty((count if headers else 0, 2), np.int64)
        found = take_apart(self._source, table, wanted, buffer, start, stop, offsets, times, keys, values, packed)
        if found < 0:
            raise _malformed(rows[-1 - found][3], where)
        self._used = stop
        if len(self._source) > _SOURCE_BYTES:
            self._source = np.empty(_SOURCE_BYTES, np.uint8)
        return Columns(
            offsets=Numbers(offsets[:found]),
            times=Numbers(times[:found]),
            keys=Slices(buffer, keys[:found]),
            values=Slices(buffer, values[:found]),
            size=size,
            headers=PackedHeaders(Slices(buffer, packed[:found])) if headers else None,
        )


def _malformed(offset: int, where: str) -> Transient:
    return Transient(
        f"the batch at offset {offset} of {where} is malformed, though its checksum is right: its records do not fill "
        "it, or are not in order; its producer wrote it wrongly"
    )


def _decompressed(packed: memoryview, batch: Batch, room: memoryview, where: str) -> int | None:
    """Writes the decompressed bytes and returns how many there are, None if they are more than the room."""
    if batch.codec == 0:
        if len(packed) > len(room):
            return None
        room[: len(packed)] = packed
        return len(packed)
    if batch.codec not in _INTO:
        raise UnknownFormat(
            f"the batch at offset {batch.offset} of {where} is compressed with codec {batch.codec}, which is not known"
        )
    try:
        if batch.codec == _SNAPPY and bytes(packed[: len(_SNAPPY_JAVA)]) == _SNAPPY_JAVA:
            return _blocks(packed, room)
        return int(_INTO[batch.codec](packed, room))
    except cramjam.DecompressionError:
        # It does not say whether the room was too small. Larger room is tried, up to a bound.
        return None


def _blocks(packed: memoryview, room: memoryview) -> int:
    """Decompresses what snappy-java has written."""
    at, done = _SNAPPY_JAVA_HEAD, 0
    while at + 4 <= len(packed):
        length = int.from_bytes(packed[at : at + 4], "big")
        at += 4 + length
        done += cramjam.snappy.decompress_raw_into(packed[at - length : at], room[done:])
    return done


_INTO: Final = {
    _GZIP: cramjam.gzip.decompress_into,
    _SNAPPY: cramjam.snappy.decompress_raw_into,
    _LZ4: cramjam.lz4.decompress_into,
    _ZSTD: cramjam.zstd.decompress_into,
}

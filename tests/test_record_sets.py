"""Record sets to columns: every codec, what consumers must not see, and bytes that are not what Kafka has stored."""

from __future__ import annotations

import struct
from itertools import pairwise
from random import Random
from typing import Any

import google_crc32c
import pytest
from aiokafka.record import MemoryRecords  # type: ignore[import-untyped]  # it publishes no types
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Transient
from streams.kafka.buffers import Buffers
from streams.kafka.record_sets import Columns, UnknownFormat, Unpacker, batches_of
from streams.kernels.slices import MARGIN
from tests.batches import (
    APPENDED,
    FIRST_MS,
    GZIP,
    LZ4,
    SNAPPY,
    TRANSACTIONAL,
    ZSTD,
    Rec,
    batch,
    marker,
    snappy_java,
    written,
)

WHERE = "ads.impressions[3]"
CODECS = {"none": 0, "gzip": GZIP, "snappy": SNAPPY, "lz4": LZ4, "zstd": ZSTD}
Row = tuple[int, int, bytes | None, bytes | None]


def records(count: int, random: Random, *, size: int = 300) -> list[Rec]:
    return [
        Rec(
            *(number, random.randrange(99), random.choice([None, b"", random.randbytes(9)])),
            random.choice([None, b"", b"x" * random.randrange(size), random.randbytes(random.randrange(size))]),
            random.choice([(), ((b"trace", b"1"), (b"empty", None))]),
        )
        for number in range(count)
    ]


def pieces(
    data: bytes, *, wanted: int = 0, aborted: tuple[tuple[int, int], ...] = (), unpacker: Unpacker | None = None
) -> tuple[list[Columns], int]:
    view = memoryview(data)
    found, after = batches_of(view, wanted=wanted, aborted=aborted, where=WHERE)
    unpacker = unpacker or Unpacker(Buffers(1 << 16, 4))
    return list(unpacker.columns(view, found, wanted=wanted, where=WHERE)), after


def rows_of(found: list[Columns]) -> list[Row]:
    return [row for piece in found for row in zip(*piece[:4], strict=True)]


def read(data: bytes, **given: Any) -> list[Row]:
    return rows_of(pieces(data, **given)[0])


def by_aiokafka(data: bytes) -> list[Row]:
    """What aiokafka makes of the same bytes."""
    memory, rows = MemoryRecords(data), list[Row]()
    while memory.has_next():
        one = memory.next_batch()
        assert one.validate_crc()
        rows += [(each.offset, each.timestamp, each.key, each.value) for each in one]
    return rows


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_every_codec_are_what_aiokafka_reads(codec: str) -> None:
    random = Random(codec)
    data = b"".join(batch(start, records(40, random), attributes=CODECS[codec]) for start in (5, 100, 1_000))
    found = read(data)
    assert found == by_aiokafka(data)
    assert len(found) == 120


def test_blocks_of_snappy_java_are_read() -> None:
    one = records(500, Random(1))
    packed = bytes(snappy_java(written(one), xerial_blocksize=1_000))
    data = batch(7, one, attributes=SNAPPY, packed=packed)
    assert read(data) == by_aiokafka(data)


@given(
    st.integers(0, 2**31), st.sampled_from([0, APPENDED]), st.sampled_from(sorted(CODECS.values())), st.integers(1, 30)
)
def test_any_batch_is_what_aiokafka_reads(seed: int, attributes: int, codec: int, count: int) -> None:
    data = batch(seed, records(count, Random(seed)), attributes=attributes | codec)
    assert read(data) == by_aiokafka(data)


# ---- what consumers see ---------------------------------------------------------------------------------------------


def one(value: bytes) -> list[Rec]:
    return [Rec(0, 0, None, value)]


def test_records_of_aborted_transactions_and_markers_are_left_out() -> None:
    data = b"".join(
        [
            batch(0, one(b"before"), attributes=TRANSACTIONAL, producer=1),
            marker(1, 1, abort=False),
            batch(2, one(b"aborted"), attributes=TRANSACTIONAL, producer=1),
            batch(3, one(b"of another"), attributes=TRANSACTIONAL, producer=2),
            batch(4, one(b"plain"), producer=1),
            batch(5, one(b"aborted too"), attributes=TRANSACTIONAL, producer=1),
            marker(6, 1, abort=True),
            batch(7, one(b"after"), attributes=TRANSACTIONAL, producer=1),
            marker(8, 2, abort=False),
            marker(9, 1, abort=False),
        ]
    )
    found, after = pieces(data, aborted=((1, 2),))
    assert [(row[0], row[3]) for row in rows_of(found)] == [
        *((0, b"before"), (3, b"of another"), (4, b"plain"), (7, b"after"))
    ]
    assert after == 10


def test_each_of_several_aborted_transactions_of_a_producer_begins_at_its_own_offset() -> None:
    data = b"".join(
        [
            *(batch(0, one(b"a"), attributes=TRANSACTIONAL, producer=1), marker(1, 1, abort=True)),
            *(batch(2, one(b"b"), attributes=TRANSACTIONAL, producer=1), marker(3, 1, abort=False)),
            *(batch(4, one(b"c"), attributes=TRANSACTIONAL, producer=1), marker(5, 1, abort=True)),
        ]
    )
    # In the order of their ends, as a broker lists them, and in another.
    for aborted in (((1, 0), (1, 4)), ((1, 4), (1, 0))):
        assert [row[3] for row in read(data, aborted=aborted)] == [b"b"]


def test_an_aborted_transaction_begins_within_a_batch_that_reaches_its_first_offset() -> None:
    data = batch(10, one(b"a"), attributes=TRANSACTIONAL, producer=1, last=4)
    assert read(data, aborted=((1, 14),)) == []
    assert len(read(data, aborted=((1, 15),))) == 1


def test_a_set_is_read_up_to_the_batch_that_is_cut_off_and_from_the_wanted_offset_on() -> None:
    whole = batch(10, [Rec(0, 0, None, b"a"), Rec(3, 0, None, b"b")]) + batch(20, one(b"c"))
    for cut in (len(whole), len(whole) - 1, len(whole) - 20):
        found, after = pieces(whole[:cut], wanted=11)
        assert [row[3] for row in rows_of(found)] == ([b"b", b"c"] if cut == len(whole) else [b"b"])
        assert after == (21 if cut == len(whole) else 14)


def test_a_batch_that_ends_before_the_wanted_offset_is_not_unpacked() -> None:
    data = batch(10, one(b"a"), last=4)
    assert len(batches_of(memoryview(data), wanted=14, aborted=(), where=WHERE)[0]) == 1
    assert batches_of(memoryview(data), wanted=15, aborted=(), where=WHERE) == ([], 15)


def test_what_compaction_has_emptied_moves_the_offset_on() -> None:
    found, after = pieces(batch(10, [], last=9) + batch(30, one(b"a"), last=5), wanted=12)
    assert ([row[0] for row in rows_of(found)], after) == ([30], 36)
    assert pieces(b"", wanted=12) == ([], 12)


def test_the_brokers_time_is_that_of_all_records_if_the_batch_says_so() -> None:
    two = [Rec(0, 0, None, b"a"), Rec(1, 5, None, b"b")]
    assert [row[1] for row in read(batch(0, two))] == [FIRST_MS, FIRST_MS + 5]
    assert [row[1] for row in read(batch(0, two, attributes=APPENDED, most_ms=8))] == [8, 8]


# ---- what Kafka has not stored --------------------------------------------------------------------------------------


def test_a_batch_with_any_other_bit_than_was_written_is_named_and_not_read() -> None:
    first, second = batch(5, one(b"value")), batch(6, one(b"value"), attributes=LZ4)
    data = first + second
    # The bits of its offset, length and leader's epoch are not in the checksum; its format is looked at before.
    for at in range(len(first) + 17, len(data)):
        for bit in (1, 128):
            wrong = bytearray(data)
            wrong[at] ^= bit
            with pytest.raises(Transient, match=r"batch at offset 6 of ads\.impressions\[3\] is damaged: .* CRC-32C"):
                read(bytes(wrong))
    assert len(read(data)) == 2


def test_a_batch_that_is_shorter_than_its_header_or_longer_than_the_set_is_damaged() -> None:
    data = bytearray(batch(5, one(b"value")))
    for size in (-12, -1, 0, 9, 48):
        struct.pack_into(">i", data, 8, size)
        # Even where the checksum is that of so many bytes.
        struct.pack_into(">I", data, 17, google_crc32c.value(bytes(data[21 : 12 + size])))
        with pytest.raises(Transient, match=r"batch at offset 5 of .* is damaged"):
            read(bytes(data))
    data = bytearray(batch(5, one(b"value")))
    struct.pack_into(">i", data, 8, len(data))
    with pytest.raises(Transient, match=r"batch at offset 4 of .* is damaged: it is shorter than its header says"):
        read(bytes(data), wanted=4)


def test_a_batch_whose_last_offset_is_before_its_first_is_damaged() -> None:
    with pytest.raises(Transient, match="damaged"):
        read(batch(5, one(b"a"), last=-1))


@pytest.mark.parametrize("magic", [0, 1, 3])
def test_another_format_is_left_to_librdkafka(magic: int) -> None:
    data = bytearray(batch(5, one(b"value")))
    data[16] = magic
    with pytest.raises(UnknownFormat, match=rf"batch at offset 5 of {WHERE[:3]}.* has format {magic}, not 2"):
        read(bytes(data))


@pytest.mark.parametrize("codec", [5, 7])
def test_an_unknown_codec_is_left_to_librdkafka(codec: int) -> None:
    with pytest.raises(UnknownFormat, match=rf"batch at offset 5 of .* is compressed with codec {codec}"):
        read(batch(5, one(b"value"), attributes=codec, packed=b"?"))


@pytest.mark.parametrize("packed", [b"\xff", b"", written(one(b"v")) + b"\0", written(one(b"v"))[:-1]])
def test_a_malformed_batch_with_a_right_checksum_is_named(packed: bytes) -> None:
    with pytest.raises(Transient, match=r"batch at offset 5 of .* is malformed, though its checksum is right"):
        read(batch(5, one(b"v"), packed=packed))


def test_a_batch_cannot_have_more_records_than_its_bytes_allow() -> None:
    data = bytearray(batch(5, one(b"v")))
    struct.pack_into(">i", data, 57, 2**31 - 1)
    struct.pack_into(">I", data, 17, google_crc32c.value(bytes(data[21:])))
    with pytest.raises(Transient, match="malformed"):
        read(bytes(data))


def test_what_no_memory_could_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.record_sets._SOURCE_BYTES", 1 << 12)
    monkeypatch.setattr("streams.kafka.record_sets._LARGEST_BATCH", 1 << 14)
    least = len(written(one(bytes(1 << 13)))) - (1 << 13)
    fits, large = one(bytes((1 << 14) - least)), one(bytes((1 << 14) - least + 1))
    for codec in CODECS.values():
        assert len(read(batch(5, fits, attributes=codec))) == 1
        with pytest.raises(Transient, match=r"batch at offset 5 of .* cannot be decompressed into 16384 bytes"):
            read(batch(5, large, attributes=codec))


# ---- buffers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [64 + MARGIN, 1_000, 1 << 16])
@pytest.mark.parametrize("source", [64, 1 << 14])
def test_batches_of_any_size_go_through_buffers_of_any_size(
    codec: str, size: int, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.record_sets._SOURCE_BYTES", source)
    random = Random(size)
    unpacker, data, start = Unpacker(Buffers(size, 2)), b"", 0
    for _ in range(30):
        some = records(random.randrange(1, 30), random, size=random.choice([3, 3_000]))
        data += batch(start, some, attributes=CODECS[codec])
        start += 100
    kept = pieces(data, unpacker=unpacker)[0] + pieces(data, unpacker=unpacker)[0]
    # Only now are they looked at: no later piece has changed an earlier one.
    assert rows_of(kept) == 2 * by_aiokafka(data)
    for piece in kept:
        for spans in (piece.keys.spans, piece.values.spans):
            assert (spans.sum(axis=1) + MARGIN <= len(piece.keys.buffer)).all()


@pytest.mark.parametrize("missing", [0, 1])
def test_a_margin_follows_the_last_byte_even_where_a_buffer_is_just_large_enough(missing: int) -> None:
    packed = written([Rec(0, 0, b"key", b"value")])
    buffers = Buffers(len(packed) + MARGIN - missing, 1)
    kept = buffers.take(0).ctypes.data
    (piece,), _ = pieces(
        batch(0, [], last=0, packed=b"") + batch(1, [Rec(0, 0, b"key", b"value")]), unpacker=Unpacker(buffers)
    )
    # Keys end where the piece does.
    assert piece.keys.spans.sum() + MARGIN <= len(piece.keys.buffer)
    assert (piece.keys.buffer.ctypes.data == kept) == (missing == 0)


def test_small_sets_share_a_buffer_and_a_buffer_nobody_refers_to_is_used_again() -> None:
    unpacker, data = Unpacker(Buffers(1 << 12, 2)), batch(0, one(bytes(1_000)))
    buffers = []
    for _ in range(40):
        (piece,), _ = pieces(data, unpacker=unpacker)
        buffers.append(piece.values.buffer.ctypes.data)
        assert piece.size >= 1_000
    assert len(set(buffers)) == 2
    assert sum(before != after for before, after in pairwise(buffers)) < 15


def test_the_first_records_of_columns_and_the_rest_are_all_of_them() -> None:
    (columns,), _ = pieces(batch(0, records(10, Random(2))))
    first, rest = columns.split(3)
    assert rows_of([first, rest]) == rows_of([columns])
    assert (len(first.offsets), first.size, rest.size) == (3, 0, columns.size)

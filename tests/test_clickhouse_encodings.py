"""Bodies in each content encoding: several frames, cut off, forged, too large; and which one an answer takes."""

import lzma
import struct
from collections.abc import Callable
from typing import Any

import cramjam
import pytest

from streams.embedded.clickhouse.encodings import (
    COMPRESSORS,
    DECOMPRESSORS,
    MAX_SNAPPY_CHUNK_BYTES,
    Decompressor,
    accepted,
)
from streams.embedded.clickhouse.wire import BodyError, compressed, decompressed

# Longer than what is read at a time, and random enough for several blocks.
LONG = b"".join(struct.pack("<Q", number * 0x9E3779B97F4A7C15 % (1 << 64)) for number in range(40_000)) + bytes(3 << 20)


def hadoop_snappy(data: bytes, *, chunk_bytes: int = 100_000) -> bytes:
    """As Hadoop writes it: one block, in chunks."""
    chunks = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
    packed = [bytes(cramjam.snappy.compress_raw(chunk)) for chunk in chunks]
    return struct.pack(">I", len(data)) + b"".join(struct.pack(">I", len(chunk)) + chunk for chunk in packed)


PACK: dict[str, Callable[[bytes], bytes]] = {**COMPRESSORS, "snappy": hadoop_snappy}


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("data", [b"1\n", LONG], ids=["short", "long"])
def test_body_is_read_in_each_encoding(encoding: str, data: bytes) -> None:
    assert decompressed(PACK[encoding](data), encoding) == data


def test_a_server_reads_these_and_writes_all_but_snappy() -> None:
    assert set(DECOMPRESSORS) == {"gzip", "deflate", "br", "xz", "zstd", "lz4", "bz2", "snappy"}
    assert set(COMPRESSORS) == set(DECOMPRESSORS) - {"snappy"}


# A brotli body is one stream.
@pytest.mark.parametrize("encoding", [name for name in PACK if name != "br"])
def test_frames_in_a_row_are_one_body(encoding: str) -> None:
    assert decompressed(PACK[encoding](b"one\n") + PACK[encoding](LONG), encoding) == b"one\n" + LONG


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("spoil", [lambda body: body[:-1], lambda body: body[: len(body) // 2]], ids=["end", "half"])
def test_body_that_is_cut_off_is_400(encoding: str, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BodyError) as raised:
        decompressed(spoil(PACK[encoding](LONG)), encoding)
    assert raised.value.status == 400


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("body", [b"no such body", b"\xff" * 100, bytes(range(256))])
def test_body_that_is_something_else_is_400(encoding: str, body: bytes) -> None:
    with pytest.raises(BodyError) as raised:
        decompressed(body, encoding)
    assert raised.value.status == 400


@pytest.mark.parametrize("encoding", PACK)
def test_body_is_bounded_as_it_grows(encoding: str) -> None:
    body = PACK[encoding](bytes(1000))
    assert decompressed(body, encoding, max_bytes=1000) == bytes(1000)
    with pytest.raises(BodyError) as raised:
        decompressed(body, encoding, max_bytes=999)
    assert raised.value.status == 413


@pytest.mark.parametrize("encoding", [name for name in PACK if name != "snappy"])
def test_a_bomb_comes_in_parts(encoding: str) -> None:
    bomb: Decompressor = DECOMPRESSORS[encoding]()
    part: Any = bomb.decompress(PACK[encoding](bytes(32 << 20)), 1 << 20)
    assert len(part) <= 2 << 20


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">II", 10, MAX_SNAPPY_CHUNK_BYTES + 1),
        struct.pack(">II", 1 << 31, 0xFFFFFFFF) + bytes(100),
        # A chunk of more than its block has.
        struct.pack(">I", 3) + hadoop_snappy(b"four")[4:],
        # A chunk that says that it is 4 GiB.
        struct.pack(">II", 0xFFFFFFFF, 6) + b"\xff\xff\xff\xff\x0f\x00",
    ],
    ids=["large chunk", "4 GiB chunk", "more than the block", "4 GiB inside"],
)
def test_forged_snappy_is_400(body: bytes) -> None:
    with pytest.raises(BodyError) as raised:
        decompressed(body, "snappy")
    assert raised.value.status == 400


def test_xz_that_wants_much_memory_is_400() -> None:
    filters: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}]
    body = lzma.compress(b"1\n", filters=filters)
    with pytest.raises(BodyError) as raised:
        decompressed(body, "xz")
    assert raised.value.status == 400
    assert decompressed(lzma.compress(b"1\n", preset=9), "xz") == b"1\n"


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("gzip;q=0, zstd", "zstd"),
        ("gzip;q=0", ""),
        ("gzip; q=0.000", ""),
        ("gzip, br", "gzip"),
        ("gzip;q=0.5, br;q=0.8", "br"),
        ("gzip;q=x, br", "br"),
        ("snappy, identity, *", ""),
        ("", ""),
        ("xz", "xz"),
    ],
)
def test_answer_takes_the_encoding_that_is_liked_best(header: str, encoding: str) -> None:
    assert accepted(header) == encoding
    body, named = compressed(b"1\n", header)
    assert named == encoding
    assert decompressed(body, named) == b"1\n"

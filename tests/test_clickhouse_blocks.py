"""ClickHouse's compressed blocks: what goes in comes out, and nothing forged does."""

import contextlib
import struct
import sys
import time
import tracemalloc
from collections.abc import Iterator

import lz4.block  # type: ignore[import-untyped]
import pytest
from clickhouse_cityhash.cityhash import CityHash128
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse

from streams.embedded.clickhouse import access, blocks
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.wire import MAX_BODY_BYTES, BodyError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NONE, LZ4, ZSTD = 0x02, 0x82, 0x90
CODECS = ("LZ4", "LZ4HC", "ZSTD", "NONE")
# 25 lines "Hello!" as ClickHouse's own compressor writes them, from ch-go's tests.
HELLO = {
    "LZ4": "c5bcbc07c11ec471fd74af8d5b0f00c5",
    "ZSTD": "1677b8462a4837488040e87de78e0d09",
    "NONE": "fced07b8c559e98c1661170f6c5272df",
}
KNOWN = {
    *(Code.CANNOT_READ_ALL_DATA, Code.TOO_LARGE_SIZE_COMPRESSED, Code.CHECKSUM_DOESNT_MATCH, Code.CORRUPTED_DATA),
    *(Code.CANNOT_DECOMPRESS, Code.UNKNOWN_CODEC),
}


def packed(data: bytes, codec: str = "LZ4") -> bytes:
    """The blocks of some data."""
    asked = blocks.asked({"compress": "1", "network_compression_method": codec})
    assert asked is not None
    return b"".join(blocks.compressed([data], asked))


def forged(method: int, payload: bytes, *, data_bytes: int, block_bytes: int | None = None) -> bytes:
    """A block that claims these sizes, with a checksum that matches."""
    size = 9 + len(payload) if block_bytes is None else block_bytes
    hashed = struct.pack("<BII", method, size, data_bytes) + payload
    both = int(CityHash128(hashed))
    return struct.pack("<QQ", both >> 64, both & (2**64 - 1)) + hashed


@contextlib.contextmanager
def refused(*codes: Code, bound_bytes: int = 1 << 20) -> Iterator[None]:
    """The block is refused with one of these codes and within a bound of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(BodyError) as raised:
            yield
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raised.value.code in (codes or KNOWN)
    assert raised.value.message.startswith(f"Code: {raised.value.code:d}. DB::Exception: ")
    assert highest < bound_bytes


@given(data=st.binary(max_size=3000), codec=st.sampled_from(CODECS), times=st.sampled_from((1, 2, 1000)))
def test_blocks_hold_what_was_compressed(data: bytes, codec: str, times: int) -> None:
    assert blocks.decompressed(packed(data * times, codec)) == data * times


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_data_of_a_block_are_at_most_a_mebibyte(codec: str, beyond: int) -> None:
    data = bytes(range(256)) * 4096 * 2
    body = packed(data[: blocks.DATA_BYTES + beyond], codec)
    first = struct.unpack_from("<BII", body, 16)
    assert first[2] == min(blocks.DATA_BYTES, blocks.DATA_BYTES + beyond)
    assert (len(body) > 16 + first[1]) == (beyond > 0)
    assert blocks.decompressed(body) == data[: blocks.DATA_BYTES + beyond]


@pytest.mark.parametrize("codec", HELLO)
def test_checksum_is_that_of_clickhouse(codec: str) -> None:
    """The bytes that are hashed differ by the version of the compressor, so only NONE is compared whole."""
    hashed = {
        "LZ4": "82260000 00af0000 007f4865 6c6c6f21 0a070082 00930000 9a00b06c 6f210a48 656c6c6f 210a",
        "ZSTD": "90250000 00af0000 0028b52f fd04007d 00003848 656c6c6f 210a0154 07032b25 05eb3dca 06",
        "NONE": "02b80000 00af0000 00" + b"Hello!\n".hex() * 25,
    }[codec]
    body = bytes.fromhex(HELLO[codec] + hashed)
    if codec == "NONE":
        assert packed(b"Hello!\n" * 25, codec) == body
    assert blocks.decompressed(body) == b"Hello!\n" * 25


def test_blocks_of_several_codecs_are_one_body() -> None:
    assert blocks.decompressed(b"".join(packed(codec.encode(), codec) for codec in CODECS)) == b"LZ4LZ4HCZSTDNONE"


@given(codec=st.sampled_from(CODECS), choice=st.data())
def test_flipped_bit_is_refused(codec: str, choice: st.DataObject) -> None:
    body = bytearray(packed(b"first" * 9, codec) + packed(b"second" * 9, codec))
    bit = choice.draw(st.integers(0, 8 * len(body) - 1))
    body[bit // 8] ^= 1 << bit % 8
    with refused():
        blocks.decompressed(bytes(body))


@given(codec=st.sampled_from(CODECS), choice=st.data())
def test_cut_body_is_refused_but_between_blocks(codec: str, choice: st.DataObject) -> None:
    first = packed(b"first" * 9, codec)
    body = first + packed(b"second" * 9, codec)
    length = choice.draw(st.integers(0, len(body) - 1))
    if length in (0, len(first)):
        assert blocks.decompressed(body[:length]) == b"first" * 9 * (length > 0)
        return
    with refused(Code.CANNOT_READ_ALL_DATA):
        blocks.decompressed(body[:length])


@given(
    method=st.sampled_from((NONE, LZ4, ZSTD)) | st.integers(0, 255),
    payload=st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: zstd.compress(data, 1)),
    data_bytes=st.integers(0, 300) | st.integers(0, 2**32 - 1),
    block_bytes=st.none() | st.integers(0, 300) | st.integers(0, 2**32 - 1),
)
def test_forged_block_is_refused_or_has_what_it_claims(
    method: int, payload: bytes, data_bytes: int, block_bytes: int | None
) -> None:
    body = forged(method, payload, data_bytes=data_bytes, block_bytes=block_bytes)
    code, data = None, b""
    try:
        data = blocks.decompressed(body, max_bytes=100_000)
    except BodyError as failure:
        code = failure.code
    assert code in KNOWN or (len(data) == data_bytes and block_bytes in (None, len(body) - 16))


@pytest.mark.parametrize("method", [NONE, LZ4, ZSTD])
@pytest.mark.parametrize("data_bytes", [MAX_BODY_BYTES + 1, 2**32 - 1])
def test_block_that_claims_4_gb_is_refused_before_memory_is_taken(method: int, data_bytes: int) -> None:
    with refused(Code.TOO_LARGE_SIZE_COMPRESSED):
        blocks.decompressed(forged(method, b"x", data_bytes=data_bytes))


def test_block_claims_more_than_the_body_has() -> None:
    with refused(Code.CANNOT_READ_ALL_DATA):
        blocks.decompressed(forged(LZ4, b"x", data_bytes=1, block_bytes=2**32 - 1))


@pytest.mark.parametrize("block_bytes", [0, 8])
def test_block_claims_less_than_its_header(block_bytes: int) -> None:
    with refused(Code.CORRUPTED_DATA):
        blocks.decompressed(forged(NONE, b"", data_bytes=0, block_bytes=block_bytes))
    assert blocks.decompressed(forged(NONE, b"", data_bytes=0, block_bytes=9)) == b""


@pytest.mark.parametrize("method", [0x00, 0x81, 0x91, 0xFF])
def test_block_of_another_codec_is_refused(method: int) -> None:
    with refused(Code.UNKNOWN_CODEC):
        blocks.decompressed(forged(method, b"x", data_bytes=1))


def test_body_that_is_not_compressed_is_named() -> None:
    with refused(Code.UNKNOWN_CODEC):
        blocks.decompressed(b"INSERT INTO clicks VALUES (1, 'one')")


@pytest.mark.parametrize(("method", "payload"), [(NONE, b""), (LZ4, b"\0"), (ZSTD, zstd.compress(b""))])
def test_block_may_be_empty(method: int, payload: bytes) -> None:
    assert blocks.decompressed(forged(method, payload, data_bytes=0)) == b""


def test_blocks_together_are_bounded() -> None:
    body = packed(bytes(900), "LZ4")
    assert len(blocks.decompressed(body * 10, max_bytes=9000)) == 9000
    with refused(Code.TOO_LARGE_SIZE_COMPRESSED):
        blocks.decompressed(body * 10, max_bytes=8999)


def test_frame_with_more_than_its_block_claims_is_not_unpacked() -> None:
    body = forged(ZSTD, zstd.compress(bytes(256 << 20), 1), data_bytes=1000)
    with refused(Code.CANNOT_DECOMPRESS):
        blocks.decompressed(body)


def test_lz4_with_less_or_more_than_its_block_claims_is_refused() -> None:
    payload = bytes(lz4.block.compress(bytes(1000), store_size=False))
    assert blocks.decompressed(forged(LZ4, payload, data_bytes=1000)) == bytes(1000)
    for data_bytes in (999, 1001):
        with refused(Code.CANNOT_DECOMPRESS):
            blocks.decompressed(forged(LZ4, payload, data_bytes=data_bytes))


@pytest.mark.parametrize("window_log", [26, 27])
def test_frame_may_ask_for_a_window_as_large_as_a_body(window_log: int) -> None:
    # A frame without the size of its content: magic number, descriptor, window, one last raw block "x".
    frame = bytes.fromhex("28b52ffd 00") + bytes([(window_log - 10) << 3]) + bytes.fromhex("090000") + b"x"
    if window_log == 26:
        assert blocks.decompressed(forged(ZSTD, frame, data_bytes=1)) == b"x"
        return
    with refused(Code.CANNOT_DECOMPRESS):
        blocks.decompressed(forged(ZSTD, frame, data_bytes=1))


def test_many_small_blocks_take_time_by_their_number_alone() -> None:
    """Each block was cut off from a copy of the rest at first: a body of 64 MB would have taken hours."""
    data = bytes(200)
    body = packed(data, "NONE")
    started = time.process_time()
    assert blocks.decompressed(body * blocks.MAX_BLOCKS) == data * blocks.MAX_BLOCKS
    assert time.process_time() - started < 6
    with pytest.raises(BodyError, match="put more data into each") as raised:
        blocks.decompressed(body * (blocks.MAX_BLOCKS + 1))
    assert (raised.value.status, raised.value.code) == (413, Code.TOO_LARGE_SIZE_COMPRESSED)


@pytest.mark.parametrize(("asked", "served"), [({}, False), ({"compress": "0"}, False), ({"compress": "1"}, True)])
def test_blocks_are_for_who_asks(asked: dict[str, str], served: bool) -> None:
    assert (blocks.asked(asked) is not None) == served


def test_unknown_codec_is_named() -> None:
    with refused(Code.UNKNOWN_CODEC):
        blocks.asked({"compress": "1", "network_compression_method": "brotli"})


@pytest.mark.parametrize(
    ("status", "is_compressed"), [(400, True), (500, True), (501, True), (401, False), (403, False)]
)
def test_error_is_compressed_unless_its_status_is_401_or_403(status: int, is_compressed: bool) -> None:
    """As a server does it, and as the JDBC driver reads it."""
    answer = access.error(status, 48, "Code: 48. DB::Exception: no")
    blocks.compress_error(answer)
    assert answer.headers["Content-Length"] == str(len(answer.body))
    body = bytes(answer.body)
    assert (blocks.decompressed(body) if is_compressed else body) == b"Code: 48. DB::Exception: no\n"


def test_error_of_a_proxy_stays_as_it_is() -> None:
    answer = PlainTextResponse("Bad gateway", status_code=502)
    blocks.compress_error(answer)
    assert answer.body == b"Bad gateway"

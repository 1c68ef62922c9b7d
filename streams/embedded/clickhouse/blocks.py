"""ClickHouse's compressed blocks, which `compress=1` asks for and `decompress=1` announces.

A body is any number of blocks. Each has, with little-endian numbers: the CityHash128 (of version 1.0.2) of all that
follows, 16 bytes; the method, 1 byte; the size of the block without that hash and the size of its data, 4 bytes each;
the data. Source: the readers and writers of src/Compression in ClickHouse's repository.
"""

import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import lz4.block  # type: ignore[import-untyped]  # publishes no types
from clickhouse_cityhash.cityhash import CityHash128
from starlette.responses import Response

from streams.embedded.clickhouse import wire
from streams.embedded.clickhouse.codes import Code

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# As ClickHouse writes them.
DATA_BYTES: Final = 1 << 20
# Each takes about 10 µs, however little is in it. At their usual size, 64 KiB to 1 MiB, a body has at most a thousand.
MAX_BLOCKS: Final = 1 << 16
_HASH_BYTES: Final = 16
_HEADER: Final = struct.Struct("<BII")
_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90
# The data of a block fits into a body, and its window needs not be larger: a forged frame could ask for 2 GiB.
_ZSTD_OPTIONS: Final[Mapping[int, int]] = {
    zstd.DecompressionParameter.window_log_max: wire.MAX_BODY_BYTES.bit_length() - 1
}


@dataclass(frozen=True, slots=True)
class Codec:
    """How the data of a block is compressed, and the byte that says so."""

    method: int
    compress: Callable[[bytes], bytes]


_CODECS: Final = {
    "LZ4": Codec(_LZ4, lambda data: bytes(lz4.block.compress(data, store_size=False))),
    "LZ4HC": Codec(_LZ4, lambda data: bytes(lz4.block.compress(data, store_size=False, mode="high_compression"))),
    "ZSTD": Codec(_ZSTD, lambda data: zstd.compress(data, 1)),
    "NONE": Codec(_NONE, bytes),
}


def asked(query: Mapping[str, str]) -> Codec | None:
    """The codec that a request asks for by `compress` and ClickHouse's setting `network_compression_method`, None for
    no blocks. Raises BodyError 400 for a codec that is not known."""
    if query.get("compress") != "1":
        return None
    name = query.get("network_compression_method") or "LZ4"
    if name.upper() not in _CODECS:
        text = f"Unknown network_compression_method {name[:40]!r}; use one of {', '.join(_CODECS)}."
        raise wire.BodyError(400, text, code=Code.UNKNOWN_CODEC)
    return _CODECS[name.upper()]


def compressed(parts: Iterable[bytes], codec: Codec) -> Iterator[bytes]:
    """The blocks of all parts, one by one; none for an empty part."""
    for part in parts:
        for at in range(0, len(part), DATA_BYTES):
            data = part[at : at + DATA_BYTES]
            packed = codec.compress(data)
            hashed = _HEADER.pack(codec.method, _HEADER.size + len(packed), len(data)) + packed
            yield _hash(hashed) + hashed


def compress_error(response: Response) -> None:
    """Compresses an error, because drivers that asked for blocks expect it so, too. Those of 401 and 403 stay plain: a
    server does so where it refuses a login, and the JDBC driver reads none of these statuses as blocks."""
    if "X-ClickHouse-Exception-Code" in response.headers and response.status_code not in (401, 403):
        response.body = b"".join(compressed((bytes(response.body),), _CODECS["LZ4"]))
        response.headers["Content-Length"] = str(len(response.body))


def decompressed(body: bytes, *, max_bytes: int = wire.MAX_BODY_BYTES) -> bytes:
    """The data of all blocks of `body`. What a block claims is checked before memory is taken.

    Raises BodyError with ClickHouse's number for a block that is cut, forged or of another method; with 413 for more
    than `max_bytes` or MAX_BLOCKS.
    """
    parts: list[bytes] = []
    left, size = memoryview(body), 0
    while left:
        if len(left) < _HASH_BYTES + _HEADER.size:
            text = f"The body ends in the header of a compressed block, after {len(left)} bytes of it."
            raise _refused(Code.CANNOT_READ_ALL_DATA, text)
        method, block_bytes, data_bytes = _HEADER.unpack_from(left, _HASH_BYTES)
        _check(left, method, block_bytes)
        size += data_bytes
        if size > max_bytes:
            text = f"Compressed blocks claim {size} bytes of data, more than {max_bytes}; insert in smaller batches."
            raise wire.BodyError(413, text, code=Code.TOO_LARGE_SIZE_COMPRESSED)
        if len(parts) == MAX_BLOCKS:
            text = f"The body has more than {MAX_BLOCKS} compressed blocks; put more data into each."
            raise wire.BodyError(413, text, code=Code.TOO_LARGE_SIZE_COMPRESSED)
        hashed = left[_HASH_BYTES : _HASH_BYTES + block_bytes]
        if _hash(hashed) != left[:_HASH_BYTES]:
            text = (
                f"The checksum of a compressed block of {block_bytes} bytes does not match: it was changed on its way."
            )
            raise _refused(Code.CHECKSUM_DOESNT_MATCH, text)
        parts.append(_data(method, hashed[_HEADER.size :], data_bytes))
        left = left[_HASH_BYTES + block_bytes :]
    return b"".join(parts)


def _check(left: memoryview, method: int, block_bytes: int) -> None:
    if method not in (_NONE, _LZ4, _ZSTD):
        blocks = "decompress=1 takes blocks of LZ4, ZSTD or NONE, each with a checksum"
        text = f"Unknown codec family code: {method}; {blocks}."
        raise _refused(Code.UNKNOWN_CODEC, text)
    if block_bytes < _HEADER.size:
        text = f"A compressed block claims {block_bytes} bytes, less than its own header of {_HEADER.size}."
        raise _refused(Code.CORRUPTED_DATA, text)
    if block_bytes > len(left) - _HASH_BYTES:
        text = (
            f"A compressed block claims {block_bytes} bytes, and the body ends after {len(left) - _HASH_BYTES} of it."
        )
        raise _refused(Code.CANNOT_READ_ALL_DATA, text)


def _data(method: int, packed: memoryview, data_bytes: int) -> bytes:
    try:
        if method == _NONE:
            data = bytes(packed)
        elif method == _LZ4:
            data = bytes(lz4.block.decompress(packed, uncompressed_size=data_bytes))
        else:
            # One byte more than claimed shows a frame that has more, without unpacking all of it.
            frame = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
            data = frame.decompress(packed, data_bytes + 1)
    except (lz4.block.LZ4BlockError, zstd.ZstdError) as failure:
        raise _refused(Code.CANNOT_DECOMPRESS, f"Cannot decompress a block: {failure}") from None
    if len(data) != data_bytes:
        text = f"Cannot decompress a block: it has {len(data)} bytes of data or more, not {data_bytes} as it claims."
        raise _refused(Code.CANNOT_DECOMPRESS, text)
    return data


def _hash(hashed: bytes | memoryview) -> bytes:
    both = int(CityHash128(hashed))
    # The half that the package puts above is the first in a block.
    return struct.pack("<QQ", both >> 64, both & 0xFFFFFFFFFFFFFFFF)


def _refused(code: Code, text: str) -> wire.BodyError:
    return wire.BodyError(wire.http_status(code), text, code=code)

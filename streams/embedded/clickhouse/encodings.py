"""The content encodings of requests and answers. All decompress in parts, so that a bound on the bytes holds."""

import bz2
import gzip
import lzma
import struct
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import brotli
import cramjam
import lz4.frame  # type: ignore[import-untyped]  # publishes no types

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# An xz stream announces the memory that its reader needs, up to 4 GiB. One of `xz -9` needs 65 MiB.
_MAX_XZ_BYTES: Final = 80 << 20
# ClickHouse's default is 1 MiB, Hadoop's 256 KiB.
MAX_SNAPPY_CHUNK_BYTES: Final = 16 << 20
# Speed before size, as http_zlib_compression_level = 3 of a server.
_LEVEL: Final = 3
BROKEN: Final = (
    *(RuntimeError, ValueError, OSError, zlib.error, zstd.ZstdError, lzma.LZMAError),
    *(brotli.error, cramjam.DecompressionError),
)


class Decompressor(Protocol):
    """One frame, in parts of about `max_length` bytes, like those of the standard library."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Brotli:
    """Google's decompressor. A brotli body is one stream."""

    unused_data = None

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._stream.is_finished())

    @property
    def needs_input(self) -> bool:
        return bool(self._stream.can_accept_more_data())

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return bytes(self._stream.process(data, output_buffer_limit=max_length))


class _HadoopSnappy:
    """Blocks of snappy chunks: the size of a block, then of each of its chunks the compressed size and the chunk.

    ClickHouse's `snappy` is this format, see its HadoopSnappyReadBuffer; both numbers have 4 bytes, big-endian.
    """

    unused_data = None

    def __init__(self) -> None:
        self._left = bytearray()
        self._has_begun = False
        # Of the block, decompressed.
        self._awaited = 0

    @property
    def eof(self) -> bool:
        return self._has_begun and not self._left and not self._awaited

    @property
    def needs_input(self) -> bool:
        return not self._has_chunk()

    def decompress(self, data: bytes, _: int, /) -> bytes:
        """The next chunk, whole. Raises ValueError when the sizes contradict each other or are too large."""
        self._left += data
        self._has_begun = True
        if not self._has_chunk():
            return b""
        at = 0 if self._awaited else 4
        size = self._number(at)
        chunk = bytes(self._left[at + 4 : at + 4 + size])
        awaited = self._awaited or self._number(0)
        del self._left[: at + 4 + size]
        length = cramjam.snappy.decompress_raw_len(chunk) if chunk else 0
        if length > min(awaited, MAX_SNAPPY_CHUNK_BYTES):
            raise ValueError(f"a chunk of {length} bytes in a block that has {awaited} left")
        self._awaited = awaited - length
        return bytes(cramjam.snappy.decompress_raw(chunk)) if chunk else b""

    def _has_chunk(self) -> bool:
        at = 0 if self._awaited else 4
        if len(self._left) < at + 4:
            return False
        size = self._number(at)
        if size > MAX_SNAPPY_CHUNK_BYTES:
            raise ValueError(f"a chunk of {size} bytes; at most {MAX_SNAPPY_CHUNK_BYTES} are taken")
        return len(self._left) >= at + 4 + size

    def _number(self, at: int) -> int:
        number: int = struct.unpack_from(">I", self._left, at)[0]
        return number


DECOMPRESSORS: Final[Mapping[str, Callable[[], Decompressor]]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "deflate": zlib.decompressobj,
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "br": _Brotli,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES),
    "bz2": bz2.BZ2Decompressor,
    "snappy": _HadoopSnappy,
}
# A server writes no snappy either.
COMPRESSORS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "lz4": lz4.frame.compress,
    "zstd": lambda data: zstd.compress(data, 1),
    "gzip": lambda data: gzip.compress(data, 1),
    "deflate": lambda data: zlib.compress(data, 1),
    "br": lambda data: bytes(brotli.compress(data, quality=_LEVEL)),
    "xz": lambda data: lzma.compress(data, preset=_LEVEL),
    "bz2": lambda data: bz2.compress(data, _LEVEL),
}


def accepted(header: str) -> str:
    """The encoding that an ``Accept-Encoding`` header likes best, of those that are written; '' for none."""
    offers: list[tuple[float, str]] = []
    for offer in header.split(","):
        name, *options = (word.strip() for word in offer.split(";"))
        if name in COMPRESSORS:
            offers.append((_weight(options), name))
    # The first one of equals.
    weight, best = max(offers, key=lambda offer: offer[0], default=(0.0, ""))
    return best if weight > 0 else ""


def _weight(options: list[str]) -> float:
    for option in options:
        if option.startswith("q="):
            try:
                return float(option[2:])
            except ValueError:
                return 0.0
    return 1.0

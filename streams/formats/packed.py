"""Files compressed by gzip, bzip2 or zstd: unpacked a block at a time, so that memory is bounded whatever they hold."""

from __future__ import annotations

import bz2
import gzip
import io
import sys
import tempfile
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from schemas.errors import SettingsError
from streams.formats.damage import Damaged

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Below this, iterating over lines spends its time asking for more.
BUFFER_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 13
# What a file of a few bytes may become on the disk before it is called a bomb: text rarely packs better than 50 to 1.
_MOST_TIMES: Final = 200
_ALWAYS_BYTES: Final = 1 << 30

OPENERS: Final[dict[str, Callable[[BinaryIO], Any]]] = {
    "gzip": lambda packed: gzip.GzipFile(fileobj=packed),
    "bzip2": lambda packed: bz2.BZ2File(packed),
    "zstd": lambda packed: zstd.ZstdFile(packed),
}
SUFFIXES: Final = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd"}
_MAGIC: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    *((b"BZh%d1AY" % level, "bzip2") for level in range(1, 10)),
)
_WRONG: Final = (EOFError, OSError, zlib.error, zstd.ZstdError)


def packing(begin: bytes) -> str:
    """How a file is compressed that begins so; empty for one that is not."""
    return next((name for magic, name in _MAGIC if begin.startswith(magic)), "")


def unpacked(packed: BinaryIO, name: str) -> BinaryIO:
    """What the file holds. Reading raises Damaged where it cannot be unpacked, after all that can be."""
    return io.BufferedReader(_Unpacking(packed, name), BUFFER_BYTES)


def head(begin: bytes, name: str, most: int, *, whole: bool) -> tuple[bytes, bool]:
    """What can be unpacked of the beginning of a file, and whether it is everything. Damage is said when it is read."""
    unpacking = OPENERS[name](io.BytesIO(begin))
    found = b""
    try:
        while len(found) < most and (piece := unpacking.read1(_PIECE_BYTES)):
            found += piece
    except _WRONG:
        return found, False
    return found, whole and len(found) < most


def spooled(stream: BinaryIO, packed_bytes: int) -> BinaryIO:
    """A copy of the stream on the disk, for formats that are read from their end. Raises SettingsError for a bomb."""
    # Deleted by the system when the process ends.
    copy = tempfile.TemporaryFile(buffering=BUFFER_BYTES)  # noqa: SIM115  # open as long as it is read
    most, written = max(_ALWAYS_BYTES, _MOST_TIMES * packed_bytes), 0
    while piece := stream.read(BUFFER_BYTES):
        written += len(piece)
        if written > most:
            copy.close()
            raise SettingsError(
                f"unpacked it has more than {most:,} bytes, {_MOST_TIMES} times what it is packed; unpack it yourself "
                "if that is right"
            )
        copy.write(piece)
    copy.seek(0)
    return copy  # type: ignore[return-value]  # it reads and seeks; typeshed has no protocol for both


class _Unpacking(io.RawIOBase):
    """What a compressed file holds, as far as it can be unpacked.

    A GzipFile that is asked for a megabyte drops what it has unpacked of it when it comes to the damage.
    """

    def __init__(self, packed: BinaryIO, name: str) -> None:
        self._file = OPENERS[name](packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            data = self._file.read1(len(view))
        except _WRONG as error:
            raise Damaged(str(error)) from error
        view[: len(data)] = data
        return len(data)

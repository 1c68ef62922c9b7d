"""Text in UTF-16 and UTF-32 as UTF-8."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING, BinaryIO, Final

from streams.formats.damage import Damaged
from streams.formats.packed import BUFFER_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PIECE_BYTES: Final = 1 << 18
_SEEN_BYTES: Final = 64
_FEWEST_BYTES: Final = 8


def encoding(head: bytes) -> str:
    """The encoding of a text that begins so, by Python's name; empty for UTF-8 and for what is no text."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    # Without a mark: ASCII has a zero in every other byte, and in three of four.
    begin = head[:_SEEN_BYTES]
    begin = begin[: len(begin) // 4 * 4]
    if len(begin) < _FEWEST_BYTES:
        return ""
    zeros = [not any(begin[place::4]) for place in range(4)]
    found = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return found.get((zeros[0], zeros[1], zeros[2], zeros[3]), "")


def recoded(stream: BinaryIO, name: str) -> BinaryIO:
    """The text as UTF-8 without a byte order mark. Reading raises Damaged at a character that the encoding has not."""
    return io.BufferedReader(_Recoding(stream, name), BUFFER_BYTES)


def recoded_head(head: bytes, name: str) -> bytes:
    """The beginning of a text as UTF-8, as far as it can be decoded."""
    return codecs.getincrementaldecoder(name)("replace").decode(head).encode()


class _Recoding(io.RawIOBase):
    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._decoder = codecs.getincrementaldecoder(name)()
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        while not self._ready and not self._ended:
            piece = self._stream.read(_PIECE_BYTES)
            self._ended = not piece
            try:
                self._ready = self._decoder.decode(piece, final=self._ended).encode()
            except UnicodeError as error:
                raise Damaged(f"it is not {self._name}: {error}") from error
        data, self._ready = self._ready[: len(view)], self._ready[len(view) :]
        view[: len(data)] = data
        return len(data)

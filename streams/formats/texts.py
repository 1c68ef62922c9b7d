"""JSON texts in a stream of bytes: one a line, or objects one behind the other, as in an array."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, Final, TypeVar

import numpy as np

from streams.formats.damage import Damaged
from streams.formats.kinds import LINES

Record = TypeVar("Record")

_PIECE_BYTES: Final = 1 << 18
# A text that is longer is cut, and the join refuses it for its length: 16 times what a record may have.
LONGEST_TEXT: Final = 1 << 22
_ESCAPED: Final = re.compile(rb"\\.", re.DOTALL)
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BETWEEN: Final = b" \t\r\n,[]\x1e"
_QUOTE, _OPEN, _CLOSE = 0x22, 0x7B, 0x7D


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines, without what ends them. Of a line that is too long, as of a bomb, the rest is skipped."""
    mark = BYTE_ORDER_MARK
    while line := stream.readline(LONGEST_TEXT + 1):
        line, mark = line.removeprefix(mark), b""
        if len(line) > LONGEST_TEXT and not line.endswith(b"\n"):
            while (rest := stream.readline(LONGEST_TEXT)) and not rest.endswith(b"\n"):
                pass
        yield line.rstrip(b"\r\n")


def objects(stream: BinaryIO) -> Iterator[bytes]:
    """JSON objects one behind the other, with or without commas, white space and the brackets of an array around them.

    What is between them and is none is a text of its own, as is an object that the file ends within. So the join
    refuses it and nothing is lost. Raises Damaged for an object longer than LONGEST_TEXT.
    """
    left = stream.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
    while piece := stream.read(_PIECE_BYTES):
        found, left = _split(left + piece)
        yield from found
        if len(left) > LONGEST_TEXT:
            raise Damaged(f"an object has more than {LONGEST_TEXT:,} bytes, or its end is missing")
    if left.strip(_BETWEEN):
        yield left.strip(_BETWEEN)


def texts_of(stream: BinaryIO, kind: str) -> Iterator[bytes]:
    """The texts of a file of JSON lines or of JSON objects, without a byte order mark."""
    return lines(stream) if kind == LINES else objects(stream)


def batches(records: Iterator[Record], most: int) -> Iterator[list[Record]]:
    """The records, so many at a time. An error comes after those before it."""
    while True:
        batch: list[Record] = []
        try:
            batch.extend(islice(records, most))
        except Exception:
            if batch:  # what `extend` took before the error
                yield batch
            raise
        if not batch:
            return
        yield batch


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole texts, and the beginning of one that is not complete."""
    # A backslash at the end may escape what follows: it is looked at again with that.
    plain = _ESCAPED.sub(b"__", data) if b"\\" in data else data
    codes = np.frombuffer(plain, np.uint8)
    # Quotes are counted, so that braces within strings, where the count is odd, are none.
    outside = np.cumsum(codes == _QUOTE) % 2 == 0
    steps = ((codes == _OPEN) & outside).astype(np.int8) - ((codes == _CLOSE) & outside)
    places = np.flatnonzero(steps)
    depths = np.cumsum(steps[places], dtype=np.int64)
    found: list[bytes] = []
    start = 0
    for end in (places[(depths == 0) & (steps[places] < 0)] + 1).tolist():
        text = data[start:end].strip(_BETWEEN)
        found.append(text)
        start = end
    return found, data[start:]

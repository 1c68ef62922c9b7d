"""Headers of records: as Kafka packs them behind a value, and as confluent-kafka gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, overload

from confluent_kafka import Message

from schemas.records import MOST_HEADER_BYTES, MOST_HEADERS, Headers
from schemas.zigzag import zigzag
from streams.kernels.slices import Slices

# With two lengths of at most five bytes for each. What is longer is beyond the bounds.
_MOST_PACKED_BYTES: Final = MOST_HEADER_BYTES + 10 * (MOST_HEADERS + 1)


class PackedHeaders(Sequence[Headers]):
    """The headers of records, each taken apart when it is asked for. `packed`: a number of headers, then name and
    value of each behind their lengths."""

    __slots__ = ("_packed",)

    def __init__(self, packed: Slices) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed)

    @overload
    def __getitem__(self, place: int) -> Headers: ...
    @overload
    def __getitem__(self, place: slice) -> PackedHeaders: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return PackedHeaders(self._packed[place])
        return unpacked(self._packed[place] or b"")

    def __iter__(self) -> Iterator[Headers]:
        return (unpacked(each or b"") for each in self._packed)


def headers_of(message: Message) -> Headers:
    """The headers of a message, within the bounds."""
    # A list of pairs; a dict is what a producer may give.
    return bounded(message.headers() or ())  # type: ignore[arg-type]  # see above


def bounded(headers: Sequence[tuple[str, bytes | None]]) -> Headers:
    """These headers, or None where there are too many, or where they are too long together."""
    if len(headers) > MOST_HEADERS:
        return None
    size = sum(len(name.encode()) + len(value or b"") for name, value in headers)
    return headers if size <= MOST_HEADER_BYTES else None


def unpacked(packed: bytes) -> Headers:
    """Headers as a record of Kafka's format 2 has them; None for those that are no headers, or beyond the bounds."""
    if len(packed) > _MOST_PACKED_BYTES:
        return None
    try:
        count, at = zigzag(packed, 0)
        if not 0 <= count <= MOST_HEADERS:
            return None
        found: list[tuple[str, bytes | None]] = []
        for _ in range(count):
            name, at = _text(packed, at)
            value, at = _text(packed, at)
            if name is None:
                return None
            found.append((name.decode(), value))
    except ValueError:  # a name that is no UTF-8 too
        return None
    return bounded(found) if at == len(packed) else None


def _text(packed: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = zigzag(packed, at)
    if not -1 <= length <= len(packed) - at:
        raise ValueError("a length beyond the headers")
    return (None, at) if length < 0 else (packed[at : at + length], at + length)

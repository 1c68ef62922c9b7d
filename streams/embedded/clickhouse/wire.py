"""ClickHouse's HTTP conventions as functions: encodings of bodies, error numbers and statuses, credentials."""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Iterator, Mapping

from schemas.errors import ClickfoldError
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.encodings import BROKEN, COMPRESSORS, DECOMPRESSORS, Decompressor, accepted

# Compressed, and again decompressed: a small body can hold a thousand times its bytes. The sink sends up to 20 MB.
MAX_BODY_BYTES = 64 << 20
# A body is decompressed in parts, so that one which would exceed the bound takes no more memory than the bound.
_PART_BYTES = 1 << 20
_SLICE_BYTES = 64 << 10
# Without the rows of an INSERT. A longer statement would take many times its bytes to parse.
MAX_SQL_BYTES = 1 << 20

# As in ClickHouse's exceptionCodeToHTTPStatus; any other number is 500.
_STATUS_OF_CODE = {
    **dict.fromkeys((6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 170, 223), 400),
    **dict.fromkeys((321, 376, 427, 441, 675, 676), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511), 404),
    **dict.fromkeys((192, 193, 497, 512, 516), 403),
    **dict.fromkeys((76, 202, 209, 439), 503),
    48: 501,
    159: 408,
    194: 401,
    229: 413,
    381: 411,
}
# Where a BodyError has no code of its own.
_CODE_OF_STATUS = {
    400: Code.CANNOT_DECOMPRESS,
    408: Code.SOCKET_TIMEOUT,
    413: Code.TOO_MANY_BYTES,
    501: Code.NOT_IMPLEMENTED,
    503: Code.MEMORY_LIMIT_EXCEEDED,
}


class BodyError(ClickfoldError):
    """A request that cannot be used: the HTTP ``status``, ClickHouse's ``code``, and in the text what to do."""

    def __init__(self, status: int, text: str, *, code: Code | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.code = _CODE_OF_STATUS[status] if code is None else code

    @property
    def message(self) -> str:
        """The text as ClickHouse writes it."""
        return self.code.message(str(self))


def http_status(code: int) -> int:
    """HTTP status with which a ClickHouse server answers error number ``code``."""
    return _STATUS_OF_CODE.get(code, 500)


def decompressed(body: bytes, encoding: str, *, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """``body`` without its ``Content-Encoding``. Several frames in a row are one body, as clickhouse-connect sends
    a frame for each block. Raises BodyError: unknown encoding, broken or cut data, more than ``max_bytes``."""
    if encoding in ("", "identity"):
        return body
    if encoding not in DECOMPRESSORS:
        text = f"Unknown Content-Encoding {encoding!r}; use one of {', '.join(DECOMPRESSORS)}."
        raise BodyError(400, text, code=Code.NOT_IMPLEMENTED)
    parts: list[bytes] = []
    size = 0
    try:
        for part in _parts(body, DECOMPRESSORS[encoding]):
            size += len(part)
            if size > max_bytes:
                text = f"The body decompresses to more than {max_bytes} bytes; insert in smaller batches."
                raise BodyError(413, text)
            parts.append(part)
    except BROKEN as failure:
        raise BodyError(400, f"The body is not {encoding} as its Content-Encoding says: {failure}") from None
    except EOFError:
        raise BodyError(400, f"The {encoding} body ends in the middle of a frame.") from None
    return b"".join(parts)


def _parts(body: bytes, new_frame: Callable[[], Decompressor]) -> Iterator[bytes]:
    """The decompressed body, in parts of at most `_PART_BYTES`. Raises EOFError when it ends within a frame."""
    frame: Decompressor | None = None
    data, left = b"", memoryview(body)
    while data or left:
        if not data:
            # In slices, because zlib copies all input that it has not used yet at every call.
            data, left = bytes(left[:_SLICE_BYTES]), left[_SLICE_BYTES:]
        frame = frame or new_frame()
        has_more = True
        while has_more and not frame.eof:
            part = frame.decompress(data, _PART_BYTES)
            yield part
            # zlib gives back what it has not used; the others keep it.
            data = getattr(frame, "unconsumed_tail", b"")
            has_more = len(part) >= _PART_BYTES or not getattr(frame, "needs_input", True)
        if frame.eof:
            data, frame = frame.unused_data or b"", None
    if frame is not None:
        raise EOFError


def beginning(body: bytes, encoding: str) -> bytes:
    """The first 4 KiB of a body, decompressed; more of it may follow. Empty where it is broken."""
    if encoding not in DECOMPRESSORS:
        return body[:4096]
    try:
        return DECOMPRESSORS[encoding]().decompress(body, 4096)
    except BROKEN:
        return b""


def compressed(body: bytes, accept_encoding: str) -> tuple[bytes, str]:
    """``body`` in the encoding that an ``Accept-Encoding`` header likes best, and its name ('' for no encoding)."""
    encoding = accepted(accept_encoding)
    return (COMPRESSORS[encoding](body), encoding) if encoding else (body, "")


def parameter(value: str) -> str:
    """A value of a parameter with escapes in place of the bytes that are no UTF-8: chDB takes only text."""
    return re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02X}", value)


def credentials(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password of a request, from one of ClickHouse's three places; None when it has none."""
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user, password
    if "user" in query or "password" in query:
        return query.get("user", "default"), query.get("password", "")
    return None


def same(given: tuple[str, str], expected: tuple[str, str]) -> bool:
    """Whether credentials are equal; the time does not depend on where they differ."""
    return hmac.compare_digest("\0".join(given).encode(), "\0".join(expected).encode())

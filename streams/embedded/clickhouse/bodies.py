"""Reads the bodies of requests within three bounds: bytes of one body, bytes of all together, silence of a client."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from streams.embedded.clickhouse import wire
from streams.embedded.clickhouse.faults import Faults

# Four of the largest: bodies of many clients must not take the memory that the engine needs.
MAX_HELD_BYTES = 4 * wire.MAX_BODY_BYTES
# As ClickHouse's http_receive_timeout.
MAX_SILENCE_S = 30.0


class Bodies:
    """Counts the bytes of the bodies of all running requests. Used from one event loop only."""

    def __init__(self, faults: Faults | None, *, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._faults = faults
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0

    @contextmanager
    def room(self) -> Iterator["Room"]:
        """The share of one request, released when it ends."""
        room = Room(self)
        try:
            yield room
        finally:
            self._held_bytes -= room.held_bytes

    def take(self, count: int) -> None:
        """Raises BodyError 503 when `count` more bytes would exceed the bound."""
        if self._held_bytes + count > self._max_held_bytes:
            text = f"All bodies together exceed {self._max_held_bytes} bytes; send fewer at a time, or later."
            raise wire.BodyError(503, text)
        self._held_bytes += count

    def is_cut_off(self, request: Request, body: bytearray) -> bool | None:
        """Whether a fault of a test cuts this body off; None when too little of it came to tell."""
        if self._faults is None:
            return False
        beginning = wire.beginning(bytes(body), request.headers.get("content-encoding", ""))
        if not beginning:
            return None
        text = request.query_params.get("query", "") + "\n" + beginning.decode("utf-8", errors="replace")
        return self._faults.strike_body(text)


class Room:
    """The bytes that one request holds."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.held_bytes = 0

    def take(self, count: int) -> None:
        """Raises BodyError 503 when `count` more bytes would exceed the bound of all requests."""
        self._bodies.take(count)
        self.held_bytes += count

    async def read(self, request: Request, *, max_silence_s: float = MAX_SILENCE_S) -> bytes | None:
        """The body as sent; None when a fault of a test cuts it off. Raises BodyError 413, 503, 408."""
        # Before the body is read, so that the client need not send it. A chunked body announces no length.
        announced = int(request.headers.get("content-length", "0"))
        _refuse_over_bound(announced)
        body, checked, loop = bytearray(), False, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max_silence_s) as silence:
                async for chunk in request.stream():
                    silence.reschedule(loop.time() + max_silence_s)
                    self.take(len(chunk))
                    body += chunk
                    _refuse_over_bound(len(body))
                    if not checked and len(body) >= announced // 2:
                        cut_off = self._bodies.is_cut_off(request, body)
                        if cut_off:
                            return None
                        # The first bytes of a compressed body may hold no whole block.
                        checked = cut_off is not None
        except TimeoutError:
            text = f"No byte came for {max_silence_s:g} s after the first {len(body)} of the body; send without pauses."
            raise wire.BodyError(408, text) from None
        return bytes(body)


def _refuse_over_bound(length: int) -> None:
    if length > wire.MAX_BODY_BYTES:
        raise wire.BodyError(413, f"The body exceeds {wire.MAX_BODY_BYTES} bytes; insert in smaller batches.")

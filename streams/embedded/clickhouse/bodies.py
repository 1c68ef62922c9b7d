"""Bodies of requests, read whole within bounds: of one, of all at a time, and of how long a client may say nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from streams.embedded.clickhouse import wire
from streams.embedded.clickhouse.faults import Faults

# Four of the largest: what many clients send at a time must not take the memory the engine works in.
MAX_HELD_BYTES = 4 * wire.MAX_BODY_BYTES
# As ClickHouse's http_receive_timeout.
MAX_SILENCE_S = 30.0


class Bodies:
    """Room for the bodies of all requests under way. Used from one event loop only."""

    def __init__(self, faults: Faults | None, *, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._faults = faults
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0

    @contextmanager
    def room(self) -> Iterator["Room"]:
        """For one request, given back at its end."""
        room = Room(self)
        try:
            yield room
        finally:
            self._held_bytes -= room.held_bytes

    def take(self, count: int) -> None:
        """Raises BodyError 503 when there is no room for `count` more bytes."""
        if self._held_bytes + count > self._max_held_bytes:
            text = f"Bodies under way are over {self._max_held_bytes} bytes together; send fewer at a time, or later."
            raise wire.BodyError(503, text)
        self._held_bytes += count

    def is_cut_off(self, request: Request, body: bytearray) -> bool:
        """Whether a fault strikes in the middle of this body."""
        if self._faults is None:
            return False
        beginning = wire.beginning(bytes(body), request.headers.get("content-encoding", ""))
        text = request.query_params.get("query", "") + "\n" + beginning.decode("utf-8", errors="replace")
        return self._faults.strike_body(text)


class Room:
    """What one request holds of the room there is."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.held_bytes = 0

    def take(self, count: int) -> None:
        """Raises BodyError 503 when there is no room for `count` more bytes."""
        self._bodies.take(count)
        self.held_bytes += count

    async def read(self, request: Request, *, max_silence_s: float = MAX_SILENCE_S) -> bytes | None:
        """The body as sent; None where a fault strikes in the middle of it. Raises BodyError 413, 503, 408."""
        # The announced length first, so that a client learns it before it sends for nothing; chunks announce none.
        announced = int(request.headers.get("content-length", "0"))
        _refuse_over_bound(announced)
        body, asked, loop = bytearray(), False, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max_silence_s) as silence:
                async for chunk in request.stream():
                    silence.reschedule(loop.time() + max_silence_s)
                    self.take(len(chunk))
                    body += chunk
                    _refuse_over_bound(len(body))
                    if not asked and len(body) >= announced // 2:
                        asked = True
                        if self._bodies.is_cut_off(request, body):
                            return None
        except TimeoutError:
            text = f"After {len(body)} bytes of the body nothing came for {max_silence_s:g} s; send without pauses."
            raise wire.BodyError(408, text) from None
        return bytes(body)


def _refuse_over_bound(length: int) -> None:
    if length > wire.MAX_BODY_BYTES:
        raise wire.BodyError(413, f"The body is over {wire.MAX_BODY_BYTES} bytes; insert in smaller batches.")

"""Connections of clients: how long their headers may take, and how many may be open that have not been let in."""

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
# Of those, connections without a request that was let in, see `access`: clients without the password cannot take the
# places of the workers.
MAX_UNAUTHENTICATED = 64
# Without it silent clients would keep others out for ever. It does not count while a connection waits for its next
# request.
HEADERS_S = 5.0


class Unauthenticated:
    """The connections on which no request was let in yet. Used from one event loop only."""

    def __init__(self, *, most: int = MAX_UNAUTHENTICATED) -> None:
        self._most = most
        # Oldest first; a dictionary, because a set has no order.
        self._open: dict[asyncio.BaseTransport, None] = {}

    def add(self, connection: asyncio.BaseTransport) -> None:
        """A new connection. Above the bound the oldest one is closed: the new one may be that of a worker, whose first
        request comes at once, and is not kept out by clients that only wait."""
        self._open[connection] = None
        if len(self._open) > self._most:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.close()

    def discard(self, connection: asyncio.BaseTransport) -> None:
        """A request on it was let in, or it has ended."""
        self._open.pop(connection, None)


class Transport:
    """A transport on which an answer may begin with headers before its status is known: then it is 200.

    Everything else is that of the transport of asyncio.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._has_begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def begin(self, header: bytes) -> None:
        """Write a whole header, behind the status if it is the first one; nothing once the client has gone."""
        if self._transport.is_closing():
            return
        self._transport.write(header if self._has_begun else b"HTTP/1.1 200 OK\r\n" + header)
        self._has_begun = True

    def write(self, data: bytes) -> None:
        """Write the rest of the answer; of its head, what has not been written."""
        if self._has_begun:
            _, _, data = data.partition(b"\r\n")
            self._has_begun = False
        self._transport.write(data)


class Protocol(H11Protocol):
    """Gives each request its connection, and closes connections whose headers never end.

    The state of the application has the `unauthenticated` connections, see `Front`.
    """

    _headers_bound: asyncio.TimerHandle | None = None

    # The base class declares Transport where asyncio has BaseTransport.
    def connection_made(self, plain: asyncio.Transport) -> None:  # type: ignore[override]
        transport = cast(asyncio.Transport, Transport(plain))
        self.app_state["unauthenticated"].add(transport)
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # IDLE after data were received means: in the middle of the headers.
        if self.conn.their_state is h11.IDLE:
            self._await_headers()
        elif self._headers_bound is not None:
            self._headers_bound.cancel()
            self._headers_bound = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.app_state["unauthenticated"].discard(self.transport)
        if self._headers_bound is not None:
            self._headers_bound.cancel()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        if self._headers_bound is None:
            self._headers_bound = self.loop.call_later(HEADERS_S, self.transport.close)

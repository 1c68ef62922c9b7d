"""Bounds of time, size and number for clients, and the server's protocol that keeps those of connections.

uvicorn keeps the time between two calls and, for whole bodies that wait, 64 KiB a connection. It has no bound for
the time and size of headers, nor for the time of a call; these are here.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from schemas.codec import encode
from schemas.serving import MAX_CANDIDATES, Refused

# 2 KiB for each of the most candidates: ten features and two ids take 400 bytes.
MAX_BODY_BYTES: Final = MAX_CANDIDATES * 2_048
# Calls under way. Each may hold a body: 128 MiB. A call takes about 2 ms of CPU, so the last one waits 0.13 s.
MAX_RUNNING: Final = 64
# Open connections, with up to 64 KiB of unread body each: 64 MiB. Bidders keep tens.
MAX_CONNECTIONS: Final = 1_024
# A body is whole so long after its headers. On a network of 10 Mbit/s the largest takes 1.6 s.
BODY_S: Final = 5.0
# From the first byte of a call, or of the connection, to the last byte of the answer. Longer than a body may take.
CALL_S: Final = 10.0
assert CALL_S > BODY_S
# An idle connection is kept for so long: longer than clients keep one (Go 90 s, nginx 60 s), so that none sends a call
# into one that closes.
IDLE_S: Final = 120
# nginx and Apache take 8 KiB a line; no call here needs more in all.
MAX_HEAD_BYTES: Final = 16_384
# Calls that are under way at the end get so long, less than the 30 s that Kubernetes waits.
GRACE_S: Final = 15
assert GRACE_S > CALL_S


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 with the bounds above. Above the most connections a new one is answered with 503 and closed."""

    _due: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _refused: tuple[HTTPStatus, str] | None = None

    # The base class declares Transport where asyncio has BaseTransport.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_call()
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{MAX_CONNECTIONS:,} connections are open; use one again, or ask another server",
            )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._cancel()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._await_call()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            # httptools ends with an error then, and the base class calls `send_400_response`.
            self._refused = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _HEAD_TEXT
            raise ValueError(_HEAD_TEXT)
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._cancel()
        if self._answering():
            # A further call came before the answer to this one.
            self._await_call()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # ours says what to do
        status, text = self._refused or (HTTPStatus.BAD_REQUEST, "the request is no HTTP/1.1; send one that is")
        self._refuse(status, text)

    def _refuse_head(self) -> None:
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _HEAD_TEXT)

    def _await_call(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(CALL_S, self._overdue)

    def _cancel(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first call
        return cycle is not None and not cycle.response_complete

    def _overdue(self) -> None:
        if self._answering():
            # The client does not take its answer.
            self.transport.abort()
        elif self._in_head and self._head_bytes > 0:
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the headers were not whole within {CALL_S:g} s; send a call without pauses",
            )
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        body = encode(Refused(text))
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


_HEAD_TEXT: Final = f"the headers have more than {MAX_HEAD_BYTES:,} bytes; send fewer"

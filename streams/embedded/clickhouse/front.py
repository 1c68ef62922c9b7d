"""ClickHouse's HTTP interface in front of the embedded engine, for clickhouse-connect, curl and Grafana alike.

Served: queries and inserts with settings, ``param_*``, compression both ways and the ``X-ClickHouse-*`` headers; GET is
read-only. Not served: state kept between requests of a ``session_id`` (temporary tables, SET), external tables, answers
streamed while the query runs (an answer is made in memory first), cancelling a query by hanging up, ``query_id`` as the
engine's own id. SQL can read and write files as the user of this process, so on a machine shared with others set
CLICKHOUSE_PASSWORD.
"""

import asyncio
import functools
import json
import socket
import struct
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streams.embedded.clickhouse import wire
from streams.embedded.clickhouse.engine import Engine, EngineError, Session
from streams.embedded.clickhouse.faults import Fault, Faults
from streams.embedded.clickhouse.statement import Statement, read_statement

REQUIRED_PASSWORD, AUTHENTICATION_FAILED = 194, 516
# The engine spreads a query over all cores itself; more threads only let short queries pass long ones, and each takes
# its share from the writers: on two cores an insert took 4 ms alone, 9 ms beside four full scans, 84 ms beside eight.
READERS = 4
# Apart from the readers, so that dashboards never keep the sink waiting for a thread.
WRITERS = 2
LOOPBACK_NAMES = {"127.0.0.1", "localhost", "::1"}
# Names of the HTTP interface itself; every other query parameter is a setting of the engine.
_RESERVED = {
    *("query", "database", "default_format", "user", "password", "quota_key", "role", "query_id", "stacktrace"),
    *("session_id", "session_timeout", "session_check", "wait_end_of_query", "buffer_size", "client_protocol_version"),
}

T = TypeVar("T")


class Front:
    """The HTTP application over an engine. ``login`` None asks nobody for a password."""

    def __init__(self, engine: Engine, *, login: tuple[str, str] | None, faults: Faults | None) -> None:
        self._engine = engine
        self._login = login
        self._faults = faults
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="writer")
        # Splitting and (de)compressing in a reader's thread made inserts queue behind every waiting query.
        self._codecs = ThreadPoolExecutor(WRITERS, thread_name_prefix="codec")

    def application(self) -> Starlette:
        """The ASGI application; closing it closes the engine."""
        routes = [
            Route("/", self._statement, methods=["GET", "POST"]),
            Route("/ping", self._ping, methods=["GET"]),
        ]
        if self._faults is not None:
            routes.append(Route("/-/faults", self._order_faults, methods=["GET", "POST"]))
        return Starlette(routes=routes, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self._engine.close()
        for pool in (self._readers, self._writers, self._codecs):
            pool.shutdown()

    async def _ping(self, _: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    async def _order_faults(self, request: Request) -> Response:
        assert self._faults is not None
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if request.method == "POST":
            try:
                self._faults.order(await request.body())
            except msgspec.DecodeError as failure:
                return PlainTextResponse(f"{failure}\n", status_code=400)
        return Response(self._faults.left, media_type="application/json")

    async def _statement(self, request: Request) -> Response:
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        common = {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Server-Display-Name": "clickfold-embedded",
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        response = self._refusal(request)
        try:
            response = response or await self._answer(request)
        except EngineError as failure:
            response = self._error(wire.http_status(failure.code), failure.code, str(failure))
        except wire.BodyError as failure:
            response = PlainTextResponse(f"{failure}\n", status_code=failure.status)
        response.headers.update(common)
        return response

    async def _answer(self, request: Request) -> Response:
        if request.method == "GET" and not request.query_params.get("query"):
            return PlainTextResponse("Ok.\n")
        body = await _read_body(request, self._faults)
        if body is None:
            return await _hang_up(request, reset=True)
        read = functools.partial(_read_request, body, request.headers, dict(request.query_params), request.method)
        statement, session = await self._in(self._codecs, read)
        fault = self._faults.strike(statement.sql) if self._faults is not None else None
        if fault is not None and fault.kind != "applied_answer_lost":
            refused = await self._before(fault, request)
            if refused is not None:
                return refused
        pool = self._readers if statement.rows is None else self._writers
        answer = await self._in(pool, lambda: self._engine.run(statement, session))
        if fault is not None and fault.kind == "applied_answer_lost":
            return await _hang_up(request, reset=False)
        headers = {"X-ClickHouse-Summary": json.dumps({name: str(count) for name, count in answer.summary.items()})}
        content, encoding = answer.body, ""
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
        if request.query_params.get("enable_http_compression") == "1" and content:
            accepted = request.headers.get("accept-encoding", "")
            content, encoding = await self._in(self._codecs, lambda: wire.compressed(answer.body, accepted))
        if encoding:
            headers["Content-Encoding"] = encoding
        return Response(content, headers=headers, media_type=_media_type(answer.format))

    async def _before(self, fault: Fault, request: Request) -> Response | None:
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return None
        if fault.kind == "reset":
            return await _hang_up(request, reset=True)
        headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
        if fault.code is not None:
            headers["X-ClickHouse-Exception-Code"] = str(fault.code)
        return PlainTextResponse(fault.body, status_code=fault.status, headers=headers)

    def _refusal(self, request: Request) -> Response | None:
        if self._login is None:
            return _refusal_of_browsers(request)
        given = wire.credentials(request.headers, request.query_params)
        if given is None:
            text = (
                f"Code: {REQUIRED_PASSWORD}. DB::Exception: User name and password are asked for. (REQUIRED_PASSWORD)"
            )
            refusal = self._error(401, REQUIRED_PASSWORD, text)
            refusal.headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
            return refusal
        if wire.same(given, self._login):
            return None
        reason = "Authentication failed: password is incorrect, or there is no user with such name."
        text = f"Code: {AUTHENTICATION_FAILED}. DB::Exception: {given[0]}: {reason} (AUTHENTICATION_FAILED)"
        return self._error(403, AUTHENTICATION_FAILED, text)

    def _error(self, status: int, code: int, text: str) -> Response:
        version = "" if "(version " in text else f" (version {self._engine.version})"
        headers = {"X-ClickHouse-Exception-Code": str(code)}
        return PlainTextResponse(f"{text}{version}\n", status_code=status, headers=headers)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


def _refusal_of_browsers(request: Request) -> Response | None:
    # Without a password every web page open on this machine could post SQL to a loopback port, directly (Origin) or
    # under a name of its own that resolves to 127.0.0.1 (Host).
    origin = request.headers.get("origin", "")
    hosts = {request.url.hostname or "", *([origin.partition("://")[2].rpartition(":")[0]] if origin else ())}
    if hosts <= LOOPBACK_NAMES:
        return None
    text = "Requests from web pages or under another host name need CLICKHOUSE_PASSWORD to be set.\n"
    return PlainTextResponse(text, status_code=403)


async def _read_body(request: Request, faults: Faults | None) -> bytes | None:
    """The body as sent; None where a fault strikes in the middle of it."""
    # The announced length first, so that a client learns it before it sends for nothing; a chunked body announces none.
    body, announced, asked = bytearray(), int(request.headers.get("content-length", "0")), faults is None
    if announced <= wire.MAX_BODY_BYTES:
        async for chunk in request.stream():
            body += chunk
            if faults is not None and not asked and len(body) >= announced // 2:
                asked = True
                beginning = wire.beginning(bytes(body), request.headers.get("content-encoding", ""))
                text = beginning.decode("utf-8", errors="replace")
                if faults.strike_body(request.query_params.get("query", "") + "\n" + text):
                    return None
            if len(body) > wire.MAX_BODY_BYTES:
                break
    if max(announced, len(body)) > wire.MAX_BODY_BYTES:
        raise wire.BodyError(413, f"The body is over {wire.MAX_BODY_BYTES} bytes; insert in smaller batches.")
    return bytes(body)


def _read_request(
    body: bytes, headers: Mapping[str, str], query: dict[str, str], method: str
) -> tuple[Statement, Session]:
    if query.get("decompress") == "1" or query.get("compress") == "1":
        raise wire.BodyError(501, "ClickHouse's own block compression is not served here; use Content-Encoding.")
    body = wire.decompressed(body, headers.get("content-encoding", ""))
    if headers.get("content-type", "").startswith("multipart/form-data"):
        query |= wire.form_fields(body, headers["content-type"])
        body = b""
    text = b"\n".join(part for part in (query.get("query", "").encode(), body) if part)
    session = Session(
        database=query.get("database") or headers.get("x-clickhouse-database", ""),
        settings={
            name: value
            for name, value in query.items()
            if name not in _RESERVED and not name.startswith("param_") and name not in ("compress", "decompress")
        },
        parameters={name[len("param_") :]: value for name, value in query.items() if name.startswith("param_")},
        default_format=query.get("default_format") or headers.get("x-clickhouse-format") or "TabSeparated",
        readonly=method == "GET",
    )
    return read_statement(text), session


async def _hang_up(request: Request, *, reset: bool) -> Response:
    transport: asyncio.Transport = request.scope["state"]["transport"]
    if reset:
        # Linger of 0 s: close() sends RST in place of FIN.
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    # One turn of the loop, so that the server knows of the loss before it is handed the answer it will drop.
    await asyncio.sleep(0)
    return Response(status_code=500)


def _media_type(answer_format: str) -> str:
    if answer_format.startswith("JSON"):
        return "application/json; charset=UTF-8"
    if answer_format.startswith("TabSeparated"):
        return "text/tab-separated-values; charset=UTF-8"
    return "text/csv; charset=UTF-8" if answer_format.startswith("CSV") else "application/octet-stream"

"""ClickHouse's HTTP interface in front of the embedded engine, for clickhouse-connect, curl and Grafana alike.

Served: queries and inserts with settings, ``param_*``, sessions, external tables, query ids, compression both ways and
the ``X-ClickHouse-*`` headers; GET is read-only. A client that hangs up ends its query, but nothing that writes. Not
served: answers streamed while the query runs (an answer is made in memory first), and statements that lead to files,
programs or other hosts (see `permissions`).
"""

import asyncio
import functools
import itertools
import json
import socket
import string
import struct
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from threading import Barrier
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from streams.embedded.clickhouse import access, blocks, external_tables, native, processes, running, sessions, wire
from streams.embedded.clickhouse.bodies import Bodies
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.connection import Connection, Progress
from streams.embedded.clickhouse.connections import Transport, Unauthenticated
from streams.embedded.clickhouse.engine import Engine
from streams.embedded.clickhouse.exchange import Answer, EngineError, Session
from streams.embedded.clickhouse.faults import Fault, Faults
from streams.embedded.clickhouse.forms import form_parts
from streams.embedded.clickhouse.running import ProgressHeaders, Running
from streams.embedded.clickhouse.sessions import NamedSession, Sessions
from streams.embedded.clickhouse.sql import sql_bytes
from streams.embedded.clickhouse.statement import Statement, read_statement

# The engine spreads a query over all cores itself; more threads only let short queries pass long ones, and each takes
# its share from the writers: on two cores an insert took 4 ms alone, 9 ms beside four full scans, 84 ms beside eight.
READERS = 4
# Apart from the readers, so that dashboards never keep the sink waiting for a thread.
WRITERS = 2
# For what must not wait for a reader: who asks what runs, and ends it.
ATTENDANTS = 2
CANCEL_AGAIN_S = 1.0
# Names of the HTTP interface itself; every other query parameter is a setting of the engine.
_RESERVED = {
    *("query", "database", "default_format", "user", "password", "quota_key", "role", "query_id", "stacktrace"),
    *("wait_end_of_query", "buffer_size", "client_protocol_version", "compress", "decompress", *sessions.PARAMETERS),
}

T = TypeVar("T")


class Front:
    """The HTTP application over an engine. ``login`` None asks nobody for a password."""

    def __init__(self, engine: Engine, *, login: tuple[str, str] | None, faults: Faults | None) -> None:
        self._engine = engine
        self._login = login
        self._faults = faults
        self._bodies = Bodies(faults)
        self._unauthenticated = Unauthenticated()
        self._readers = _pool(READERS, "reader")
        self._writers = _pool(WRITERS, "writer")
        # Splitting and (de)compressing in a reader's thread made inserts queue behind every waiting query.
        self._codecs = _pool(WRITERS, "codec")
        self._attendants = _pool(ATTENDANTS, "attendant")
        self._sessions = Sessions(self._engine.open, self._codecs)
        self._running = Running()

    def application(self) -> Starlette:
        """The ASGI application; closing it closes the engine."""
        routes = [
            Route("/", self._statement, methods=["GET", "POST"]),
            # Health checks of load balancers ask the one or the other.
            *(Route(path, self._ping, methods=["GET"]) for path in ("/ping", "/replicas_status")),
        ]
        if self._faults is not None:
            routes.append(Route("/-/faults", self._order_faults, methods=["GET", "POST"]))
        refusals = {404: _no_such_path, 405: _no_such_method}
        return Starlette(
            routes=routes,
            middleware=[access.CROSS_ORIGIN],
            exception_handlers=refusals,
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[dict[str, object]]:
        yield {"unauthenticated": self._unauthenticated}
        self._sessions.close()
        self._engine.close()
        for pool in (self._readers, self._writers, self._codecs, self._attendants):
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

    def _refusal(self, request: Request) -> Response | None:
        refusal = access.refusal(request, self._login)
        if refusal is None:
            self._unauthenticated.discard(request.scope["state"]["transport"])
        return refusal

    async def _statement(self, request: Request) -> Response:
        query = _parameters(request)
        query_id = query.get("query_id") or str(uuid.uuid4())
        common = {
            # In a header there are no line ends, and no letters beyond Latin-1.
            "X-ClickHouse-Query-Id": urllib.parse.quote(query_id, safe=string.printable[:-5], errors="surrogateescape"),
            "X-ClickHouse-Server-Display-Name": "clickfold-embedded",
        }
        response = self._refusal(request)
        try:
            response = response or await self._answer(request, query, query_id)
        except EngineError as failure:
            version = "" if "(version " in str(failure) else f" (version {self._engine.version})"
            response = access.error(wire.http_status(failure.code), failure.code, f"{failure}{version}")
        except wire.BodyError as failure:
            response = access.error(failure.status, failure.code, f"{failure.message} (version {self._engine.version})")
        if request.query_params.get("compress") == "1":
            blocks.compress_error(response)
        response.headers.update(common)
        response.headers.setdefault("X-ClickHouse-Timezone", self._engine.timezone)
        return response

    async def _answer(self, request: Request, query: dict[str, str], query_id: str) -> Response:
        if request.method != "POST" and not query.get("query"):
            return PlainTextResponse("Ok.\n")
        with self._bodies.room() as room:
            body = await room.read(request)
            if body is None:
                return await _hang_up(request, reset=True)
            read = functools.partial(_read_request, body, request.headers, query, request.method)
            statement, session = await self._in(self._codecs, read)
            # Twice, as sent and without its encoding: both are there until it is executed.
            room.take(len(statement.rows or b""))
            session = replace(session, query_id=query_id)
            cancel = functools.partial(self._in, self._attendants, lambda: self._engine.cancel(query_id))
            replaces = cancel if query.get("replace_running_query") == "1" else None
            with self._sessions.taken(access.user(request), query) as named:
                async with self._running.entered(query_id, replace=replaces), self._progress(request, query) as see:
                    return await self._execute(request, statement, replace(session, watch=see), named)

    @asynccontextmanager
    async def _progress(
        self, request: Request, query: Mapping[str, str]
    ) -> AsyncIterator[Callable[[Progress], None] | None]:
        """Sends headers of progress during the block, to a request that asks for them."""
        if not running.asks_for_progress(query) or request.scope["http_version"] != "1.1":
            yield None
            return
        headers = ProgressHeaders(_transport(request).begin, query)
        sending = asyncio.create_task(headers.send())
        try:
            yield headers.see
        finally:
            sending.cancel()

    async def _execute(
        self, request: Request, statement: Statement, session: Session, named: NamedSession | None
    ) -> Response:
        codec = blocks.asked(request.query_params)
        fault = self._faults.strike(statement.sql) if self._faults is not None else None
        if fault is not None and fault.kind != "applied_answer_lost":
            refused = await self._before(fault, request)
            if refused is not None:
                return refused
        if named is not None and statement.changes_session:
            await self._sessions.connect(named)
        answer = await self._run(request, statement, session, named.connection if named else None)
        if answer is None:
            return Response(status_code=499)  # Nobody is there to read it.
        if fault is not None and fault.kind == "applied_answer_lost":
            return await _hang_up(request, reset=False)
        return await self._response(request, answer, session, codec)

    async def _response(
        self, request: Request, answer: Answer, session: Session, codec: blocks.Codec | None
    ) -> Response:
        headers = {
            "X-ClickHouse-Summary": json.dumps({name: str(count) for name, count in answer.summary.items()}),
            "X-ClickHouse-Timezone": answer.timezone,
        }
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
        media_type = self._engine.content_type(answer.format)
        content, encoding, parts = answer.body, "", _parts(answer, session, codec)
        if request.query_params.get("enable_http_compression") == "1" and content:
            accepted = request.headers.get("accept-encoding", "")
            pieces = (content,) if parts is None else parts
            content, encoding = await self._in(self._codecs, lambda: wire.compressed(b"".join(pieces), accepted))
        elif parts is not None:
            # Raises what keeps the answer from being made, while the status can still say so.
            content, following = await self._in(self._codecs, lambda: (next(parts, b""), next(parts, b"")))
            if following:
                stream = self._stream(itertools.chain((content, following), parts))
                return StreamingResponse(stream, headers=headers, media_type=media_type)
        if encoding:
            headers["Content-Encoding"] = encoding
        return Response(content, headers=headers, media_type=media_type)

    async def _stream(self, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
        while part := await self._in(self._codecs, lambda: next(parts, b"")):
            yield part

    async def _run(
        self, request: Request, statement: Statement, session: Session, kept: Connection | None
    ) -> Answer | None:
        """None when the client hung up before its turn came. Raises EngineError."""
        if statement.rows is not None:
            return await self._in(self._writers, lambda: self._engine.run(statement, session, kept))
        pool = self._attendants if processes.watches(statement.words) else self._readers
        job = pool.submit(self._engine.run, statement, session, kept)
        future = asyncio.wrap_future(job)
        leaving = asyncio.ensure_future(request.receive())
        await asyncio.wait((future, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not future.done() and job.cancel():
            return None
        while not future.done():
            # Again, because a query that has only just begun can't be found yet.
            await self._in(self._attendants, lambda: self._engine.cancel(session.query_id))
            await asyncio.wait((future,), timeout=CANCEL_AGAIN_S)
        return await future

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

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


def _pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads all run from now on. Begun one by one at the first rush, they would look like a leak."""
    pool, all_run = ThreadPoolExecutor(threads, thread_name_prefix=name), Barrier(threads)
    for _ in range(threads):
        pool.submit(all_run.wait)
    return pool


def _read_request(
    body: bytes, headers: Mapping[str, str], query: dict[str, str], method: str
) -> tuple[Statement, Session]:
    body = wire.decompressed(body, headers.get("content-encoding", ""))
    if query.get("decompress") == "1":
        body = blocks.decompressed(body)
    files: dict[str, bytes] = {}
    if headers.get("content-type", "").startswith("multipart/form-data"):
        fields, files = form_parts(body, headers["content-type"])
        query |= fields
        body = b""
    text = b"\n".join(part for part in (sql_bytes(query.get("query", "")), body) if part)
    if not text.strip():
        raise EngineError.named(Code.SYNTAX_ERROR, "Empty query")
    tables = external_tables.external_tables(files, query)
    reserved = _RESERVED | external_tables.described_names(files)
    session = Session(
        database=query.get("database") or headers.get("x-clickhouse-database", ""),
        settings={
            name: value for name, value in query.items() if name not in reserved and not name.startswith("param_")
        },
        parameters={
            name[len("param_") :]: wire.parameter(value) for name, value in query.items() if name.startswith("param_")
        },
        default_format=query.get("default_format") or headers.get("x-clickhouse-format") or "TabSeparated",
        readonly=method != "POST",
        role=query.get("role", ""),
        external=tables,
        protocol_version=native.protocol_version(query.get("client_protocol_version", "")),
    )
    statement = read_statement(text)
    if len(statement.sql) > wire.MAX_SQL_BYTES:
        raise wire.BodyError(
            413, f"The SQL without rows exceeds {wire.MAX_SQL_BYTES} bytes; send rows by INSERT … FORMAT."
        )
    return statement, session


def _parts(answer: Answer, session: Session, codec: blocks.Codec | None) -> Iterator[bytes] | None:
    """The answer in the form that the request asks for, part by part; None for the engine's own form."""
    parts: Iterator[bytes] | None = None
    if answer.format == "Native" and session.protocol_version:
        parts = native.encoded(answer.body, session.protocol_version, answer.column_types)
    return parts if codec is None else blocks.compressed(parts or (answer.body,), codec)


async def _no_such_path(request: Request, _: Exception) -> Response:
    text = f"There is no {request.url.path} here: statements go to /, health checks to /ping."
    return access.error(404, Code.NOT_IMPLEMENTED, text)


async def _no_such_method(request: Request, _: Exception) -> Response:
    answer = access.error(405, Code.UNSUPPORTED_METHOD, f"{request.method} is not served: GET reads, POST may write.")
    answer.headers["Allow"] = "GET, HEAD, POST"
    return answer


def _parameters(request: Request) -> dict[str, str]:
    """Parameters of the address; bytes that are no UTF-8 stay as surrogates, see `sql`."""
    sent = request.scope["query_string"].decode("latin-1")
    return dict(urllib.parse.parse_qsl(sent, keep_blank_values=True, errors="surrogateescape"))


def _transport(request: Request) -> Transport:
    transport: Transport = request.scope["state"]["transport"]
    return transport


async def _hang_up(request: Request, *, reset: bool) -> Response:
    transport = _transport(request)
    if reset:
        # Linger of 0 s: close() sends RST in place of FIN.
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    # One turn of the loop, so that the server knows of the loss before it is handed the answer it will drop.
    await asyncio.sleep(0)
    return Response(status_code=500)

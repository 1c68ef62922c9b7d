"""``python -m streams.embedded.clickhouse --folder F``: the embedded ClickHouse as a server in the foreground."""

import argparse
import asyncio
import ipaddress
import os
import socket
import sys
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from schemas.errors import SettingsError
from streams.embedded.clickhouse.engine import Engine
from streams.embedded.clickhouse.faults import Faults
from streams.embedded.clickhouse.front import Front

MAX_CONNECTIONS = 256
# Longer than the slowest query of a dashboard, shorter than the 300 s that clickhouse-connect waits for an answer.
MAX_EXECUTION_S = 120.0
# Without it 256 silent clients would keep all others out. It does not count while a connection waits for its next
# request.
HEADERS_S = 5.0
# At SIGTERM running statements get this long, are then cancelled, and get it once more to answer.
GRACE_S = 5


class _Protocol(H11Protocol):
    """Gives each request its connection, which faults close, and closes connections whose headers never end."""

    _headers_bound: asyncio.TimerHandle | None = None

    # The base class declares Transport where asyncio has BaseTransport.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
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
        if self._headers_bound is not None:
            self._headers_bound.cancel()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        if self._headers_bound is None:
            self._headers_bound = self.loop.call_later(HEADERS_S, self.transport.close)


class _Server(uvicorn.Server):
    """Cancels statements that run longer than the grace: their clients get an answer, and the engine can close."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        cancelling = loop.call_later(GRACE_S, lambda: loop.run_in_executor(None, self._engine.cancel))
        await super().shutdown(sockets)
        cancelling.cancel()


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="streams.embedded.clickhouse", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--descriptor", type=int, help="inherited listening socket, in place of host and port")
    parser.add_argument("--max-execution-s", type=float, default=MAX_EXECUTION_S)
    parser.add_argument("--allow-faults", action="store_true", help="let tests order faults by /-/faults")
    options = parser.parse_args(arguments)
    # Only from the environment: every user of the machine sees arguments.
    password = os.environ.get("CLICKHOUSE_PASSWORD", "")
    login = (os.environ.get("CLICKHOUSE_USER", "") or "default", password) if password else None
    if options.descriptor is None:
        listening = socket.create_server((options.host, options.port), backlog=128)
    else:
        listening = socket.socket(fileno=options.descriptor)
    address = listening.getsockname()[0]
    if login is None and not ipaddress.ip_address(address).is_loopback:
        sys.exit(f"Refusing to listen on {address} without a password: set CLICKHOUSE_PASSWORD or use 127.0.0.1.")
    try:
        engine = Engine(options.folder / "data", max_execution_s=options.max_execution_s)
    except SettingsError as failure:
        sys.exit(str(failure))
    front = Front(engine, login=login, faults=Faults() if options.allow_faults else None)
    config = uvicorn.Config(
        front.application(),
        http=_Protocol,
        lifespan="on",
        # An access log would contain SQL, and passwords that clients send as parameters.
        access_log=False,
        log_level="warning",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=2 * GRACE_S,
        # Longer than any client keeps an idle connection: a client must not send an insert into one that closes.
        timeout_keep_alive=600,
        server_header=False,
    )
    asyncio.run(_Server(config, engine).serve(sockets=[listening]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

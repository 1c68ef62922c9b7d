"""``python -m streams.embedded.clickhouse --folder F``: the embedded ClickHouse as a server in the foreground."""

import argparse
import asyncio
import ipaddress
import os
import socket
import sys
from pathlib import Path

import uvicorn

from schemas.errors import SettingsError
from streams.embedded.clickhouse.connections import MAX_CONNECTIONS, Protocol
from streams.embedded.clickhouse.engine import Engine
from streams.embedded.clickhouse.faults import Faults
from streams.embedded.clickhouse.front import Front

# Longer than the slowest query of a dashboard, shorter than the 300 s that clickhouse-connect waits for an answer.
MAX_EXECUTION_S = 120.0
# At SIGTERM running statements get this long, are then cancelled, and get it once more to answer.
GRACE_S = 5


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
        http=Protocol,
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

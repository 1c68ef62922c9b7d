"""What clickhouse-go sends and reads: run it, and record it. ``python -m tests.clients.exchanges`` records anew.

A machine without Go replays the record: what the driver sent is sent again, and must be answered with the same data,
which the driver could read.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import os
import shutil
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import clickhouse_connect
import msgspec

from schemas.clickhouse.migrations import migrate
from streams.embedded.clickhouse import ClickHouse, blocks
from streams.embedded.jars import jars_folder
from tests.golden import insert_golden

PROGRAM: Final = Path(__file__).parent / "go"
RECORD: Final = Path(__file__).parent / "clickhouse_go.json"
# The database with clickfold's tables, as in the tests.
DATABASE: Final = "golden"
# Grafana's data source uses gzip, see `main.go`.
METHODS: Final = ("none", "lz4", "zstd", "gzip", "deflate")
# Answers that depend on the machine, the engine's version, or which tables and columns there are.
VARYING: Final = ("displayName()", "SHOW ", "DESC TABLE", "FROM system.")
# A larger answer is recorded as a hash.
WHOLE_BYTES: Final = 2048
SENT_HEADERS: Final = ("Accept-Encoding", "Content-Encoding", "Content-Type", "User-Agent")


class Exchange(msgspec.Struct, frozen=True):
    """One request of the driver and its answer, bodies in base64. ``data`` is the answer without compression, or its
    hash when it is long, and None where it varies."""

    target: str
    headers: dict[str, str]
    body: str
    status: int
    code: str | None
    data: str | None


class Run(msgspec.Struct, frozen=True):
    """All exchanges with one compression, and what the program printed: the answer to each question."""

    method: str
    exchanges: list[Exchange]
    answers: dict[str, str]


def recorded() -> list[Run]:
    """The record of this folder."""
    return msgspec.json.decode(RECORD.read_bytes(), type=list[Run])


def built(go: str) -> Path:
    """The program, built by this Go. Raises CalledProcessError, with what Go says, when that fails."""
    digest = hashlib.sha256(b"".join((PROGRAM / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")))
    program = jars_folder().parent / "go" / digest.hexdigest()[:16]
    if not program.exists():
        unfinished = program.with_suffix(f".{os.getpid()}")
        command = [go, "build", "-mod=readonly", "-o", str(unfinished), "."]
        subprocess.run(command, cwd=PROGRAM, check=True, capture_output=True, text=True)
        unfinished.replace(program)
    return program


def answers(program: Path, address: str, method: str) -> dict[str, str]:
    """What the driver reads from this server, by question."""
    command = [str(program), address, "default", "", DATABASE, method]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return dict(line.split("\t", 1) for line in ended.stdout.splitlines())


def data_of(sent: Exchange, headers: http.client.HTTPMessage, body: bytes) -> str | None:
    """The answer as it is recorded, see `Exchange`."""
    asked = sent.target + base64.b64decode(sent.body).decode("latin-1")
    if any(word in asked for word in VARYING):
        return None
    data = blocks.decompressed(body) if "compress=1" in sent.target else body
    if headers["X-ClickHouse-Exception-Code"]:
        # Up to the first word that differs from run to run.
        data = data[:40]
    if len(data) > WHOLE_BYTES:
        return f"sha256 of {len(data)} bytes: {hashlib.sha256(data).hexdigest()}"
    return base64.b64encode(data).decode()


def answered(port: int, sent: Exchange) -> tuple[Exchange, http.client.HTTPMessage, bytes]:
    """The exchange with the answer that the server at this port gives now; its headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", sent.target, base64.b64decode(sent.body), sent.headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    code, data = response.headers["X-ClickHouse-Exception-Code"], data_of(sent, response.headers, body)
    return msgspec.structs.replace(sent, status=response.status, code=code, data=data), response.headers, body


class _Recorder(ThreadingHTTPServer):
    """Passes requests on to a server and keeps them with their answers."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.exchanges: list[Exchange] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Recorder

    def do_POST(self) -> None:
        headers = {name: self.headers[name] for name in SENT_HEADERS if self.headers[name]}
        body = base64.b64encode(self._body()).decode()
        exchange, answer, data = answered(self.server.port, Exchange(self.path, headers, body, 0, None, None))
        self.server.exchanges.append(exchange)
        self.send_response(exchange.status)
        for name, value in answer.items():
            if name.lower() not in ("transfer-encoding", "content-length", "date", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def record(go: str) -> list[Run]:
    """Runs the driver with each compression against a server of its own."""
    program, runs = built(go), []
    with tempfile.TemporaryDirectory() as folder, ClickHouse(Path(folder)) as server:
        with clickhouse_connect.get_client(dsn=server.url) as client:
            migrate(client, database=DATABASE)
        with clickhouse_connect.get_client(dsn=server.url, database=DATABASE) as client:
            insert_golden(client)
        for method in METHODS:
            with _Recorder(server.port) as recorder:
                threading.Thread(target=recorder.serve_forever, daemon=True).start()
                said = answers(program, f"127.0.0.1:{recorder.server_port}", method)
                recorder.shutdown()
            runs.append(Run(method, recorder.exchanges, said))
    return runs


def main() -> None:
    """Records clickhouse-go anew; needs Go."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    text = msgspec.json.format(msgspec.json.encode(record(shutil.which("go") or "go")), indent=1)
    RECORD.write_bytes(text + b"\n")


if __name__ == "__main__":
    main()

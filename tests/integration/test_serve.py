"""`clickfold serve` as a process on a real broker: swaps, refused models, an outage of Kafka, the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.codec import encode
from schemas.records import Out
from schemas.serving import PredictCall
from streams.cli.render.sources import Samples, fetch
from streams.embedded.broker import Broker
from streams.embedded.ports import free_port
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.sender import Sender
from tests.models.calls import shown
from tests.models.clicks import rows_of
from tests.models.published import learned, records_of
from tests.serving.server import CALL, ask, decision, predict, said
from tests.test_serve_application import HEAD, connected
from tests.waiting import PATIENCE_S, eventually

PLACES = ("even", "odd")


class Server:
    """`clickfold serve` on a port of its own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.port = free_port()
        self.log_path = folder / "serve.log"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.cluster.bootstrap,
            "CLICKFOLD_TOPIC_PREFIX": self.cluster.prefix,
        }
        command = [sys.executable, "-m", "streams.cli", "serve", "--port", str(self.port)]
        with self.log_path.open("ab") as log, subprocess.Popen(command, env=environment, stderr=log) as process:
            try:
                yield process
            finally:
                process.kill()

    def said(self) -> str:
        return self.log_path.read_text()

    def status(self, path: str) -> int:
        with suppress(OSError):
            return ask(self.port, "GET", path).status if path == "/v1/model" else _status(self.port, path)
        return 0

    def version(self) -> int:
        answer = ask(self.port, "GET", "/v1/model")
        return int(answer.body["version"]) if answer.status == 200 else -1

    def metric(self, name: str) -> float | None:
        return Samples(fetch(f"http://127.0.0.1:{self.port}/metrics")).total(name)

    def send(self, role: str, records: list[tuple[bytes | None, bytes | None]]) -> None:
        with Sender(self.cluster) as sender:
            sender.send(role, [(key, value, -1) for key, value in records])

    def publish(self, version: int) -> list[Out]:
        """A model that has learned ten rows for each version."""
        records = records_of(learned(10 * version), version, PLACES[version % 2])
        self.send("models", [(record.key, record.value) for record in records])
        return records


def _status(port: int, path: str) -> int:
    import http.client

    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30.0)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


def expected(version: int) -> list[float]:
    """What the learner of this version predicts for `CALL`."""
    learner, call = learned(10 * version), msgspec.convert(CALL, PredictCall)
    found: list[float] = learner.predict(rows_of([shown(call, call.candidates[0])], learner.known)).tolist()
    return found


@pytest.fixture
def server(broker: Broker, topic_prefix: str, tmp_path: Path) -> Server:
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    Admin(cluster).create(partitions=2, replication=1)
    return Server(cluster, tmp_path)


def test_versions_are_swapped_under_calls_and_a_call_under_way_is_finished_at_the_end(server: Server) -> None:
    over = threading.Event()

    def ask_on() -> list[tuple[int, Any]]:
        found = []
        while not over.is_set():
            status, body, _ = predict(server.port, CALL)
            found.append((status, body))
        return found

    with server.running() as process, ThreadPoolExecutor(2) as threads:
        eventually(lambda: server.status("/livez"), equals=200, about=server.said)
        eventually(lambda: "caught up" in server.said(), about=server.said)
        assert (predict(server.port, CALL).status, server.status("/readyz")) == (503, 503)
        server.send("pacing", [(b"c1", encode(decision("c1")))])
        server.publish(1)
        eventually(lambda: server.status("/readyz"), equals=200, about=server.said)
        eventually(lambda: predict(server.port, CALL).body["pacing"], lambda found: "c1" in found)
        asking = [threads.submit(ask_on) for _ in range(2)]
        for version in range(2, 8):
            server.publish(version)
            eventually(server.version, equals=version, about=server.said)
        over.set()
        answers = [answer for each in asking for answer in each.result()]
        assert {status for status, _ in answers} == {200}
        assert {body["version"] for _, body in answers} == set(range(1, 8))
        for _, body in answers:
            assert body["probabilities"] == expected(body["version"])
        assert server.metric("clickfold_serve_swaps_total") == 7

        *_, manifest = server.publish(4)
        newer = (manifest.value or b"").replace(b'"format":2', b'"format":3').replace(b'"version":4', b'"version":9')
        server.send("models", [(b"ctr/0/day1", newer), (b"ctr/0/day2", b"{")])
        eventually(lambda: server.metric("clickfold_serve_refused_total"), equals=3.0, about=server.said)
        assert predict(server.port, CALL).body["version"] == 7
        assert server.said().count('"event": "model refused"') == 3

        body = json.dumps(CALL).encode()
        with closing(connected(server.port)) as connection, closing(connected(server.port)) as idle:
            connection.sendall(HEAD % len(body) + b"\r\n")
            eventually(lambda: server.metric("clickfold_serve_running"), equals=1.0)
            process.terminate()
            assert said(idle) == b""
            connection.sendall(body)
            assert b" 200 OK" in said(connection)
        assert process.wait(PATIENCE_S) == 0


def test_it_serves_on_while_kafka_is_away_and_takes_the_next_version_after(tmp_path: Path) -> None:
    with Broker(tmp_path / "kafka") as broker:
        cluster = Cluster(broker.bootstrap)
        Admin(cluster).create(partitions=1, replication=1)
        server = Server(cluster, tmp_path)
        with server.running() as process:
            server.publish(1)
            eventually(lambda: server.status("/readyz"), equals=200, about=server.said)
            broker.kill()
            assert predict(server.port, CALL).body["probabilities"] == expected(1)
            broker.start()
            server.publish(2)
            eventually(server.version, equals=2, about=server.said)
            assert (server.status("/readyz"), server.metric("clickfold_serve_refused_total")) == (200, 0.0)
            process.terminate()
            assert process.wait(PATIENCE_S) == 0

"""A server of predictions on a port of this machine, without Kafka, and a client that sends bytes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any, NamedTuple

from schemas.codec import encode
from schemas.pacing import PacingDecision
from streams.embedded.ports import free_port
from streams.serve.application import application
from streams.serve.campaigns import CampaignCalls
from streams.serve.models import Models
from streams.serve.progress import Serving
from streams.serve.server import server_config
from streams.worker.observe import listening
from tests.factories import T0
from tests.models.published import learned, records_of
from tests.serving.campaigns import TOKEN, MemoryBook

CALL: dict[str, Any] = {"ts": T0, "candidates": [{"campaign_id": "c1", "creative_id": "k1"}]}


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


def serving_of(version: int = 3, rows: int = 200) -> Serving:
    """What a server knows that has read one model and one decision."""
    serving = Serving(Models("ctr", 0), caught_up=True)
    publish(serving, version, rows)
    serving.decisions.take(b"c1", encode(decision("c1")))
    return serving


def publish(serving: Serving, version: int, rows: int = 200) -> list[str]:
    """What is said when the server reads a further version."""
    for _, key, value, _ in records_of(learned(rows), version):
        serving.models.take(key, value)
    return serving.models.update()


def decision(campaign_id: str, version: int = 1, admit: float = 0.5) -> PacingDecision:
    return PacingDecision(
        campaign_id,
        version,
        event_ms=T0,
        day_start=1_699_920_000_000,
        state="on_plan",
        admit=admit,
        budget_micros=50_000_000,
        spend_micros=46_800_000,
        plan_micros=46_290_000,
        impressions=41_000,
        clicks=312,
        bid_multiplier=0.9,
        allowance_micros=90_000,
        valid_until_ms=T0 + 180_000,
        safe_admit=admit / 2,
        click_rate=0.01,
        counted_to_ms=T0 - 1_000,
        in_flight_micros=350_000,
        reason="on plan",
    )


@contextmanager
def server(serving: Serving, book: MemoryBook | None = None, *, token: str = TOKEN) -> Iterator[int]:
    """The port of a server during the block. `book` has its campaigns, `token` is what it asks for."""
    port = free_port()
    campaigns = CampaignCalls(token, lambda: book or MemoryBook(), serving.decisions)
    with listening(
        server_config(application(serving, campaigns.routes()), host="127.0.0.1", port=port), stop_s=20.0
    ) as running:
        serving.connections = running.server_state.connections
        yield port


def ask(
    port: int, method: str, path: str, body: bytes | None = None, *, headers: Mapping[str, str] | None = None
) -> Answer:
    """The answer to one request on a connection of its own."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30.0)) as connection:
        connection.request(method, path, body, dict(headers or {}))
        got = connection.getresponse()
        text = got.read()
        headers = {name.lower(): value for name, value in got.getheaders()}
        return Answer(got.status, json.loads(text) if text else None, headers)


def predict(port: int, call: Any) -> Answer:
    """The answer to a call, given as JSON or as what becomes JSON."""
    return ask(port, "POST", "/v1/predict", call if isinstance(call, bytes) else json.dumps(call).encode())


def said(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    while part := connection.recv(65_536):
        found += part
    return found

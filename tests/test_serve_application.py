"""The server of predictions: what it answers, its bounds of size, time and number, swaps, and its end."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from online_models.former import FormerModel, weights_digest
from schemas.codec import encode
from schemas.models import ModelVersion
from schemas.serving import MAX_CANDIDATES, PredictCall, Prediction
from streams.serve import application as app
from streams.serve import limits, responses
from streams.serve.application import application
from streams.serve.campaigns import CampaignCalls
from streams.serve.decisions import Decisions
from streams.serve.models import Models
from streams.serve.progress import Serving
from tests.models.calls import calls, shown
from tests.models.clicks import rows_of
from tests.models.published import learned, records_of
from tests.serving.campaigns import MemoryBook
from tests.serving.server import CALL, ask, decision, predict, publish, said, server, serving_of

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n"


@pytest.fixture(scope="module")
def running() -> Iterator[int]:
    with server(serving_of()) as port:
        yield port


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30.0)


def test_a_call_is_answered_with_probabilities_the_version_and_decisions(running: int) -> None:
    second = {"campaign_id": "unknown", "creative_id": "k2", "features": {"price": 2.5}}
    status, body, _ = predict(running, {**CALL, "candidates": [*CALL["candidates"], second], "device": "phone"})
    assert status == 200
    found = msgspec.convert(body, Prediction)
    assert (found.model, found.shard, found.version, len(found.probabilities)) == ("ctr", 0, 3, 2)
    assert found.pacing == {"c1": decision("c1")}
    assert ask(running, "GET", "/v1/model").body == {
        name: body[name] for name in ("model", "shard", "version", "event_ms")
    }


@settings(max_examples=30)
@given(call=calls())
def test_any_call_is_answered_as_the_learner_would_predict_to_the_bit(running: int, call: PredictCall) -> None:
    status, body, _ = predict(running, encode(call))
    assert status == 200
    for candidate, chance in zip(call.candidates, body["probabilities"], strict=True):
        learner = learned(200)
        assert 0.0 < chance < 1.0
        assert learner.run(rows_of([shown(call, candidate)], learner.known)).tolist() == [chance]


def test_a_model_of_the_former_form_is_served() -> None:
    weights = {"256": -1.0, **{str(index): 0.01 * index for index in range(50)}}
    version = ModelVersion("ctr", 0, 9, 1, 1, "2", 8, weights_digest(weights), weights)
    models = Models("ctr", 0)
    models.take(b"ctr/0", encode(version))
    assert models.update() == []
    assert models.served is not None
    call = msgspec.convert({**CALL, "features": {"n": 3, "t": "x"}, "device": "d"}, PredictCall)
    former = FormerModel(version)
    assert models.served.predict(call) == former.predict(former.rows([shown(call, call.candidates[0])])).tolist()


def test_the_call_of_the_page_is_answered_as_the_page_says(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs/operate/serve.md").read_text()
    call, answer = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (command,) = re.findall(r"\$ (curl .*)", text)
    (tmp_path / "call.json").write_text(call)
    with server(serving_of()) as port:
        moved = shlex.split(command.replace("8090", str(port)))
        found = subprocess.run(moved, cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(found.stdout) == json.loads(answer)


# ---- what has no answer ---------------------------------------------------------------------------------------------


def test_a_wrong_field_is_422_and_named(running: int) -> None:
    call = {**CALL, "candidates": [{**CALL["candidates"][0], "features": {"price": [1]}}]}
    status, body, _ = predict(running, call)
    assert (status, body["field"]) == (422, "candidates[0].features.price")


def test_without_a_model_every_call_is_503() -> None:
    with server(Serving(Models("ctr", 0))) as port:
        for answer in (predict(port, CALL), ask(port, "GET", "/v1/model")):
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            assert "no model is published yet" in answer.body["error"]


def test_other_paths_and_methods_are_sentences(running: int) -> None:
    assert ask(running, "GET", "/v1/nothing").status == 404
    answer = ask(running, "GET", "/v1/predict")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.body["error"] == "GET is not served here; use POST"


def test_a_body_at_the_bound_is_read_and_one_byte_more_is_413(running: int) -> None:
    call = json.dumps({**CALL, "candidates": CALL["candidates"] * MAX_CANDIDATES}).encode()
    assert predict(running, call.ljust(limits.MAX_BODY_BYTES)).status == 200
    status, body, _ = predict(running, call.ljust(limits.MAX_BODY_BYTES + 1))
    assert (status, body["error"]) == (413, "the body has more than 2,048,000 bytes; send fewer candidates a call")


def test_a_body_of_100_mb_is_413_before_it_is_sent(running: int) -> None:
    with closing(connected(running)) as connection:
        connection.sendall(HEAD % 100_000_000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_of_100_mb_is_413_and_not_kept(running: int) -> None:
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    before_kb = _resident_kb()
    with closing(connected(running)) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1_600):
            connection.sendall(chunk)
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
        # The connection is of use again.
        body = json.dumps(CALL).encode()
        connection.sendall(HEAD % len(body) + b"Connection: close\r\n\r\n" + body)
        assert b" 200 OK" in said(connection)
    assert _resident_kb() - before_kb < 30_000


def _resident_kb() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_headers_at_the_bound_are_read_and_longer_ones_are_431(running: int) -> None:
    line = b"GET /v1/model HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: "
    # 'HostaConnectioncloseX', and the path.
    inside = limits.MAX_HEAD_BYTES - len("/v1/modelHostaConnectioncloseX")
    for size, status in ((inside, b"200"), (inside + 1, b"431")):
        with closing(connected(running)) as connection:
            connection.sendall(line + b"x" * size + b"\r\n\r\n")
            assert said(connection).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("before", [0, 1])
def test_headers_that_never_end_are_431(running: int, before: int) -> None:
    with closing(connected(running)) as connection:
        for _ in range(before):
            connection.sendall(b"GET /v1/model HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /v1/model HTTP/1.1\r\nX: " + b"x" * limits.MAX_HEAD_BYTES)
        assert said(connection).startswith(b"HTTP/1.1 431 ")


def test_bytes_that_are_no_http_are_400(running: int) -> None:
    with closing(connected(running)) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert said(connection).startswith(b"HTTP/1.1 400 ")


# ---- bounds of time -------------------------------------------------------------------------------------------------


def drip(port: int, head: bytes, part: bytes) -> bytes:
    """What the server says to a client that sends a part each 50 ms, until it closes."""
    with closing(connected(port)) as connection:
        connection.sendall(head)
        over = threading.Event()

        def send() -> None:
            while not over.wait(0.05):
                try:
                    connection.sendall(part)
                except OSError:
                    return

        sending = threading.Thread(target=send)
        sending.start()
        try:
            return said(connection)
        except ConnectionResetError:
            return b""
        finally:
            over.set()
            sending.join()


def test_a_client_that_sends_headers_slowly_is_408(running: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_S", 0.3)
    found = drip(running, b"GET /v1/model HTTP/1.1\r\nX: ", b"x")
    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"the headers were not whole within 0.3 s" in found


def test_a_client_that_sends_a_body_slowly_is_408(running: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "BODY_S", 0.3)
    found = drip(running, HEAD % 10_000 + b"\r\n{", b" ")
    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"bytes of the body came within 0.3 s" in found


def test_a_connection_without_a_byte_is_closed(running: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_S", 0.2)
    with closing(connected(running)) as connection:
        assert said(connection) == b""


def test_a_client_that_does_not_take_its_answer_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_S", 1.0)
    serving = serving_of()
    names = [f"c{number}" * 20 for number in range(MAX_CANDIDATES)]
    for name in names:
        serving.decisions.take(name.encode(), encode(decision(name)))
    body = encode({**CALL, "candidates": [{"campaign_id": name, "creative_id": "k"} for name in names]})
    with server(serving) as port, closing(connected(port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        for _ in range(16):  # more than the buffers of both sides take
            connection.sendall(HEAD % len(body) + b"\r\n" + body)
        until(lambda: serving.running == 1)
        until(lambda: serving.running == 0 and len(serving.connections) == 0)


def until(good: Callable[[], bool], *, bound_s: float = 20.0) -> None:
    end_s = time.monotonic() + bound_s
    while not good():
        assert time.monotonic() < end_s
        time.sleep(0.01)


# ---- bounds of number -----------------------------------------------------------------------------------------------


def test_one_call_more_than_may_be_under_way_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MAX_RUNNING", 2)
    serving, body = serving_of(), json.dumps(CALL).encode()
    with server(serving) as port, ExitStack() as stack:
        waiting = [stack.enter_context(closing(connected(port))) for _ in range(2)]
        for connection in waiting:
            connection.sendall(HEAD % len(body) + b"Connection: close\r\n\r\n")
        until(lambda: serving.running == 2)
        refused = predict(port, CALL)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert refused.body["error"].startswith("2 calls are under way")
        waiting[0].sendall(body)
        assert b" 200 OK" in said(waiting[0])
        assert predict(port, CALL).status == 200


def test_one_connection_more_than_may_be_open_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 2)
    serving = serving_of()
    with server(serving) as port, ExitStack() as stack:
        first, _ = (stack.enter_context(closing(connected(port))) for _ in range(2))
        until(lambda: len(serving.connections) == 2)
        with closing(connected(port)) as third:
            assert said(third).startswith(b"HTTP/1.1 503 ")
        first.close()
        until(lambda: len(serving.connections) == 1)
        assert predict(port, CALL).status == 200


# ---- swaps and the end ----------------------------------------------------------------------------------------------


def test_models_are_swapped_under_calls_and_each_answer_is_of_one_whole_version() -> None:
    serving, over = serving_of(version=1, rows=10), threading.Event()
    call: dict[str, Any] = {**CALL, "candidates": CALL["candidates"] * 50}

    def ask_on(port: int) -> list[tuple[int, int, tuple[float, ...]]]:
        found = []
        while not over.is_set():
            status, body, _ = predict(port, call)
            found.append((status, body["version"], tuple(set(body["probabilities"]))))
        return found

    with server(serving) as port, ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask_on, port) for _ in range(2)]
        for version in range(2, 12):
            assert publish(serving, version, rows=10 * version) == []
            predict(port, call)
        over.set()
        answers = [answer for each in asking for answer in each.result()]
    expected = {}
    for version in range(1, 12):
        learner, wanted = learned(10 * version), msgspec.convert(CALL, PredictCall)
        rows = rows_of([shown(wanted, wanted.candidates[0])], learner.known)
        expected[version] = tuple(learner.predict(rows).tolist())
    assert {status for status, _, _ in answers} == {200}
    assert all(chances == expected[version] for _, version, chances in answers)
    assert len({version for _, version, _ in answers}) > 2


@pytest.mark.parametrize("fault", ["newer format", "damaged", "went back"])
def test_a_model_that_cannot_be_used_leaves_the_former(fault: str) -> None:
    serving = serving_of(version=5)
    version, changes = (4, {}) if fault == "went back" else (6, {"format": 3} if fault == "newer format" else {})
    *parts, manifest = records_of(learned(50), version, "odd", **changes)
    for _, key, value, _ in parts:
        serving.models.take(key, value)
    value = manifest.value or b""
    serving.models.take(manifest.key, value.replace(b'"digest":"', b'"digest":"0') if fault == "damaged" else value)
    (text,) = serving.models.update()
    assert serving.models.served is not None
    assert serving.models.served.facts.version == 5
    assert {"newer format": "format 3", "damaged": "digest", "went back": "version 4 is refused"}[fault] in text


def test_a_call_under_way_is_finished_when_the_server_ends() -> None:
    serving, body = serving_of(), json.dumps(CALL).encode()
    with ThreadPoolExecutor(1) as threads, closing(socket.socket()) as connection:
        with server(serving) as port:
            connection.connect(("127.0.0.1", port))
            idle = connected(port)
            connection.sendall(HEAD % len(body) + b"\r\n")
            until(lambda: serving.running == 1)

            def finish() -> bytes:
                assert said(idle) == b""  # the end has begun
                time.sleep(0.3)  # uvicorn looks around for 0.1 s in any case; the test is right without this
                connection.sendall(body)
                return said(connection)

            answer = threads.submit(finish)
        assert b" 200 OK" in answer.result(10.0)
        idle.close()


# ---- decisions ------------------------------------------------------------------------------------------------------


def test_the_highest_version_of_a_decision_holds_until_its_campaign_is_deleted() -> None:
    decisions = Decisions()
    for version, admit in ((2, 0.2), (1, 0.1), (2, 0.9)):
        assert decisions.take(b"c", encode(decision("c", version, admit))) is None
    assert decisions.of(["c", "other"]) == {"c": decision("c", 2, 0.2)}
    assert decisions.take(b"c", b"{}") is not None
    assert len(decisions) == 1
    decisions.take(b"c", None)
    assert decisions.of(["c"]) == {}


def test_the_description_is_served(running: int) -> None:
    status, body, _ = ask(running, "GET", "/openapi.json")
    assert status == 200
    assert body["components"]["schemas"]["PredictCall"]["properties"]["candidates"]["maxItems"] == MAX_CANDIDATES
    campaigns = CampaignCalls("", MemoryBook, Decisions()).routes()
    served = {route.path for route in application(serving_of(), campaigns).routes}  # type: ignore[attr-defined]
    assert served - {"/openapi.json"} == set(body["paths"])

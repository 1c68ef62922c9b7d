"""Campaigns over HTTP: who may ask, what a change answers, and that nothing changes by a call that is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.errors import SettingsError, Transient
from schemas.events import Campaign
from streams.campaigns.book import Written
from streams.kafka.cluster import Cluster
from streams.serve.campaigns import MAX_AT_ONCE, CampaignCalls
from streams.serve.decisions import Decisions
from streams.serve.settings import MIN_TOKEN_CHARS, ServeSettings
from tests.factories import T0
from tests.serving.campaigns import TOKEN, MemoryBook
from tests.serving.server import Answer, ask, server, serving_of

C1 = Campaign("c1", 5_000_000, "UTC", "active", "even", 1)


@pytest.fixture
def book() -> MemoryBook:
    book = MemoryBook()
    book.write(C1, wait_s=0)
    return book


@pytest.fixture
def port(book: MemoryBook) -> Iterator[int]:
    with server(serving_of(), book) as port:
        yield port


def call(port: int, method: str, path: str, body: Any = None, *, token: str = TOKEN) -> Answer:
    given = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    return ask(port, method, f"/v1/campaigns{path}", given, headers={"Authorization": f"Bearer {token}"})


def test_a_change_is_written_and_answered_with_what_is_in_force_and_since_when(port: int, book: MemoryBook) -> None:
    status, body, _ = call(port, "POST", "/c1", {"daily_budget_micros": 7})
    assert (status, body["in_force_ms"], body["campaign"]["daily_budget_micros"]) == (200, T0, 7)
    assert body["decision"]["campaign_id"] == "c1"
    assert [each.version for each in book.wrote] == [1, 2]
    assert call(port, "GET", "/c1").body["campaign"] == body["campaign"]
    assert [each["campaign"]["daily_budget_micros"] for each in call(port, "GET", "/c1/history").body["changes"]] == [
        5_000_000,
        7,
    ]


def test_another_currency_is_refused_over_http_and_a_campaign_that_does_not_exist_is_unknown(
    port: int, book: MemoryBook
) -> None:
    assert call(port, "POST", "/c1", {"currency": "EUR"}).status == 200
    answer = call(port, "POST", "/c1", {"currency": "USD"})
    assert (answer.status, answer.body["error"][:30]) == (409, "currency 'USD' in place of 'EU")
    assert call(port, "POST", "/c9", {"hourly_cap_micros": 5}).status == 404
    assert len(book.wrote) == 2


def test_terms_for_experts_are_set_and_shown(port: int) -> None:
    terms = {
        "hourly_cap_micros": 9,
        "dayparts": "mon-fri 9-18",
        "budget_id": "b",
        "shared_budget_micros": 8,
        "priority": 2,
        "frequency_cap": 3,
        "frequency_period_s": 3600,
    }
    assert call(port, "POST", "/c1", terms).status == 200
    shown = call(port, "GET", "/c1").body["campaign"]
    assert {name: shown[name] for name in terms} == terms


def test_a_new_campaign_is_announced_only_on_request(port: int, book: MemoryBook) -> None:
    assert call(port, "POST", "/c2", {"daily_budget_micros": 7}).status == 404
    assert call(port, "POST", "/c1", {"daily_budget_micros": 7, "new": True}).status == 409
    assert call(port, "POST", "/c2", {"daily_budget_micros": 7, "new": "yes"}).body["field"] == "new"
    assert len(book.wrote) == 1
    assert call(port, "POST", "/c2", {"daily_budget_micros": 7, "new": True}).status == 200
    assert [each["campaign_id"] for each in call(port, "GET", "").body["campaigns"]] == ["c1", "c2"]


def test_the_same_again_writes_nothing(port: int, book: MemoryBook) -> None:
    assert call(port, "POST", "/c1", {"status": "active"}).status == 200
    assert len(book.wrote) == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "the body cannot be read"),
        (b'{"timezone":"\xff"}', 400, "the body cannot be read"),
        (b'{"\xff":1}', 400, "the body cannot be read"),
        (b"[]", 400, "the body cannot be read"),
        (b"[" * 100_000, 400, "the body cannot be read"),
        ({"daily_budget_micros": -1}, 422, "daily_budget_micros: expected"),
        ({"budget": 1}, 422, "budget is no field"),
        ({"timezone": "Mars/Olympus"}, 409, "no time zone has the name"),
        ({"curve": [0.1] * 24, "pacing": "curve"}, 409, "curve sums to 2.4; give shares"),
        ({"hourly_cap_micros": -1}, 422, "hourly_cap_micros: expected"),
        ({"dayparts": "funday 9-18"}, 409, "dayparts has the day 'funday'; there are mon"),
        ({"priority": 1}, 409, "priority needs a shared budget; give"),
        ({"frequency_cap": 3}, 409, "frequency_cap and frequency_period_s belong together"),
        (b" " * 3_000_000, 413, "the body has more than"),
    ],
)
def test_a_bad_change_is_one_sentence_and_nothing_is_written(
    body: Any, status: int, said: str, port: int, book: MemoryBook
) -> None:
    answer = call(port, "POST", "/c1", body)
    assert (answer.status, answer.body["error"][: len(said)]) == (status, said)
    assert len(book.wrote) == 1


def test_a_change_that_waits_or_was_overtaken_says_so(port: int, book: MemoryBook) -> None:
    book.fate = Written("waiting")
    waiting = call(port, "POST", "/c1", {"daily_budget_micros": 7})
    assert (waiting.status, waiting.body.get("in_force_ms")) == (202, None)
    book.fate = Written("overtaken")
    overtaken = call(port, "POST", "/c1", {"daily_budget_micros": 8})
    assert (overtaken.status, "came first and is in force" in overtaken.body["error"]) == (409, True)


@pytest.mark.parametrize("path", ["", "/c1", "/c1/history"])
def test_without_the_token_nothing_is_told_or_changed(path: str, port: int, book: MemoryBook) -> None:
    for token in ("", TOKEN[:-1], f"{TOKEN}x", "Ünicode"):
        assert ask(port, "GET", f"/v1/campaigns{path}", headers=_header(token)).status == 401
    assert ask(port, "GET", f"/v1/campaigns{path}").status == 401
    assert ask(port, "POST", "/v1/campaigns/c1", b'{"status":"paused"}', headers=_header("x")).status == 401
    assert len(book.wrote) == 1


def _header(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}".encode().decode("latin-1")}


def test_a_server_without_a_token_refuses_the_calls(book: MemoryBook) -> None:
    with server(serving_of(), book, token="") as port:
        for token in ("", "x"):
            answer = call(port, "POST", "/c1", {"status": "paused"}, token=token)
            assert (answer.status, "CLICKFOLD_CAMPAIGNS_TOKEN" in answer.body["error"]) == (403, True)
    assert len(book.wrote) == 1


def test_a_short_token_is_refused_at_start_and_none_is_printed() -> None:
    cluster = Cluster("kafka:9092")
    with pytest.raises(SettingsError, match="CLICKFOLD_CAMPAIGNS_TOKEN has 15 characters"):
        ServeSettings(cluster=cluster, campaigns_token="x" * (MIN_TOKEN_CHARS - 1))
    assert TOKEN not in repr(ServeSettings(cluster=cluster, campaigns_token=TOKEN))


def test_kafka_away_is_an_answer() -> None:
    class Away(MemoryBook):
        def all(self) -> Any:
            raise Transient("no broker answers")

    with server(serving_of(), Away()) as port:
        answer = call(port, "GET", "")
        assert (answer.status, answer.body["error"], answer.headers["retry-after"]) == (503, "no broker answers", "5")


def test_so_many_calls_are_under_way_and_no_more() -> None:
    calls = CampaignCalls(TOKEN, MemoryBook, Decisions())
    calls._running = MAX_AT_ONCE
    request: Any = type("Request", (), {"headers": {"authorization": f"Bearer {TOKEN}"}})()
    stopped = calls._stopped(request)
    assert stopped is not None
    assert stopped.status_code == 503
    calls._running -= 1
    assert calls._stopped(request) is None

"""Who may ask the embedded ClickHouse: nobody without the password, and without one no web page of others."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, cast

import pytest
from starlette.requests import Request

from streams.embedded.clickhouse import access, wire
from streams.embedded.clickhouse.faults import Faults

LOGIN = ("default", "secret")


class Unasked:
    """An engine that no statement may reach."""

    timezone = version = "of the engine"

    def open(self) -> None:
        raise AssertionError("opened")


def scope(path: str = "/", **headers: str) -> dict[str, Any]:
    sent = {"host": "127.0.0.1:8123", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "scheme": "http",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }


def status(login: tuple[str, str] | None, **headers: str) -> int | None:
    """The status of the refusal, None for whoever may ask."""
    refused = access.refusal(Request(scope(**headers)), login)
    return None if refused is None else refused.status_code


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def test_the_password_is_asked_for_and_only_the_right_one_opens() -> None:
    assert status(LOGIN) == 401
    assert status(LOGIN, authorization=basic(*LOGIN)) is None
    assert status(LOGIN, x_clickhouse_user="default", x_clickhouse_key="secret") is None
    for user, password in (("default", "secre"), ("default", "secret2"), ("other", "secret"), ("default", "")):
        assert status(LOGIN, authorization=basic(user, password)) == 403
        assert status(LOGIN, x_clickhouse_user=user, x_clickhouse_key=password) == 403


def test_credentials_are_the_same_only_if_user_and_password_each_are() -> None:
    assert wire.same(("user", "pass"), ("user", "pass"))
    assert not wire.same(("userp", "ass"), ("user", "pass"))
    assert not wire.same(("user", "pas"), ("user", "pass"))
    assert wire.same(("ü", "ß"), ("ü", "ß"))


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080"])
def test_without_a_password_programs_and_pages_of_this_machine_may_ask(origin: str) -> None:
    assert status(None) is None
    assert status(None, origin=origin) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://news.example"},
        {"origin": "http://localhost.news.example"},
        {"origin": "null"},
        {"host": "news.example:8123"},
        {"host": "news.example:8123", "origin": "http://localhost"},
    ],
)
def test_without_a_password_a_page_of_another_host_is_refused(headers: dict[str, str]) -> None:
    assert status(None, **headers) == 403


@pytest.mark.parametrize("path", ["/", "/-/faults"])
def test_every_path_that_does_something_asks_for_the_password_first(path: str) -> None:
    from streams.embedded.clickhouse.front import Front  # loads chDB

    front = Front(cast(Any, Unasked()), login=LOGIN, faults=Faults())
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"SELECT 1", "more_body": False}

    async def send(message: Any) -> None:
        answers.append(message)

    asyncio.run(front.application()(scope(path), receive, send))
    assert answers[0]["status"] == 401

"""The server against its own description: schemathesis makes calls of it, good and bad, and checks each answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from schemas.events import Campaign
from streams.serve.openapi import document
from tests.serving.campaigns import TOKEN, MemoryBook
from tests.serving.server import server, serving_of


def without_security() -> dict[str, Any]:
    """The description as for a client that sends the token: bad calls are bad in another way."""
    described = document()
    for calls in described["paths"].values():
        for call in calls.values():
            if isinstance(call, dict):
                call.pop("security", None)
    return described


SCHEMA = schemathesis.openapi.from_dict(without_security())
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def running() -> Iterator[str]:
    book = MemoryBook()
    book.write(Campaign("c1", 5_000_000, "UTC", "active", "even", 1), wait_s=0)
    with server(serving_of(), book) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("path", "method", "mode", "expected"),
    [
        ("/v1/predict", "POST", POSITIVE, {200}),
        ("/v1/predict", "POST", NEGATIVE, {400, 422}),
        ("/v1/model", "GET", POSITIVE, {200}),
        ("/v1/campaigns", "GET", POSITIVE, {200}),
        ("/v1/campaigns/{campaign_id}", "GET", POSITIVE, {200, 404}),
        ("/v1/campaigns/{campaign_id}/history", "GET", POSITIVE, {200, 404}),
        ("/v1/campaigns/{campaign_id}", "POST", POSITIVE, {200, 404, 409, 422}),
        ("/v1/campaigns/{campaign_id}", "POST", NEGATIVE, {400, 404, 409, 422}),
    ],
)
def test_every_answer_is_as_described(
    path: str, method: str, mode: GenerationMode, expected: set[int], running: str
) -> None:
    statuses = set()

    @settings(max_examples=200)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        case: Any = data.draw(SCHEMA[path][method].as_strategy(generation_mode=mode))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        statuses.add(case.call_and_validate(base_url=running, headers=headers).status_code)

    check()
    assert statuses <= expected
    assert statuses

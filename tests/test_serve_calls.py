"""Bodies of calls: each bound just inside and outside, and refusals that name the field, its value and the remedy."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from schemas.codec import encode
from schemas.events import MAX_FEATURES, MAX_ID_CHARS, MAX_TS_MS, MIN_TS_MS
from schemas.serving import MAX_CANDIDATES, PredictCall
from streams.serve.calls import BadCall, read_call
from tests.factories import T0
from tests.models.calls import calls

ONE = {"campaign_id": "c", "creative_id": "x"}


def body(candidates: Any = (ONE,), **more: Any) -> bytes:
    return json.dumps({"ts": T0, "candidates": list(candidates), **more}).encode()


def features(count: int, start: int = 0) -> dict[str, int]:
    return {f"f{number}": number for number in range(start, start + count)}


def refused(given: bytes) -> tuple[int, str | None, str]:
    found = read_call(given)
    assert isinstance(found, BadCall)
    return found.status, found.refused.field, found.refused.error


@given(calls())
def test_a_call_is_read_as_it_was_written(call: PredictCall) -> None:
    assert read_call(encode(call)) == call


@pytest.mark.parametrize(
    "inside",
    [
        body([ONE] * MAX_CANDIDATES),
        body(placement="p" * MAX_ID_CHARS),
        body(features=features(MAX_FEATURES)),
        body([{**ONE, "features": features(MAX_FEATURES - 1)}], features={"own": 1}),
        body([{**ONE, "features": features(MAX_FEATURES)}], features=features(MAX_FEATURES)),
        body([{**ONE, "features": {"t": "x" * 1_024, "b": True, "i": 2**63 - 1, "f": -1e308}}]),
        body(ts=float(T0)),
        body(ts=MIN_TS_MS),
        body(ts=MAX_TS_MS),
    ],
)
def test_a_call_at_a_bound_is_read(inside: bytes) -> None:
    assert isinstance(read_call(inside), PredictCall)


@pytest.mark.parametrize(
    ("outside", "field", "words"),
    [
        (body([]), "candidates", "length >= 1"),
        (body([ONE] * (MAX_CANDIDATES + 1)), "candidates", "length <= 1000"),
        (body([ONE, {"campaign_id": "", "creative_id": "x"}]), "candidates[1].campaign_id", "length >= 1"),
        (body(placement="p" * (MAX_ID_CHARS + 1)), "placement", "length <= 256"),
        (body(features=features(MAX_FEATURES + 1)), "features", "length <= 256"),
        (body(features={"n" * 257: 1}), "features", "length <= 256"),
        (body([{**ONE, "features": features(MAX_FEATURES)}], features={"own": 1}), "candidates[0].features", "256"),
        (body([{**ONE, "features": {"a": 1, "b": [1]}}]), "candidates[0].features.b", "[1]; give text"),
        (body([ONE, {**ONE, "features": {"b": {"c": 1}}}]), "candidates[1].features.b", '{"c": 1}; give text'),
        (body(features={"n": None}), "features.n", "null; give text"),
        (body(features={"n": 2**63}), "features.n", "finite number"),
        (body(features={"n": "x" * 1_025}), "features.n", "1,024 characters"),
        (body([{**ONE, "features": {"n": float("nan")}}]), "candidates[0].features.n", "NaN; give text"),
        (body([{**ONE, "features": {"n": float("inf")}}]), "candidates[0].features.n", "Infinity; give text"),
        (body(features={"n": 0}).replace(b"0}", b"1e999}"), "features.n", "finite number"),
        (body(ts=MIN_TS_MS - 1), "ts", ">= 946684800000"),
        (body(ts=MAX_TS_MS + 1), "ts", "<= 4102444799999"),
        (body(ts="now"), "ts", "expected `int`"),
        (body(user_id="u"), None, "unknown field `user_id`"),
        (body([{**ONE, "price": 1}]), "candidates[0]", "unknown field `price`"),
        (b"[]", None, "expected `object`"),
        (b"{}", None, "required field `ts`"),
    ],
)
def test_a_wrong_field_is_named_with_its_bound(outside: bytes, field: str | None, words: str) -> None:
    status, named, error = refused(outside)
    assert (status, named) == (422, field)
    assert words in error
    assert len(error) < 300


@pytest.mark.parametrize("broken", [b"", b"{", b"\xff", b'{"ts":1} {}', b"nul", b"[" * 100_000, body(ts=float("nan"))])
def test_a_body_that_is_no_json_is_refused_as_such(broken: bytes) -> None:
    status, _, error = refused(broken)
    assert status in (400, 422)
    assert "\n" not in error


def test_a_feature_that_is_nested_deeply_is_refused() -> None:
    deep = body(features={"n": 0}).replace(b"0}", b"[" * 100_000 + b"]" * 100_000 + b"}")
    assert refused(deep) == (422, None, "the call is nested too deeply; see /openapi.json")


def test_refusals_are_what_the_description_says() -> None:
    found = read_call(body(ts=1))
    assert isinstance(found, BadCall)
    assert msgspec.json.decode(encode(found.refused)).keys() == {"error", "field"}


@pytest.mark.parametrize("given", [b'{"placement":"\xff"}', b'{"\xff":1}', b'{"candidates":[{"campaign_id":"\xc3"}]}'])
def test_a_body_that_is_no_utf8_has_no_answer(given: bytes) -> None:
    assert refused(given)[0] == 400

"""One rule for every record that is read: what is taken, what is refused and why, on every path the same."""

from __future__ import annotations

import sys
from typing import Any

import orjson
import pytest

from schemas.codec import decoder
from schemas.events import MAX_RECORD_BYTES, Click, Impression
from schemas.reading import MAX_NESTING, ReadImpression, Unreadable, read, read_impression, read_seal, too_deep
from schemas.rejects import Reason
from schemas.seals import Seal, Start
from tests.factories import click_json, impression_json


def nested(depth: int, *, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """A click with a field that clickfold does not know, nested so deep that the record as a whole has this depth."""
    return click_json("k")[:-1] + b',"more":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b"}"


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")], ids=["arrays", "objects", "both"]
)
def test_nesting_is_bounded_at_sixteen_levels(opening: bytes, closing: bytes) -> None:
    levels = opening.count(b"[") + opening.count(b"{")
    most = (MAX_NESTING - 1) // levels + 1
    assert isinstance(read(nested(most, opening=opening, closing=closing), decoder(Click).decode), Click)
    refused = read(nested(most + 1, opening=opening, closing=closing), decoder(Click).decode)
    assert isinstance(refused, Unreadable)
    assert refused.reason == Reason.TOO_DEEP


@pytest.mark.parametrize(
    "text", ["[" * 40, '\\"' + "{" * 40, "\\\\", "]" * 40], ids=["brackets", "quote", "backslash", "closing"]
)
def test_brackets_in_strings_are_no_nesting(text: str) -> None:
    value = orjson.dumps({"click_id": text, "impression_id": "a", "ts": 1_700_000_000_000, "more": "[{" * 30})
    assert not too_deep(value)


def test_brackets_side_by_side_are_no_nesting() -> None:
    assert isinstance(read(click_json("k")[:-1] + b',"more":[' + b"[]," * 99 + b"[]]}", decoder(Click).decode), Click)


def test_what_is_taken_is_taken_however_deep_the_caller_is() -> None:
    """A record that was good live must be good in a recovery that decodes from deeper in its stack."""

    def deeper(frames: int, value: bytes) -> Any:
        return read(value, decoder(Click).decode) if frames == 0 else deeper(frames - 1, value)

    frames = sys.getrecursionlimit() - 120
    for depth in (MAX_NESTING, MAX_NESTING + 1, 900, 100_000):
        here, there = read(nested(depth), decoder(Click).decode), deeper(frames, nested(depth))
        assert here == there
        assert isinstance(here, Click) == (depth <= MAX_NESTING)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.TOMBSTONE),
        (b" " * (MAX_RECORD_BYTES + 1), Reason.TOO_LARGE),
        (b"", Reason.UNDECODABLE),
        (b"{", Reason.UNDECODABLE),
        (b'{"click_id":"\xff"}', Reason.UNDECODABLE),
    ],
    ids=["tombstone", "too large", "empty", "cut off", "not UTF-8"],
)
def test_a_bad_record_has_a_reason(value: bytes | None, reason: Reason) -> None:
    refused = read(value, decoder(Click).decode)
    assert isinstance(refused, Unreadable)
    assert refused.reason == reason


@pytest.mark.parametrize(
    ("features", "usable", "left_out"),
    [
        ({"age": None, "w": 1}, {"w": 1}, 1),
        ({"tags": ["a", "b"]}, None, 1),
        ({"big": 2**63}, None, 1),
        ({"big": 2**63 - 1, "low": -(2**63)}, {"big": 2**63 - 1, "low": -(2**63)}, 0),
        ({"deep": {"a": 1}, "b": True}, {"b": True}, 1),
        ({"long": "x" * 1_025, "fits": "x" * 1_024}, {"fits": "x" * 1_024}, 1),
        ({"n" * 257: 1, "n" * 256: 2}, {"n" * 256: 2}, 1),
        ({str(number): number for number in range(257)}, {str(number): number for number in range(256)}, 1),
        ([1, 2], None, 1),
        ("text", None, 1),
        (None, None, 0),
    ],
    ids=[
        "null",
        "list",
        "2^63",
        "int64",
        "nested",
        "long text",
        "long name",
        "257",
        "no object",
        "text",
        "none at all",
    ],
)
def test_a_feature_that_no_model_can_use_is_left_out_and_the_impression_stays(
    features: object, usable: dict[str, Any] | None, left_out: int
) -> None:
    shown = read_impression(impression_json("a", features=features))
    assert isinstance(shown, ReadImpression)
    assert (shown.impression.features, shown.features_left_out) == (usable, left_out)
    assert decoder(Impression).decode(shown.payload) == shown.impression


def test_a_number_too_large_for_a_float_is_left_out() -> None:
    value = impression_json("a", features={"x": 0}).replace(b'{"x":0}', b'{"x":1e999,"y":2}')
    shown = read_impression(value)
    assert isinstance(shown, ReadImpression)
    assert (shown.impression.features, shown.features_left_out) == ({"y": 2}, 1)


def test_bad_features_do_not_excuse_another_bad_field() -> None:
    refused = read_impression(impression_json("a", price_micros=-1, features={"x": None}))
    assert isinstance(refused, Unreadable)
    assert "price_micros" in refused.detail


GOOD_SEAL = b'{"record":"seal","input":"clicks","partition":3,"next_offset":5,"floor_ms":1700000000000,"epoch":7}'


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"3", b"{", Reason.UNDECODABLE),
        (b"3", b"", Reason.UNDECODABLE),
        (b"3", b"\xff", Reason.UNDECODABLE),
        (b"3", None, Reason.TOMBSTONE),
        (b"3", b"[" * 5_000, Reason.TOO_DEEP),
        (b"3", b" " * 900_000, Reason.TOO_LARGE),
        (None, GOOD_SEAL, Reason.KEY),
        (b"2", GOOD_SEAL.replace(b'partition":3', b'partition":2'), Reason.KEY),
        (b"3", GOOD_SEAL.replace(b'partition":3', b'partition":2'), Reason.KEY),
        (b"3", GOOD_SEAL.replace(b"1700000000000", b"9700000000000"), Reason.FUTURE),
    ],
)
def test_a_bad_seal_has_a_reason(key: bytes | None, value: bytes | None, reason: Reason) -> None:
    refused = read_seal(key, value, 3)
    assert isinstance(refused, Unreadable)
    assert refused.reason == reason


def test_seals_and_starts_of_the_partition_are_taken() -> None:
    assert read_seal(b"3", GOOD_SEAL, 3) == Seal("clicks", 3, 5, 1_700_000_000_000, 7)
    assert read_seal(b"3", b'{"record":"start","epoch":4}', 3) == Start(4)

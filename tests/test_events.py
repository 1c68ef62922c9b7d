"""Decoding of what users send: an integer may be written as a float when it is whole."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import inspect

from schemas.events import INTEGER_FIELDS, Campaign, Click, Impression, decode_event
from tests.factories import T0, click_json, impression_json


def _is_integer(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return _is_integer(kind.type)
    if isinstance(kind, inspect.UnionType):
        return any(map(_is_integer, kind.types))
    return isinstance(kind, inspect.IntType)


def test_the_integer_fields_are_those_of_the_types() -> None:
    structs = [inspect.type_info(kind) for kind in (Impression, Click, Campaign)]
    fields = [field for struct in structs if isinstance(struct, inspect.StructType) for field in struct.fields]
    assert {each.name for each in fields if _is_integer(each.type)} == INTEGER_FIELDS


def test_a_whole_number_written_as_a_float_is_the_integer() -> None:
    plain = decode_event(impression_json("a", T0, bid_micros=7), Impression)
    assert decode_event(impression_json("a", float(T0), price_micros=5.0, bid_micros=7.0), Impression) == plain
    exponent = b'{"click_id":"k","impression_id":"a","ts":1.7e12}'
    assert decode_event(exponent, Click) == decode_event(click_json("k", "a", T0), Click)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (impression_json("a", T0 + 0.5), "ts"),
        (impression_json("a", float(T0), price_micros=0.35), "price_micros"),
        (impression_json("a", 1.7e9), "ts"),
        (impression_json("a", str(T0)), "ts"),
        (impression_json("a", float(T0), price_micros=-1.0), "price_micros"),
        (impression_json("a", float(T0), features={"large": 2**63}), "features"),
        (b'{"click_id":"k","impression_id":"a"}', "ts"),
        (b"[1.0]", "object"),
    ],
)
def test_any_other_float_is_refused_with_the_field(line: bytes, why: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=why):
        decode_event(line, Click) if b"click_id" in line else decode_event(line, Impression)


def test_a_float_above_the_exact_whole_numbers_is_refused() -> None:
    campaign = (
        b'{"campaign_id":"c","daily_budget_micros":5.0,"timezone":"UTC","status":"active","pacing":"even","version":%s}'
    )
    assert decode_event(campaign % b"9007199254740992.0", Campaign).version == 2**53
    with pytest.raises(msgspec.ValidationError, match="version"):
        decode_event(campaign % b"9007199254740994.0", Campaign)

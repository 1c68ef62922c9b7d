"""Why a line was refused: the sentence names the value, what it looks like, and what to give instead."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.events import Click, Impression, decode_event
from schemas.rejects import Reason
from streams.inputs.refusals import why
from tests.factories import T0

GOOD: dict[str, Any] = {"impression_id": "i", "ts": T0, "campaign_id": "c", "creative_id": "x", "price_micros": 5}


def refusal(line: bytes, log: str = "impressions") -> str:
    with pytest.raises((ValueError, RecursionError)) as refused:
        decode_event(line, Impression) if log == "impressions" else decode_event(line, Click)
    return why(log, line, Reason.UNDECODABLE, str(refused.value))


@pytest.mark.parametrize(
    ("ts", "said"),
    [
        (b"1700000000", "looks like seconds (2023-11-14T22:13:20Z); clickfold wants milliseconds since 1970: 17000"),
        (b"1700000000.25", "looks like seconds (2023-11-14T22:13:20.250Z)"),
        (b"1.7e9", "looks like seconds"),
        (b"1700000000000005", "looks like microseconds"),
        (b"1700000000000000005", "looks like nanoseconds"),
        (b"638355968000000000", "looks like .NET ticks (2023-11-14T22:13:20Z)"),
        (b"20130311172101557", "digits of a date (2013-03-11T17:21:01.557Z)"),
        (b"20130311172101", "digits of a date (2013-03-11T17:21:01Z)"),
        (b"20130311", "digits of a date"),
        (b"1700000000000.5", "a fraction of a millisecond"),
        (b'"2023-11-14T22:13:20.000Z"', "is ISO 8601 text; clickfold wants milliseconds since 1970: 1700000000000"),
        (b'"2023-11-15 00:13:20+02:00"', "1700000000000"),
        (b'"2023-11-14 22:13:20.123"', "1700000000123 if it is UTC"),
        (b'"1700000000000"', "give the number 1700000000000 without quotes"),
        (b'"1700000000"', "is text and looks like seconds"),
        (b'"yesterday"', "'yesterday' is text"),
        (b"3", "is below 946684800000 (2000-01-01T00:00:00Z)"),
        (b"-1", "is below"),
        (b"1" + b"0" * 300, "is above 4102444799999"),
        (b"null", "ts is null"),
        (b"true", "ts is true, not a number"),
        (b'{"$numberLong":"1"}', "not a number"),
    ],
)
def test_a_wrong_ts_is_named_with_what_it_looks_like(ts: bytes, said: str) -> None:
    line = orjson.dumps(GOOD).replace(str(T0).encode(), ts)
    assert said in refusal(line)
    assert "ts" in refusal(b'{"click_id":"k","impression_id":"i","ts":%s}' % ts, "clicks")


@pytest.mark.parametrize(
    ("price", "said"),
    [
        (b"0.35", "price_micros 0.35 looks like currency units; clickfold wants integer micros: 350000"),
        (b"1e-05", "looks like currency units; clickfold wants integer micros: 10"),
        (b'"0.35"', 'price_micros "0.35" looks like currency units; clickfold wants integer micros: 350000'),
        (b'"500000"', "give the number 500000 without quotes"),
        (b'"EUR 5"', "which is no number"),
        (b'"nan"', "which is no number"),
        (b"-5", "below 0"),
        (b"1000000000001", "above 1000000000000"),
        (b"123456.5", "no whole number"),
        (b"null", "price_micros is null"),
        (b"[1]", "integer micros"),
    ],
)
def test_a_wrong_price_is_named_with_the_micros_wanted(price: bytes, said: str) -> None:
    assert said in refusal(orjson.dumps(GOOD).replace(b'micros":5', b'micros":' + price))


def test_a_number_in_place_of_an_id_is_quoted_with_all_its_digits() -> None:
    for digits in (b"4060741400040636189", b"123456789012345678901234567890"):
        said = refusal(orjson.dumps(GOOD).replace(b'"i"', digits))
        assert said == (f'impression_id {digits.decode()} is a number; ids are strings: write "{digits.decode()}"')


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"schema":"x","data":{"impression_id":"i"}}', "it is inside 'data'"),
        (b'{"request":"x","imp":[{"impression_id":"1"}]}', "it is inside 'imp'"),
        (b'{"impressionId":"i","ts":1700000000000}', "is it 'impressionId', which is \"i\"? Name it impression_id"),
        (orjson.dumps({**GOOD, "ts": None}).replace(b'"ts":null', b'"timestamp":1700000000'), "is it 'timestamp'"),
        (orjson.dumps(GOOD).replace(b'"price_micros":5', b'"cpc":"0.35"'), "350000"),
        (orjson.dumps(GOOD).replace(b'"price_micros":5', b'"colour":"red"'), "price_micros is missing; the line has"),
        (b"{}", "the line has no fields"),
        (b'{"click_id":"k","impression_id":"i","ts":1700000000000}', "looks like one of clicks"),
        (b'{"a":1}{"a":2}', "several objects are on one line"),
        (b"nonsense", "'nonsense' is no JSON object"),
        (b'["a"]', '["a"] is no JSON object'),
        (b"\xff\xfe", "is no JSON object"),
        (b'{"a":' * 5_000, "is no JSON object"),
        (orjson.dumps({**GOOD, "pctr": 3.5}), "looks like percent; give a share such as 0.035"),
        (orjson.dumps({**GOOD, "arm": 5}), "arm is 5"),
        (orjson.dumps({**GOOD, "impression_id": ""}), 'impression_id is ""'),
    ],
)
def test_what_else_is_wrong_is_said_with_the_value(line: bytes, said: str) -> None:
    assert said in refusal(line)


def test_a_long_value_is_cut() -> None:
    assert len(refusal(orjson.dumps({**GOOD, "campaign_id": "c" * 100_000}))) < 300

"""Why a line was refused: the sentence names the value, what it looks like, and what to give instead."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from schemas.events import Campaign, Click, Impression, decode_event
from schemas.rejects import Reason
from streams.inputs.refusals import why
from tests.factories import T0, click_json, impression_json

GOOD: dict[str, Any] = {"impression_id": "i", "ts": T0, "campaign_id": "c", "creative_id": "x", "price_micros": 5}

CAMPAIGN: dict[str, Any] = {
    "campaign_id": "c",
    "daily_budget_micros": 5,
    "timezone": "UTC",
    "status": "active",
    "pacing": "even",
    "version": 1,
}


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
        (b'"2023-11-14t22:13:20z"', "is ISO 8601 text; clickfold wants milliseconds since 1970: 1700000000000"),
        (b'"2023-318T24:00"', "1700006400000 if it is UTC"),
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
        (b"0.0000001", "price_micros 1E-7 is no whole number"),
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
        (b'{"a":' * 5_000, "is no JSON object"),
        (orjson.dumps({**GOOD, "pctr": 3.5}), "looks like percent; give a share such as 0.035"),
        (orjson.dumps({**GOOD, "arm": 5}), 'arm 5 is a number; it must be a string: write "5"'),
        (orjson.dumps({**GOOD, "arm": True}), "arm is true, not a string"),
        (orjson.dumps({**GOOD, "impression_id": ""}), 'impression_id is "", an empty text'),
        (orjson.dumps({**GOOD, "impression_id": "i" * 10_000}), "…, 10,000 characters; give at most 256"),
        (orjson.dumps({**GOOD, "pctr": "0.1"}), 'pctr "0.1" is text; give the number 0.1 without quotes'),
        (orjson.dumps({**GOOD, "pctr": -0.1}), "pctr is -0.1; give a share from 0 to 1"),
        (orjson.dumps({**GOOD, "pctr": "low"}), 'pctr is "low"; give a share from 0 to 1'),
        (b'{"IMPRESSION_ID":"i","TS":1700000000000}', "is it 'IMPRESSION_ID', which is \"i\"? Name it impression_id"),
    ],
)
def test_what_else_is_wrong_is_said_with_the_value(line: bytes, said: str) -> None:
    assert said in refusal(line)


GOOD_LINE = orjson.dumps(GOOD)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (GOOD_LINE.replace(b'"c"', b'"caf\xe9"'), "is not UTF-8: byte 0xe9 at column 59; as Latin-1 it reads '"),
        (b"\xff\xfe", "is not UTF-8: byte 0xff at column 1"),
        (GOOD_LINE.replace(b'"i"', b'"\xed\xa0\x80"'), "byte 0xed at column 19 begins half of a surrogate pair"),
        (GOOD_LINE.replace(b'"i"', b'"\\ud800"'), r'impression_id has half of a surrogate pair, "\ud800"'),
        (GOOD_LINE.replace(b"5}", b'5,"features":{"a":"\\ud800"}}'), "features.a has half of a surrogate pair"),
        (GOOD_LINE.replace(b"5}", b'5,"features":{"\\udc00":1}}'), "has half of a surrogate pair"),
        (GOOD_LINE.replace(b"5}", b"NaN}"), "price_micros is NaN, which JSON does not have"),
        (
            GOOD_LINE.replace(b"5}", b'5,"features":{"a":[1,-Infinity]}}'),
            "features.a is -Infinity, which JSON does not",
        ),
        (GOOD_LINE.replace(str(T0).encode(), b"1e400"), "ts is 1E+400, too large for a number of 64 bits"),
        (GOOD_LINE + b",", "a comma ends the line, as within a JSON array"),
        (
            GOOD_LINE.replace(b"5}", b"None}"),
            "column 92: after ':\"x\",\"price_micros\":' comes 'None}'; JSON writes null",
        ),
        (GOOD_LINE.replace(b"5}", b"5,}"), "is no JSON at column 94: after "),
        (GOOD_LINE.replace(b'"ts"', b"ts"), "comes 'ts:1700000000000,\"c"),
        (GOOD_LINE.replace(b'"i"', b'"i\x00"'), r"comes '\x00"),
        (GOOD_LINE[:50], "the line ends within its object: '"),
        (GOOD_LINE[:58], "the line ends within its object: '"),
        (b"\x00" * 4_096, "the line is 4,096 NUL bytes"),
        (b"\xef\xbb\xbf" + GOOD_LINE, "a byte order mark is before the object, as where files were joined"),
        (b"# exported by a tool", "'# exported by a tool' is no JSON object; give one object a line"),
    ],
)
def test_a_line_that_is_no_json_is_said_by_place_and_value(line: bytes, said: str) -> None:
    assert said in refusal(line)


def test_a_conflict_names_the_id() -> None:
    for log, line in (("clicks", click_json("k1")), ("impressions", impression_json("i1"))):
        name = '"k1"' if log == "clicks" else '"i1"'
        assert f"_id {name} came before with other content" in why(log, line, Reason.CONFLICT, "as the join says")
        assert why(log, line[:20], Reason.CONFLICT, "as the join says") == "as the join says"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("daily_budget_micros", -1, "daily_budget_micros is -1, below 0; give 0 or more"),
        ("daily_budget_micros", 10**15 + 1, "above 1000000000000000, a billion currency units"),
        ("status", "ACTIVE", 'status is "ACTIVE"; give active or paused'),
        ("pacing", "fast", 'pacing is "fast"; give even or asap'),
        ("version", "1", 'version is "1"; give a whole number from 0'),
        ("currency", 5, 'currency 5 is a number; it must be a string: write "5"'),
    ],
)
def test_a_wrong_field_of_a_campaign_is_named_with_its_bound(field: str, value: object, said: str) -> None:
    line = orjson.dumps({**CAMPAIGN, field: value})
    with pytest.raises(msgspec.ValidationError) as refused:
        decode_event(line, Campaign)
    assert said in why("campaigns", line, Reason.UNDECODABLE, str(refused.value))


def test_a_long_value_is_cut() -> None:
    assert len(refusal(orjson.dumps({**GOOD, "campaign_id": "c" * 100_000}))) < 300

"""A mapping gives the event that its rules describe, or refuses the record and names file, line, rule and value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import SettingsError
from schemas.events import MAX_TS_MS, MIN_TS_MS
from streams.mapping.language import read_mapping
from streams.mapping.money import Money
from streams.mapping.paths import field_path, field_pattern, walk
from streams.mapping.rows import JsonReader, ObjectRows
from streams.mapping.times import UNITS, Times
from streams.mapping.values import LocalMs, Ms, Unfit
from tests.mapped import CLICKS, IMPRESSIONS, REST, compiled, mapped, one

MS = 1_700_000_000_123
RECORD = {"i": "i1", "t": MS, "c": "c1", "a": "x", "p": 5}


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ('"t"', MS, MS),
        ('"t"', str(MS), MS),
        ('{ path = "t", unit = "s" }', MS // 1_000, MS - 123),
        ('{ path = "t", unit = "s" }', 1_700_000_000.123, MS),
        ('{ path = "t", unit = "s" }', "1700000000.1239", MS),
        ('{ path = "t", unit = "us" }', MS * 1_000 + 999, MS),
        ('{ path = "t", unit = "ns" }', MS * 1_000_000 + 999_999, MS),
        ('{ path = "t", unit = "iso" }', "2023-11-14T22:13:20.123Z", MS),
        ('{ path = "t", unit = "iso" }', "2023-11-14 22:13:20.123", MS),
        ('{ path = "t", unit = "iso" }', "2023-11-15T07:13:20.123+09:00", MS),
        ('{ path = "t", unit = "iso", zone = "Asia/Tokyo" }', "2023-11-15 07:13:20.123", MS),
        # The hour that Berlin has twice is the first of both, in summer time.
        ('{ path = "t", unit = "iso", zone = "Europe/Berlin" }', "2023-10-29 02:30:00", 1_698_539_400_000),
        ('{ path = "t", pattern = "%Y%m%d%H%M%S%f" }', 20231114221320123, MS),
        ('{ path = "t", pattern = "%d/%b/%Y:%H:%M:%S %z" }', "15/Nov/2023:00:13:20 +0200", MS - 123),
        ('{ path = "t", unit = "s", origin = "2023-11-14T22:13:20Z" }', 7, MS - 123 + 7_000),
    ],
)
def test_times_of_each_unit_and_notation_become_ms(rule: str, value: Any, expected: int) -> None:
    assert one(IMPRESSIONS + f'ts = {rule}\nprice_micros = "p"', RECORD | {"t": value})["ts"] == expected


@pytest.mark.parametrize(
    ("rule", "value", "why"),
    [
        (
            '{ path = "t", unit = "s" }',
            MS,
            f'{MS} as s is the year 55,840; unit = "ms" gives 2023-11-14T22:13:20+00:00',
        ),
        ('"t"', 1_700_000_000, '1700000000 as ms is the year 1970; unit = "s" gives 2023-11-14T22:13:20+00:00'),
        ('"t"', "2023-11-14", '"2023-11-14" is no number; text of a time needs unit = "iso" or a pattern'),
        ('{ path = "t", unit = "iso" }', "soon", '"soon" is no ISO 8601'),
        ('{ path = "t", unit = "iso" }', MS, f"{MS} is no text of ISO 8601"),
        ('{ path = "t", pattern = "%Y%m%d" }', "2023-11", '"2023-11" is not of the form %Y%m%d'),
        ('{ path = "t", unit = "s" }', True, "true is no number"),
        ('{ path = "t", unit = "s" }', None, "there is no t"),
        ('"t"', MS + 0.5, "is a fraction of a millisecond"),
        # Numbers that would take minutes to write out.
        ('{ path = "t", unit = "s" }', "1e3000000", '"1e3000000" is no number'),
        ('{ path = "t", unit = "s" }', "9" * 5_000, "is no number"),
        ('{ path = "t", unit = "s" }', "123456789012345678901234567890.5", "as s is the year"),
    ],
)
def test_a_time_that_is_none_is_refused_by_file_line_rule_and_value(rule: str, value: Any, why: str) -> None:
    said = one(IMPRESSIONS + f'ts = {rule}\nprice_micros = "p"', RECORD | {"t": value})
    assert said.startswith("m.toml line 5, ts: ")
    assert why in said


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ('"p"', 5, 5),
        ('"p"', "350000", 350_000),
        ('{ path = "p", unit = "units" }', 0.35, 350_000),
        ('{ path = "p", unit = "units" }', "0.35", 350_000),
        ('{ path = "p", unit = "units" }', 1e-05, 10),
        ('{ path = "p", unit = "cents" }', 12.5, 125_000),
        ('{ path = "p", unit = "micros" }', 2.5, 2),
        ('{ path = "p", unit = "micros" }', 3.5, 4),
        # 4 units for a thousand impressions, of which two are clicked: 2 units a click.
        ('{ path = "p", unit = "units", cpm = true, click_rate = 0.002 }', 4, 2_000_000),
        ('{ path = "p", unit = "units", cpm = true, click_rate = "r" }', 4, 2_000_000),
        ('{ path = "p", unit = "units", cpm = true, click_rate = 1 }', "4", 4_000),
        ('{ path = "p", unit = "units", decimal = "," }', "0,35", 350_000),
        ('{ path = "p", unit = "units", decimal = "," }', "1.234", 1_234_000_000),
        ('{ path = "p", unit = "units", decimal = "," }', 1.234, 1_234_000),
        ('{ path = "p", unit = "units", currency = "$" }', "$0.20", 200_000),
        ('{ path = "p", unit = "units", currency = "EUR", decimal = "," }', " 0,20 EUR ", 200_000),
    ],
)
def test_amounts_of_each_unit_become_micros(rule: str, value: Any, expected: int) -> None:
    found = one(IMPRESSIONS + f'ts = "t"\nprice_micros = {rule}', RECORD | {"p": value, "r": 0.002})
    assert found["price_micros"] == expected


@pytest.mark.parametrize(
    ("rule", "value", "why"),
    [
        ('"p"', 0.35, '0.35 has a fraction; give its unit: "micros", "cents" or "units"'),
        ('{ path = "p", unit = "units" }', -1, "-1 is below 0"),
        ('{ path = "p", unit = "units" }', 1_000_001, "1000001 units is above a million currency units"),
        ('{ path = "p", unit = "units" }', "free", '"free" is no number'),
        ('{ path = "p", unit = "units" }', "1e-99999999", '"1e-99999999" is no number'),
        ('{ path = "p", unit = "units", cpm = true, click_rate = "r" }', 4, "there is no r, the click rate"),
        ('{ path = "p", unit = "units", cpm = true, click_rate = "c" }', 4, '"c1" is no number'),
        ('{ path = "p", unit = "units", decimal = "," }', "0.35", '"0.35" is no number with a decimal comma'),
        ('{ path = "p", unit = "units", decimal = "," }', "1,234.5", '"1,234.5" is no number with a decimal comma'),
        ('{ path = "p", unit = "units", currency = "$" }', "€0.20", '"€0.20" is no number'),
    ],
)
def test_an_amount_that_is_none_is_refused(rule: str, value: Any, why: str) -> None:
    said = one(IMPRESSIONS + f'ts = "t"\nprice_micros = {rule}', RECORD | {"p": value})
    assert said == f"m.toml line 6, price_micros: {why}"


def test_ids_are_texts_digits_joined_fields_or_hashes() -> None:
    text = '[clicks]\nclick_id = { join = ["u", "t"], with = "-" }\nimpression_id = "i"\nts = "t"\n'
    assert one(text, {"i": 4060741400040636189, "u": 7, "t": MS}, log="clicks") == {
        "click_id": f"7-{MS}",
        "impression_id": "4060741400040636189",
        "ts": MS,
    }
    assert "there is no u or t" in one(text, {"i": 1, "t": MS}, log="clicks")
    assert "1.5 has a fraction; an id is a text or a whole number" in one(
        text, {"i": 1.5, "u": 7, "t": MS}, log="clicks"
    )
    hashed = IMPRESSIONS + REST + 'user_id = { path = "u", hash_with = "SALT" }'
    first, again, other = (
        one(hashed, RECORD | {"u": "ann"}, salts={"SALT": salt})["user_id"] for salt in ("a", "a", "b")
    )
    assert first == again != other
    assert len(first) == 32
    assert "ann" not in first
    with pytest.raises(SettingsError, match=r"m.toml line 7, user_id: the variable SALT is empty"):
        mapped(hashed, RECORD, salts={"SALT": ""})


def test_the_first_path_that_is_there_counts_and_defaults_and_constants_fill_in() -> None:
    text = """
[impressions]
impression_id = ["i", "data.i", "imp[0].id", "imp[-1].id", "['odd.name']"]
ts = "t"
campaign_id = { path = "c", default = "none" }
creative_id = { constant = 7 }
price_micros = { constant = 0.5, unit = "units" }
country = "geo.country"
"""
    records: tuple[dict[str, Any], ...] = (
        {"i": "x"},
        {"data": {"i": "x"}},
        {"imp": [{"id": "x"}]},
        {"i": None, "imp": [{}, {"id": "x"}]},
        {"odd.name": "x", "data": None, "imp": {}},
    )
    for record in records:
        found = one(text, record | {"t": MS, "geo": {"country": "de"}})
        assert found == {
            "impression_id": "x",
            "ts": MS,
            "campaign_id": "none",
            "creative_id": "7",
            "price_micros": 500_000,
            "country": "de",
        }
    assert "country" not in one(text, {"i": "x", "t": MS, "geo": None})


def test_features_come_by_name_and_by_pattern_and_the_named_one_counts() -> None:
    text = (
        IMPRESSIONS
        + REST
        + """
feature_patterns = ["f.*", "w_*"]
[impressions.features]
os = "device.os"
age = { path = "age", as = "number" }
"""
    )
    record: dict[str, Any] = {
        **RECORD,
        "f": {"x": 1, "os": "none", "z": [1]},
        "w_1": True,
        "device": {"os": "ios"},
        "age": "41",
    }
    expected = {"w_1": True, "x": 1, "os": "ios", "z": [1], "age": 41}
    assert one(text, record)["features"] == expected
    assert one(text, RECORD | {"f": 3, "age": "old"}) == 'm.toml line 11, features.age: "old" is no number'


def test_conditions_give_both_inputs_from_one_source() -> None:
    text = f"""{CLICKS}ts = "t"
[clicks.where]
event = "click"
n = 1
"x.y" = {{ not = ["test"] }}
z = {{ exists = false }}
"""
    good = {"k": "k", "i": "i", "t": MS, "event": "click", "n": 1}
    others = [
        good | change for change in ({"event": "view"}, {"n": 2}, {"x": {"y": "test"}}, {"z": 0}, {"event": None})
    ]
    found = mapped(text, good, good | {"n": "1"}, good | {"n": 1.0}, *others, log="clicks")
    assert (found.places, found.others, found.refused) == ([0, 1, 2], 5, {})


def test_a_word_for_nothing_counts_as_absent() -> None:
    text = IMPRESSIONS + REST + 'country = "g"\nnull = ["null", "-"]'
    assert "country" not in one(text, RECORD | {"g": "null"})
    assert one(text, RECORD | {"i": "-"}) == "m.toml line 2, impression_id: there is no i"


def test_each_bad_record_is_refused_by_itself_and_the_others_pass() -> None:
    records: list[Any] = [
        RECORD,
        b"{",
        b"[1]",
        RECORD | {"p": "x"},
        RECORD | {"i": ""},
        RECORD | {"i": {"a": 1}},
        RECORD,
    ]
    found = mapped(IMPRESSIONS + REST, *records)
    assert found.places == [0, 6]
    assert {place: why.rule for place, why in found.refused.items()} == {
        1: "",
        2: "",
        3: "price_micros",
        4: "impression_id",
        5: "impression_id",
    }
    assert found.refused[2].detail == "it is no JSON object"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[impresions]\n", "m.toml line 1: no input has the name 'impresions'; give [impressions] or [clicks]"),
        ("", "m.toml maps nothing"),
        (CLICKS, "m.toml line 1: there is no rule for ts, which each event needs"),
        (CLICKS + 'ts = "t"\nts = "u"', "m.toml line 5: there are two rules for ts; keep one"),
        (CLICKS + 'ts = "t"\n[clicks]', "there are two rules for clicks"),
        (CLICKS + 'ts = "t"\ntts = "u"', "m.toml line 5: clicks have no field 'tts'; is it ts?"),
        (
            CLICKS + 'ts = { path = "t", unti = "s" }',
            "m.toml line 4, ts: a rule of this field has no key 'unti'; it has",
        ),
        (CLICKS + 'ts = { path = "t", unit = "h" }', 'm.toml line 4, ts: no time has the unit "h"; give s, ms'),
        (CLICKS + 'ts = { path = "t", zone = "Mars" }', "m.toml line 4, ts: no time zone has the name 'Mars'"),
        (CLICKS + 'ts = { path = "t", origin = "x" }', "m.toml line 4, ts: the origin 'x' is no ISO 8601"),
        (CLICKS + 'ts = { path = "t", unit = "s", pattern = "%Y" }', "ts: give a unit or a pattern, not both"),
        (CLICKS + "ts = { unit = 's' }", "m.toml line 4, ts: give one of path, join and constant"),
        (CLICKS + 'ts = "a..b"', "m.toml line 4, ts: 'a..b' is no path from its character 2 on"),
        (CLICKS + 'ts = "[0]"', "'[0]' is no path: it begins with the name of a field"),
        (CLICKS + "ts = 5", "m.toml line 4, ts: 5 is no path; a fixed value is { constant = … }"),
        (CLICKS + 'ts = { path = "t", optional = "yes" }', "m.toml line 4, ts: Expected `bool`, got `str`"),
        (CLICKS + 'ts = { constant = "never" }', 'm.toml line 4, ts: "never" is no number'),
        (CLICKS + 'ts = "t\n', "m.toml line 4 is no TOML: "),
        (CLICKS + 'ts = "t"\n[clicks.where]\na.b = "x"', 'a path with dots is in quotes: "a.b" = …'),
        (
            CLICKS + 'ts = "t"\n[clicks.features]\na = "x"',
            "m.toml line 5: clicks have no field 'features'; they have click_id",
        ),
        (IMPRESSIONS + REST + 'feature_patterns = ["a"]', "m.toml line 7: 'a' is no pattern"),
        (IMPRESSIONS + 'ts = "t"\nprice_micros = { path = "p", unit = "eur" }', 'no amount has the unit "eur"'),
        (IMPRESSIONS + 'ts = "t"\nprice_micros = { path = "p", cpm = true }', "for a thousand needs its unit"),
        (
            IMPRESSIONS + 'ts = "t"\nprice_micros = { path = "p", unit = "units", cpm = true }',
            "m.toml line 6, price_micros: a click costs what the impressions cost that it takes; give click_rate",
        ),
        (IMPRESSIONS + 'ts = "t"\nprice_micros = { path = "p", currency = "-" }', "currency is '-'; give the sign"),
        (IMPRESSIONS + REST + '[impressions.features]\na = { path = "a", decimal = "," }', 'give as = "number" too'),
        (IMPRESSIONS + REST + '[impressions.table]\ndelimiter = ";;"', "m.toml line 8: ';;' is not one character"),
    ],
)
def test_a_mapping_that_means_nothing_is_refused_with_file_line_and_rule(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        [compiled(text, one_input) for one_input in read_mapping(text, "m.toml").inputs]
    assert said in str(refused.value)


def test_the_digest_is_of_what_a_mapping_says_and_not_of_how_it_is_written() -> None:
    text = CLICKS + 'ts = { path = "t", unit = "s" }'
    again = f'# as before\n[clicks]\n{CLICKS.splitlines()[2]}\nclick_id = "k"\nts.unit = "s"\nts.path = "t"\n'
    assert read_mapping(text, "a").digest == read_mapping(again, "b").digest
    assert read_mapping(text.replace('"s"', '"ms"'), "a").digest != read_mapping(text, "a").digest


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            'ts = "t"\nprice_micros = "cost"',
            "m.toml line 6, price_micros: the path matches nothing in any of the first 3",
        ),
        ('ts = "t"\nprice_micros = "p"\ncountry = "g.c"', "m.toml line 7, country: the path matches nothing"),
        ('ts = { path = "t", unit = "s" }\nprice_micros = "p"', 'is the year 55,840; unit = "ms" gives'),
        ('ts = "t"\nprice_micros = "p"\n[impressions.where]\ne = { not = "x" }', "m.toml line 8, where e: the path"),
        ('ts = "t"\nprice_micros = "p"\ncountry = { path = "g.c", optional = true }', None),
        ('ts = "t"\nprice_micros = { path = "cost", default = 0 }', None),
    ],
)
def test_a_rule_that_is_of_no_use_for_the_first_records_is_found(rules: str, said: str | None) -> None:
    ready = compiled(IMPRESSIONS + rules)
    wrong = ready.never_matching(ready.reader.rows([orjson.dumps(RECORD)] * 3))
    assert [str(each) for each in wrong] == [] if said is None else said in str(wrong[0])


NAMES = st.sampled_from("abc")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("xyz", max_size=2),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=12,
)
PATHS = st.lists(NAMES | st.integers(-2, 2), min_size=0, max_size=3).map(tuple)


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=4), st.lists(st.tuples(NAMES, PATHS), min_size=1))
def test_reading_only_what_paths_name_gives_what_walking_the_whole_record_gives(
    records: list[dict[str, Any]], wanted: list[tuple[str, tuple[str | int, ...]]]
) -> None:
    steps = [(first, *rest) for first, rest in wanted]
    paths = [
        field_path("".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in one)[1:]) for one in steps
    ]
    rows = JsonReader(paths, []).rows([orjson.dumps(each) for each in records])
    for path in paths:
        assert list(rows.column(path)) == [walk(each, path.steps) for each in records]
    patterns = [field_pattern("a.*"), field_pattern("b*")]
    for pattern in patterns:
        found = JsonReader([*paths, pattern.parent], [pattern]).rows([orjson.dumps(each) for each in records])
        assert found.matching(pattern) == ObjectRows(records).matching(pattern)


@given(
    st.lists(
        st.one_of(
            st.integers(MIN_TS_MS, MAX_TS_MS).map(lambda ms: ms / 1_000),
            st.floats(946_684_800.0, 4_102_444_799.0),
            st.sampled_from([float("nan"), float("inf"), 0.5, 1_790_000_000.0005]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_many_seconds_with_fractions_are_each_moment_as_it_is_written(moments: list[float]) -> None:
    many = Times("s").many(tuple(moments), {float})
    if many is not None:
        assert many == [Times("s").one(value) for value in moments]
    written = [round(value * 1_000) / 1_000 == value for value in moments if abs(value) < 1e12]
    if len(written) == len(moments) and all(written) and min(moments) > 1e9:
        assert many is not None


@given(st.lists(st.integers(MIN_TS_MS - 5, MAX_TS_MS + 5), min_size=1), st.sampled_from(sorted(UNITS)))
def test_many_times_are_each_time(moments: list[int], unit: str) -> None:
    times, parts = UNITS[unit]
    values = [moment * parts // times for moment in moments]
    reader = Times(unit)
    many = reader.many(values, {int})
    if many is None:
        with pytest.raises(Unfit):
            [reader.one(value) for value in values]
    else:
        assert many == [reader.one(value) for value in values] == reader.many(list(map(str, values)), {str})


@example([4.0280525, 16.1122085, 33.2314295], "units", False)
@given(st.lists(st.floats(0, 2e6), min_size=1), st.sampled_from(["micros", "cents", "units"]), st.booleans())
def test_many_amounts_are_rounded_as_exact_fractions_are(amounts: list[float], unit: str, cpm: bool) -> None:
    money = Money(unit, cpm=cpm)
    factor = Fraction({"micros": 1, "cents": 10_000, "units": 1_000_000}[unit], 1_000 if cpm else 1)
    exact = [round(Fraction(Decimal(repr(amount))) * factor) for amount in amounts]
    if max(exact) > 10**12:
        with pytest.raises(Unfit):
            money.many(amounts, {float})
    else:
        assert money.many(amounts, {float}) == exact


def test_moments_of_typed_files_need_no_unit() -> None:
    local = datetime(2023, 11, 15, 7, 13, 20, 123_000)
    tokyo = read_mapping(CLICKS + 'ts = { path = "t", zone = "Asia/Tokyo" }', "m").inputs["clicks"]
    reader = Times(zone=__import__("zoneinfo").ZoneInfo("Asia/Tokyo"))
    assert tokyo.fields[-1].rule.zone == "Asia/Tokyo"
    assert reader.one(local) == reader.one(LocalMs((local - datetime(1970, 1, 1)) // timedelta(milliseconds=1))) == MS
    assert reader.one(Ms(MS)) == reader.one(datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)) == MS

"""A kernel makes the same events of JSON texts as a mapping does by column, and leaves all else to it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.ingest.source import Source, Taken
from streams.ingest.values import Values
from streams.kernels.places import MOST_ENTRIES
from streams.kernels.rules import LEFT, OTHER, TAKEN
from streams.kernels.slices import Slices
from streams.mapping import rows as rows_module
from streams.mapping.compiled import Compiled, Mapped
from streams.mapping.language import read_mapping
from streams.mapping.rows import FEW_TEXTS, TextRows
from tests.effort import tries
from tests.mapped import CLICKS, IMPRESSIONS, REST, compiled

MS = 1_700_000_000_123
RECORD = {"i": "i1", "t": MS, "c": "c1", "a": "x", "p": 5}
MANY = 2 * FEW_TEXTS
SEEN = Counter[int]()

TIMES = (
    '"t"',
    '{ path = "t", unit = "ms" }',
    '{ path = "t", unit = "s" }',
    '{ path = ["t", "o.t"], unit = "us" }',
    '{ path = "t", unit = "ns" }',
    '{ path = "o.t", unit = "iso" }',
    '{ path = ["o.t", "t"], unit = "iso", zone = "Asia/Tokyo" }',
    '{ path = "t", unit = "s", origin = "2017-01-01T00:00:00Z" }',
)
PRICES = (
    '"p"',
    '{ path = "p", unit = "micros" }',
    '{ path = "p", unit = "cents" }',
    '{ path = ["o.p", "p"], unit = "units", default = 0 }',
    '{ path = "p", unit = "units", cpm = true, click_rate = 0.003 }',
    '{ path = "l[1].p", unit = "units", default = 0.25 }',
    "{ constant = 7 }",
)
LABELS = (
    '"{name}"',
    '{{ path = "o.{name}", optional = true }}',
    '{{ path = ["{name}", "o.{name}", "l[0].{name}"], default = "none" }}',
    '{{ path = "l[1]", default = "é/-" }}',
    '{{ join = ["{name}", "o.{name}"], with = "/" }}',
    '{{ constant = "it\\"s" }}',
)
SHARES = ("", 'pctr = "r"\n', 'pctr = { path = ["o.r", "r"], default = 0.5 }\n')
FEATURES = (
    "",
    'feature_patterns = ["f.*"]\n',
    'feature_patterns = ["o.f.*"]\n[impressions.features]\nx = "o.r"\nos = { path = "f.x", as = "text" }\n',
    '[impressions.features]\nx = { path = "o.x", as = "number", default = 3 }\nos = "p"\n"q é" = { constant = true }\n',
)
CONDITIONS = (
    "",
    "[impressions.where]\nk = { exists = false }\n",
    '[impressions.where]\nk = ["view", 1, true]\n',
    '[impressions.where]\nk = { not = ["", "click", 0, false] }\n"o.x" = { exists = true }\n',
)
NULLS = ("", 'null = ["null", "-", "é"]\n')

# What values of any path may be, as JSON.
TEXTS = (
    '""',
    '"a"',
    '"é€😀"',
    '"null"',
    '"-"',
    '"a\\nb"',
    '"\\u00e9"',
    '"\\ud83d\\ude00"',
    f'"{"x" * 256}"',
    f'"{"é" * 200}"',
)
NUMBERS = (
    *(
        "0",
        "-0",
        "1",
        "5",
        "-5",
        "1.0",
        "0.0",
        "-0.0",
        "0.5",
        "0.50",
        "0.25",
        "0.00001",
        "0.000001",
        "1e-7",
        "1e3",
        "007",
    ),
    *(
        "0.1234565",
        "0.9999995",
        "12.3456785",
        "1000000.0000005",
        "123456789012345.5",
        "12345678901234567890",
        "99999999",
    ),
    *(
        "9007199254740993",
        "9223372036854775808",
        "-9223372036854775809",
        "1700000000",
        "1700000000.1239",
        "1700000000123",
    ),
    *("1700000000123456", "1700000000123456789", "1700000000123.5", "0.1", "1.5", "-0.5", "1000000", "1000000.1", "1."),
)
DATES = (
    *("2026-11-30T12:00:00Z", "2026-11-30 12:00:00", "2026-02-29T00:00:00Z", "2028-02-29T23:59:59.9999999Z"),
    *("2000-01-01T00:30:00+01:00", "2099-12-31T23:30:00-01:00", "2026-11-30T12:00:00.1+05:30", "2026-11-30T24:00:00Z"),
    *("2026-11-30T12:00:60Z", "2026-11-30T12:00:00z", "2026-11-30T12:00Z", "2026-11-30", "20261130T120000Z"),
    *("2026-04-31T12:00:00Z", "2026-11-30T12:00:00.Z", "2026-11-30T12:00:00,5Z", "2026-11-30T12:00:00+24:00", "now"),
    *("2100-02-29T00:00:00Z", "2026-11-30T12:00:00.123456789-00:00", "2026-1-30T12:00:00Z", "2026-12-31T23:59:59.999"),
)
OTHERS = ("null", "true", "false", "[]", "{}", "[1, {}]", '{"p":1,"x":2}', "nul", "[1,]", '["a","b"]')
AMOUNTS = tuple(f'"{number}"' for number in NUMBERS)
VALUES = (*TEXTS, *NUMBERS, *(f'"{date}"' for date in DATES), *OTHERS, *AMOUNTS, '"view"', '"click"', '"1.0"', '" 5"')
NAMES = ("i", "t", "c", "a", "p", "k", "r", "o", "l", "f", "x", "unread", "é", "a b")


def time_of(chance: random.Random, text: str, n: int) -> int | float | str:
    """A time of the unit of a mapping, and sometimes of another one."""
    units = {'unit = "s"': 1 / 1_000, 'unit = "us"': 1_000, 'unit = "ns"': 1_000_000}
    factor = next((factor for unit, factor in units.items() if unit in text and chance.random() < 0.9), 1)
    ms = MS + n - (1_483_228_800_000 if "origin" in text else 0)
    if 'unit = "iso"' in text and chance.random() < 0.9:
        return f"2026-11-30T12:00:{n % 60:02}.{n:04}+01:00"
    return str(ms * factor) if factor >= 1 and chance.random() < 0.2 else ms * factor


def good(chance: random.Random, text: str) -> dict[str, Any]:
    """A record that the mapping takes nearly always."""
    n = chance.randrange(10_000)
    return {
        "i": f"i{n}",
        "t": time_of(chance, text, n),
        "c": chance.choice(["c1", n, "é"]),
        "a": f"a{n % 7}",
        "p": chance.choice([n, n / 100, 0, str(n)]),
        "k": chance.choice([None, "view", "click", 1, True, ""]),
        "r": chance.choice([0.25, 0, 1, 1.0, 0.001]),
        "o": {
            "t": f"2026-11-30T12:00:{n % 60:02}.{n:04}Z",
            "c": "oc",
            "a": n,
            "p": 1.25,
            "r": 0.5,
            "x": n % 3,
            "f": chance.choice([{"y": 1}, {"y": 1, "z": ""}, {"x": 1}]),
        },
        "l": [{"c": "lc", "a": "la"}, chance.choice([{"p": 2}, "text", 5, "", "x"])],
        "f": {"x": n, "y": "é", "z": -1.5, "b": False, "n": None},
        "unread": chance.choice([[1, {"a": [None, "\n\\"]}], "x\ty", {"o": {}}]),
    }


def mutated(chance: random.Random, mapping: str) -> bytes:
    """A record as JSON: good, with other values, fields twice or in another order, or with broken bytes."""
    record = good(chance, mapping)
    text = orjson.dumps(record) if chance.random() < 0.6 else orjson.dumps(record, option=orjson.OPT_INDENT_2)
    if chance.random() < 0.3:
        return text
    members = [(orjson.dumps(name).decode(), orjson.dumps(value).decode()) for name, value in record.items()]
    if chance.random() < 0.3:
        chance.shuffle(members)
    for _ in range(chance.randrange(3)):
        place = chance.randrange(len(members))
        members[place] = members[place][0], chance.choice(VALUES)
    if chance.random() < 0.1:
        members.insert(chance.randrange(len(members)), (f'"{chance.choice(NAMES)}"', chance.choice(VALUES)))
    if chance.random() < 0.1:
        del members[chance.randrange(len(members))]
    inner = {"x": chance.choice(VALUES), "y": chance.choice(VALUES), chance.choice(NAMES): chance.choice(VALUES)}
    if chance.random() < 0.3:
        members.append(
            ('"f"' if chance.random() < 0.1 else '"g"', "{" + ",".join(f'"{a}" : {b}' for a, b in inner.items()) + "}")
        )
    colon, comma = chance.choice([(":", ","), (": ", ", "), (" :\n", "\t,\r")])
    made = bytearray(("{" + comma.join(f"{name}{colon}{value}" for name, value in members) + "}").encode())
    if chance.random() < 0.2:
        for _ in range(chance.randrange(1, 3)):
            at = chance.randrange(len(made))
            match chance.randrange(3):
                case 0:
                    made[at] = chance.choice(b'"\\{}[]:,0129.-eE \n\x00\xc3\xff')
                case 1:
                    del made[at]
                case _:
                    made.insert(at, chance.choice(b'"\\{}[]:,0129.-eE \n\x00\xc3\xff'))
    return bytes(made)


def by_place(mapped: Mapped) -> tuple[Any, ...]:
    """All that a batch became, as plain values."""
    columns = zip(mapped.places, mapped.keys, mapped.times_ms, mapped.values, strict=True)
    return list(columns), mapped.refused, mapped.others


def by_column(ready: Compiled, texts: Sequence[bytes | None]) -> tuple[Any, ...]:
    """The same of each record by itself, without a kernel."""
    events, refused, others = [], {}, 0
    for place, text in enumerate(texts):
        found = ready.map(ready.reader.rows([text]))
        events += [(place, *each[1:]) for each in by_place(found)[0]]
        if found.refused:
            refused[place] = found.refused[0]
        others += found.others
    return events, refused, others


def results(ready: Compiled, texts: Sequence[bytes | None]) -> list[int]:
    """What the kernel says of each record."""
    rows = ready.reader.rows(texts)
    assert isinstance(rows, TextRows)
    plan = ready._plan(rows.places)
    assert plan is not None
    return [int(result) for result in plan.made(rows.found).results]


@st.composite
def mappings(draw: st.DrawFn) -> str:
    """The text of a mapping of impressions that has a plan."""
    rules = [f"ts = {draw(st.sampled_from(TIMES))}", f"price_micros = {draw(st.sampled_from(PRICES))}"]
    rules.append(f"impression_id = {draw(st.sampled_from([LABELS[0], LABELS[4]])).format(name='i')}")
    for field, name in (("campaign_id", "c"), ("creative_id", "a")):
        rules.append(f"{field} = {draw(st.sampled_from(LABELS)).format(name=name)}")
    optional = draw(st.lists(st.sampled_from(["country", "placement", "user_id", "arm"]), unique=True))
    rules += [f"{field} = {draw(st.sampled_from(LABELS)).format(name='x')}" for field in optional]
    parts = [draw(st.sampled_from(each)) for each in (SHARES, NULLS, FEATURES, CONDITIONS)]
    return "[impressions]\n" + "\n".join(rules) + "\n" + "".join(parts)


@settings(max_examples=tries(300), deadline=None)
@given(mappings(), st.integers(0, 2**32))
def test_the_kernel_makes_of_mutated_records_what_the_mapping_makes_by_column(text: str, seed: int) -> None:
    chance = random.Random(seed)
    ready = compiled(text)
    texts: list[bytes | None] = [mutated(chance, text) for _ in range(MANY)]
    texts[chance.randrange(MANY)] = None
    expected = by_column(ready, texts)
    assert by_place(ready.map(ready.reader.rows(texts))) == expected
    # What it remembers of the order of fields changes nothing; nor do values that lie in one buffer.
    assert by_place(ready.map(ready.reader.rows(Slices.of(texts)))) == expected
    if "where" not in text:
        SEEN.update(results(ready, texts))


def test_mutated_records_are_taken_and_left() -> None:
    """Of the records of the test before, neither few nor nearly all are taken: otherwise it shows little."""
    share = SEEN[TAKEN] / sum(SEEN.values())
    assert 0.1 < share < 0.9, share


@pytest.mark.parametrize(
    ("rules", "changes"),
    [
        (REST, {}),
        (REST, {"t": str(MS)}),
        (REST, {"i": 12_345_678_901_234_567, "c": "é€😀"}),
        (
            'ts = { path = "t", unit = "s" }\nprice_micros = { path = "p", unit = "units" }',
            {"t": MS / 1_000, "p": 0.25},
        ),
        ('ts = { path = "t", unit = "iso" }\nprice_micros = "p"', {"t": "2026-11-30T12:00:00.123456Z"}),
        ('ts = { path = "t", unit = "ns" }\nprice_micros = "p"', {"t": MS * 1_000_000}),
        (REST + 'pctr = "r"', {"r": 0.0125}),
        (REST + 'country = { path = "g[0].c.x", optional = true }', {"g": [{"c": {"x": "de"}}, 5]}),
        (REST + 'feature_patterns = ["f.*"]', {"f": {"a": "b", "c": 1, "d": -0.5, "e": None, "g": True}}),
        (REST + 'user_id = { join = ["c", "a"], with = "/" }', {"unread": ["\n", {"x": [1e5]}][0:1]}),
        (REST + 'null = ["-"]\ncountry = { path = ["x", "y"], default = "none" }', {"x": "-", "y": ""}),
        (REST + '[impressions.where]\nk = ["view", 1]', {"k": 1}),
        (REST + '[impressions.features]\nn = { path = "n", as = "number" }', {"n": "12.5"}),
    ],
)
@pytest.mark.parametrize("option", [None, orjson.OPT_INDENT_2])
def test_usual_records_are_not_left_to_the_mapping_by_column(rules: str, changes: Any, option: int | None) -> None:
    ready = compiled(IMPRESSIONS + rules)
    texts = [orjson.dumps(RECORD | changes, option=option)] * MANY
    assert results(ready, texts) == [TAKEN] * MANY
    assert by_place(ready.map(ready.reader.rows(texts))) == by_column(ready, texts)


@pytest.mark.parametrize(
    "changes",
    [
        {"i": "a\\b"},
        {"t": MS + 0.5},
        {"p": 5.5},
        {"p": -1},
        {"c": True},
        {"i": ""},
        {"c": "x" * 257},
        {"t": 5},
        {"u": 1e300},
    ],
)
def test_what_the_kernel_is_not_sure_of_is_left(changes: dict[str, Any]) -> None:
    ready = compiled(IMPRESSIONS + REST)
    texts = [orjson.dumps(RECORD | changes)] * MANY
    assert results(ready, texts) == [LEFT] * MANY
    assert by_place(ready.map(ready.reader.rows(texts))) == by_column(ready, texts)


def test_records_that_a_condition_leaves_out_are_not_read_again() -> None:
    ready = compiled(IMPRESSIONS + REST + '[impressions.where]\nk = "view"')
    texts = [orjson.dumps(RECORD | {"k": "click"})] * MANY
    assert results(ready, texts) == [OTHER] * MANY
    assert ready.map(ready.reader.rows(texts)).others == MANY


@pytest.mark.parametrize(
    "rules",
    [
        'ts = { path = "t", pattern = "%Y" }\nprice_micros = "p"',
        REST + 'user_id = { path = "u", hash_with = "SALT" }',
        REST + 'feature_patterns = ["f_*"]',
        REST + 'feature_patterns = ["f.*", "g.*"]',
        REST + 'country = "l[-1]"',
        REST + 'country = { path = "a[\'x\\"y\']", optional = true }'.replace("'x\\\"y'", "'x\\\\y'"),
        'ts = "t"\nprice_micros = { path = "p", unit = "units", cpm = true, click_rate = "r" }',
        REST + "\n".join("[impressions.features]\n" if not n else f'f{n} = "g{n}"' for n in range(MOST_ENTRIES)),
    ],
)
def test_a_mapping_that_the_kernel_does_not_know_maps_by_column(rules: str) -> None:
    ready = compiled(IMPRESSIONS + rules, salts={"SALT": "s"})
    texts: list[bytes | None] = [
        orjson.dumps(RECORD | {"t": "2026" if "%Y" in rules else MS, "r": 0.5, "u": "u", "l": ["x"]})
    ]
    rows = ready.reader.rows(texts * MANY)
    assert not isinstance(rows, TextRows) or ready._plan(rows.places) is None
    assert by_place(ready.map(rows)) == by_column(ready, texts * MANY)


def test_values_that_take_more_than_their_records_have_room() -> None:
    """An id that is used for all fields: each event is longer than the record and all fixed texts together."""
    names = ["campaign_id", "creative_id", "country", "device", "placement", "user_id", "arm", "experiment"]
    text = '[impressions]\nimpression_id = "i"\n' + REST + "".join(f'{name} = "i"\n' for name in names)
    ready = compiled(text)
    texts = [orjson.dumps({"i": f"{place}".rjust(250, "x"), "t": MS, "p": 5}) for place in range(MANY)]
    assert results(ready, texts) == [TAKEN] * MANY
    assert by_place(ready.map(ready.reader.rows(texts))) == by_column(ready, texts)


BOTH = (
    IMPRESSIONS
    + REST
    + "[impressions.where]\nk = { exists = false }\n"
    + '[clicks]\nclick_id = "k"\nimpression_id = "i"\nts = "t"\n[clicks.where]\nk = { exists = true }\n'
)


def source_of(text: str) -> Source:
    file = read_mapping(text, "m.toml")
    inputs = {log: Compiled(one) for log, one in file.inputs.items()}
    return Source("t", inputs, Values(inputs.values()), name=file.name, digest=file.digest)


def of_taken(taken: Taken) -> Any:
    return {log: by_place(mapped) for log, mapped in taken.events.items()}, taken.refused, taken.others


@settings(max_examples=tries(100), deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_a_source_of_both_logs_takes_the_same_with_and_without_the_kernel(seed: int, has_conditions: bool) -> None:
    chance = random.Random(seed)
    text = BOTH if has_conditions else IMPRESSIONS + REST + CLICKS + 'ts = "t"\n'
    texts: list[bytes | None] = [mutated(chance, text) for _ in range(MANY)]
    texts[chance.randrange(MANY)] = None
    with pytest.MonkeyPatch.context() as patch:
        found = of_taken(source_of(text).take(texts))
        patch.setattr(rows_module, "FEW_TEXTS", MANY + 1)
        assert found == of_taken(source_of(text).take(texts))


def test_what_a_record_becomes_does_not_depend_on_broken_ones_beside_it() -> None:
    """One that is broken within a text that nobody reads was taken alone, and refused beside one that is broken."""
    odd = orjson.dumps(RECORD | {"u": "?"}).replace(b"?", b"\xff")
    for texts in ([odd], [odd, b"{"], [b"[]", odd, None], [odd] * MANY, [*[odd] * MANY, b"{"]):
        ready = compiled(IMPRESSIONS + REST)
        found = ready.map(ready.reader.rows(texts))
        assert len(found.places) == texts.count(odd)
        assert np.array(found.times_ms).tolist() == [MS] * texts.count(odd)


def test_a_share_of_minus_zero_is_zero_alone_and_beside_values_of_other_types() -> None:
    ready = compiled(IMPRESSIONS + REST + 'pctr = "r"')
    texts = [orjson.dumps(RECORD | {"r": share}) for share in (-0.0, 1)]
    alone = [ready.map(ready.reader.rows([text])).values[0] for text in texts]
    assert list(ready.map(ready.reader.rows(texts)).values) == alone
    assert b'"pctr":0.0' in alone[0]

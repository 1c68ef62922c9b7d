"""The scanner reads all of its subset and nothing else: every bound of it, just inside and just outside."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from schemas.events import MAX_FEATURES, MAX_ID_CHARS, MAX_PRICE_MICROS, MAX_TS_MS, MIN_TS_MS
from schemas.reading import read_impression
from schemas.totals import DIMENSIONS
from streams.kernels.scan import FIELDS, LEFT, LONGEST, NAMES, ROW, scan
from streams.kernels.slices import Slices
from tests.scanning import Record, equal
from tests.subset import in_subset

FIELDS_OF_GOOD = {
    "impression_id": '"i1"',
    "ts": "1700000000000",
    "campaign_id": '"c"',
    "creative_id": '"k"',
    "price_micros": "5",
}
TEXTS = (
    '""',
    '"x"',
    f'"{"x" * MAX_ID_CHARS}"',
    f'"{"x" * (MAX_ID_CHARS + 1)}"',
    "null",
    "nul",
    "nulll",
    "5",
    "true",
    "{}",
)
# Quotes, escapes and characters beyond ASCII at every place of a block of 64 bytes.
LONG_TEXTS = tuple(
    f'"{"a" * at}{odd}{"b" * more}"'
    for odd in ("", "é", "\\n", "\x1f", "\x7f")
    for at in (0, 1, 62, 63, 64, 65, 127, 128)
    for more in (0, 1, 64)
)
# The first and last of each length in UTF-8, what is longer than needed, surrogates, what is cut short.
_UTF8 = """
7f c280 dfbf e0a080 e0bfbf e18080 ecbfbf ed8080 ed9fbf ee8080 efbfbf f0908080 f0bfbfbf f1808080 f48fbfbf
80 bf c0af c1bf c27f c2c0 e09fbf eda080 edbfbf e18079 e180c0 e1807f f08fbfbf f4908080 f5808080 f180807f ff fe c3 e182
f18080 e0a07f f090807f f0907f80 efbf7f
"""
UTF8 = tuple(map(bytes.fromhex, _UTF8.split()))
INTEGERS = (
    *(
        "0",
        "1",
        "7",
        "9",
        "-0",
        "-1",
        "00",
        "01",
        "+1",
        "1.0",
        "1.",
        "1e3",
        "1E3",
        "1 ",
        "",
        "null",
        '"5"',
        "true",
        "12345678",
        "123456789",
    ),
    *(
        str(bound + beside)
        for bound in (MIN_TS_MS, MAX_TS_MS, MAX_PRICE_MICROS, 10**15, 10**16)
        for beside in (-1, 0, 1)
    ),
    *("1" * count for count in range(6, 20)),
    *(f"1700000000{digits}" for digits in ("000", "00:", "00/", "/00", ":00", "0000", "00000", "000000")),
)
SHARES = (
    *(
        "0",
        "1",
        "2",
        "9",
        "10",
        "00",
        "01",
        "0.",
        "1.",
        ".5",
        "-0",
        "-0.5",
        "0.0",
        "1.0",
        "1.1",
        "0.5e1",
        "0e0",
        "1.00000000",
        "null",
    ),
    *(f"{whole}.{'0' * (count - 1)}{last}" for whole in "01" for last in "019" for count in range(1, 19)),
    *(f"0.{'9' * count}" for count in range(1, 18)),
    *("1" * count for count in range(2, 19)),
)
SCALARS = (
    *(
        "0",
        "-0",
        "1",
        "-1",
        "00",
        "-01",
        "1.",
        "-",
        "-.5",
        ".5",
        "1.5",
        "-1.50",
        "1e5",
        "1E5",
        "1.5e5",
        "true",
        "false",
        "null",
        "tru",
        "fals",
        "truee",
        "[]",
        "{}",
    ),
    *("1" * count for count in (17, 18, 19)),
    *("-" + "1" * count for count in (17, 18, 19)),
    *("1." + "1" * count for count in (29, 30, 31)),
    *("-1." + "1" * count for count in (28, 29, 30)),
    *("/", ":", "1:", "1/", "1.:", "1./", "trux", "nulx", "falsx"),
)


def differing(records: list[Record]) -> list[Record]:
    """Those that the scanner reads and should not, or the other way round, or with other values."""
    values, keys = Slices.of([record.value for record in records]), Slices.of([record.key for record in records])
    rows, results = np.zeros(len(records), ROW), np.zeros(len(records), np.int8)
    scan(*values.arrays, *keys.arrays, rows, results, np.full(FIELDS + 1, FIELDS, np.int64))
    reads = [result != LEFT for result in results.tolist()]
    assert {True, False} == {*reads} or len(records) == 1
    return [
        record
        for record, row, read in zip(records, rows, reads, strict=True)
        if read != in_subset(record.key, record.value)
        or (read and not equal(record, read_impression(record.value), row))
    ]


def good(**more: str) -> Record:
    """A good record, with these values in place of its own."""
    fields = ",".join(f'"{name}":{value}' for name, value in {**FIELDS_OF_GOOD, **more}.items())
    return Record(b"i1", f"{{{fields}}}".encode())


def with_each(name: str, values: tuple[str, ...]) -> list[Record]:
    return [good(**{name: value}) for value in values]


@pytest.mark.parametrize("name", [*DIMENSIONS, "user_id", "model_version", "impression_id", "unknown"])
def test_texts(name: str) -> None:
    assert differing([*with_each(name, TEXTS + LONG_TEXTS), good()]) == []


@pytest.mark.parametrize("name", ["arm", "unknown"])
def test_text_is_utf_8_at_the_beginning_and_at_the_end(name: str) -> None:
    templates = [good(**{name: f'"{text}"'}).value or b"" for text in ("@", "a@", "@a", "a" * 63 + "@" + "a" * 70)]
    records = [Record(b"i1", value.replace(b"@", text)) for text in UTF8 for value in templates]
    assert differing(records) == []


@pytest.mark.parametrize("name", ["ts", "price_micros", "bid_micros", "pctr", "unknown", "impression_id"])
def test_numbers(name: str) -> None:
    assert differing([*with_each(name, INTEGERS), *with_each(name, SHARES), *with_each(name, SCALARS), good()]) == []


def test_features() -> None:
    names = (*TEXTS[:4], *LONG_TEXTS, "5", "null")
    texts = tuple(f'"{"x" * count}"' for count in (0, 1, 1_023, 1_024, 1_025))
    given = [f'{{"a":{value}}}' for value in (*SCALARS, *texts, *LONG_TEXTS)]
    given += [f'{{"a":{value},"b":1}}' for value in (*SCALARS, *texts)]
    given += [f"{{{name}:1}}" for name in names]
    given += [
        "{" + ",".join(f'"f{number}":1' for number in range(count)) + "}"
        for count in (0, 1, MAX_FEATURES, MAX_FEATURES + 1)
    ]
    given += [
        "{",
        "{ }",
        '{"a"',
        '{"a":',
        '{"a":1',
        '{"a":1,',
        '{"a":1,}',
        '{"a" 1}',
        '{"a":1 "b":2}',
        "{,}",
        "{:1}",
        "null",
        "[]",
        '"x"',
        "5",
    ]
    assert differing([*with_each("features", tuple(given)), good()]) == []


def test_known_fields_come_once_and_the_required_ones_are_there() -> None:
    whole = [f'"{name}":{value}' for name, value in FIELDS_OF_GOOD.items()]
    others = [f'"{name}":null' for name in NAMES if name not in FIELDS_OF_GOOD]
    lists = [*([*whole, other] for other in others), *([*whole, other, other] for other in others)]
    lists += [[each for each in whole if each is not left_out] for left_out in whole]
    lists += [[*whole, each] for each in whole]
    lists += [list(order) for order in itertools.permutations(whole)]
    lists += [[*whole, '"unknown":1', '"unknown":1'], [*whole, '"unknown":1', '"other":2', '"unknown":1']]
    assert differing([Record(b"i1", f"{{{','.join(fields)}}}".encode()) for fields in lists]) == []


def test_names_that_begin_or_end_as_a_known_one_are_unknown() -> None:
    similar = [name + more for name in NAMES for more in ("x", "_", " ")] + [name[:-1] for name in NAMES]
    similar += ["x" + name for name in NAMES] + [name.upper() for name in NAMES] + ["", "a" * 64, "a" * 300]
    assert (
        differing(
            [
                *(good(**{name: '"text"'}) for name in similar),
                *(good(**{name: "null"}) for name in similar),
                good(ts="1"),
            ]
        )
        == []
    )


def spaced(space: str) -> Iterator[str]:
    """A good record with this space at each of the places where JSON lets one be, and at some where it does not."""
    tokens = [
        "",
        "{",
        '"impression_id"',
        ":",
        '"i1"',
        ",",
        '"ts"',
        ":",
        "1700000000000",
        ",",
        '"campaign_id"',
        ":",
        '"c"',
    ]
    tokens += [",", '"creative_id"', ":", '"k"', ",", '"price_micros"', ":", "5", ",", '"pctr"', ":", "0.5", ","]
    tokens += ['"features"', ":", "{", '"a"', ":", "true", ",", '"b"', ":", "1.5", "}", ",", '"x"', ":", "null", "}"]
    for place in range(len(tokens)):
        yield "".join([*tokens[: place + 1], space, *tokens[place + 1 :]])
    yield "".join(tokens)
    yield from ("".join(tokens[:place]) for place in range(len(tokens)))
    yield from ("".join([*tokens[:place], *tokens[place + 1 :]]) for place in range(len(tokens)))
    yield from ("".join([*tokens[:place], tokens[place], *tokens[place:]]) for place in range(len(tokens)))
    for other in '[]{}:,x1"':
        yield from ("".join([*tokens[:place], other, *tokens[place + 1 :]]) for place in range(len(tokens)))


@pytest.mark.parametrize(
    "space", [" ", "\n", "\t", "\r", "  \r\n", "\x0b", "\x0c", "\x08", "\x0e", "\x1f", "!", ",", "x"]
)
def test_space_between_tokens(space: str) -> None:
    assert differing([good(), *(Record(b"i1", value.encode()) for value in spaced(space))]) == []


@pytest.mark.parametrize("length", [*range(1, 40), 63, 64, 65, MAX_ID_CHARS - 1, MAX_ID_CHARS, MAX_ID_CHARS + 1])
def test_the_key_is_the_id_in_every_byte(length: int) -> None:
    key = (b"0123456789abcdef-" * 16)[:length]
    value = (good().value or b"").replace(b'"i1"', b'"' + key + b'"')
    others = [bytes([*key[:at], key[at] ^ 1, *key[at + 1 :]]) for at in range(length)]
    records = [Record(other, value) for other in (key, key + b"x", key[:-1], key[1:], None, b"", *others)]
    assert differing([*records, good(), good(ts="1")]) == []


def test_a_record_of_the_greatest_length_is_read_and_a_longer_one_is_left() -> None:
    assert LONGEST == (1 << 16) - 1
    size = len(good(unknown='""').value or b"")
    records = [good(unknown=f'"{"x" * (LONGEST - size + more)}"') for more in (-1, 0, 1)]
    assert differing(records) == []
    # Spans have sixteen bits for the place and for the length: a text that begins as late as can be is found.
    late = good(unknown=f'"{"x" * (LONGEST - size - 20)}"', arm='"end"')
    assert len(late.value or b"") > LONGEST - 30
    assert differing([late, good(ts="1")]) == []

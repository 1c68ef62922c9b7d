"""Totals in Kafka: what is packed is read back, and so is the form of 0.1; what contradicts itself is refused."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import encode
from schemas.events import MAX_OWN_RECORD_BYTES
from schemas.packed import (
    FORM,
    MAX_TOTALS,
    PackedCampaignTotals,
    PackedMinuteTotals,
    campaign_totals,
    minute_totals,
    wide,
)
from schemas.reading import Unreadable, read
from schemas.totals import DIMENSIONS, MEASURES, CampaignTotal, MinuteTotals
from streams.kernels.columns import NUMBERS_HEAD, write_numbers
from tests.factories import pack_minute_totals

_numbers = st.integers(0, 2**63 - 1) | st.sampled_from([0, 1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32])
MINUTE = MinuteTotals(60_000, 3, 7, True, [["a", "", "a"]] * len(DIMENSIONS), [[1, 2, 300]] * len(MEASURES))
CAMPAIGN = CampaignTotal("c1", 900_000, 2, 5, False, *range(len(MEASURES)))


@st.composite
def totals(draw: st.DrawFn) -> MinuteTotals:
    count = draw(st.integers(0, 5))
    names = st.lists(st.text(max_size=3), min_size=count, max_size=count)
    numbers = st.lists(_numbers, min_size=count, max_size=count)
    extra = draw(st.lists(st.sampled_from(["site", "page", "slot", "s" * 63]), max_size=4, unique=True))
    dimensions, measures = [draw(names) for _ in (*DIMENSIONS, *extra)], [draw(numbers) for _ in MEASURES]
    head = draw(st.integers(0, 2**40)), 1, draw(_numbers), draw(st.booleans())
    return MinuteTotals(*head, dimensions, measures, extra)


@given(totals())
def test_packed_totals_are_read_back(made: MinuteTotals) -> None:
    assert minute_totals(pack_minute_totals(made)) == made


@given(st.lists(_numbers))
def test_column_is_as_narrow_as_its_largest_number_allows(numbers: list[int]) -> None:
    target = np.zeros(2 * NUMBERS_HEAD + 8 * len(numbers), np.uint8)
    size = write_numbers(np.array([numbers], np.int64), target)
    (data,) = msgspec.msgpack.decode(target[:size].tobytes(), type=list[bytes])
    assert wide(data, len(numbers)).tolist() == numbers
    largest = max(numbers, default=0)
    width = 0 if not largest else next(width for width in (1, 2, 4, 8) if largest < 256**width)
    assert len(data) == width * len(numbers)


def test_form_of_0_1_is_still_read() -> None:
    assert minute_totals(encode(MINUTE)) == MINUTE
    assert campaign_totals(encode(CAMPAIGN)) == [CAMPAIGN]


def packed_minute(**changes: object) -> bytes:
    """`MINUTE` with other fields."""
    fields = msgspec.msgpack.decode(pack_minute_totals(MINUTE))
    return msgspec.msgpack.encode({**fields, **changes})


def packed_campaigns(**changes: object) -> bytes:
    """One campaign's totals, with other fields."""
    fields = PackedCampaignTotals(
        quarter=900_000, join_partition=2, version=5, final=False, campaigns=["c1"], measures=[b"\1"] * len(MEASURES)
    )
    return msgspec.msgpack.encode({**msgspec.to_builtins(fields, builtin_types=(bytes,)), **changes})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (packed_minute(form=FORM + 1), "form"),
        (packed_minute(more=1), "unknown field"),
        (packed_minute(extra_dimensions=["site"]), "8 dimensions and 8 measures, not 9 and 8"),
        (packed_minute(extra_dimensions=["Site; DROP"]), "extra_dimensions"),
        (packed_minute(extra_dimensions=["a", "b", "c", "d", "e"]), "extra_dimensions"),
        (packed_minute(rows=4), "bytes is not one of 4 numbers"),
        (packed_minute(rows=MAX_TOTALS + 1), "rows"),
        (packed_minute(rows=-1), "rows"),
        (packed_minute(dimensions=[]), "0 dimensions and 8 measures, not 8 and 8"),
        (packed_minute(measures=[b""] * 7), "8 dimensions and 7 measures, not 8 and 8"),
        (packed_minute(measures=[b"123456789"] * 8), "9 bytes is not one of 3 numbers"),
        (packed_minute(dimensions=[{"names": ["a"], "places": b"\0\0\1"}] * 8), "a place among 1 names is 0 or 1"),
        (packed_minute(dimensions=[{"names": [], "places": b""}] * 8), "a place among 0 names"),
        (packed_minute(dimensions=[{"names": ["a"], "places": b"", "x": 1}] * 8), "unknown field"),
        (packed_campaigns(campaigns=["c1", "c2"]), "1 bytes is not one of 2 numbers"),
        (packed_campaigns(campaigns=[], measures=[b"1"] * 8), "1 bytes is not one of 0 numbers"),
        (packed_campaigns(measures=[]), "8 dimensions and 0 measures"),
        (packed_campaigns(campaigns=[1]), "str"),
        (encode(MINUTE)[:-1] + b',"measures":[]}', "8 dimensions and 0 measures"),
        (encode(msgspec.structs.replace(MINUTE, measures=[[1]] * 8)), "columns of different lengths: 1 to 3"),
        (b"\x88" + b"[" * 100, ""),
        (b"", ""),
        (b"\xc1", ""),
    ],
)
def test_record_that_contradicts_itself_is_refused(value: bytes, why: str) -> None:
    decode = campaign_totals if b"campaigns" in value or b"quarter" in value else minute_totals
    found = read(value, decode, max_bytes=MAX_OWN_RECORD_BYTES, packed=True)
    assert isinstance(found, Unreadable)
    assert why.lower() in found.detail.lower()


def test_brackets_among_packed_numbers_are_no_nesting() -> None:
    """0x5B is an opening bracket of JSON, and a number here."""
    made = MinuteTotals(0, 0, 1, True, [["["] * 40] * len(DIMENSIONS), [[0x5B] * 40] * len(MEASURES))
    value = pack_minute_totals(made)
    assert read(value, minute_totals, packed=True) == made
    deep = b'{"x":' + b"[" * 40 + b"]" * 40 + b"," + encode(made)[1:]
    assert isinstance(read(deep, minute_totals, packed=True), Unreadable)


def test_struct_is_written_with_its_form() -> None:
    assert msgspec.msgpack.decode(pack_minute_totals(MINUTE))["form"] == FORM
    fields = ["form", *PackedMinuteTotals.__struct_fields__]
    assert list(msgspec.msgpack.decode(pack_minute_totals(MINUTE))) == fields[:-1]
    extended = msgspec.structs.replace(MINUTE, dimensions=[*MINUTE.dimensions, ["x"] * 3], extra_dimensions=["site"])
    assert list(msgspec.msgpack.decode(pack_minute_totals(extended))) == fields


def test_rows_have_the_extra_dimensions_that_are_asked_for_and_empty_names_where_a_record_has_none() -> None:
    columns = [*MINUTE.dimensions, ["x", "", "y"], ["1", "2", ""]]
    made = msgspec.structs.replace(MINUTE, dimensions=columns, extra_dimensions=["site", "page"])
    assert [row.extra for row in made.rows()] == [("x", "1"), ("", "2"), ("y", "")]
    assert [row.extra for row in made.rows(["page", "slot", "site"])] == [("1", "", "x"), ("2", "", ""), ("", "", "y")]
    assert [row.extra for row in MINUTE.rows(["site"])] == [("",)] * 3

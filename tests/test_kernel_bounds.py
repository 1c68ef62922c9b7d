"""Every bound that a kernel checks, just inside and just outside: arrays, spans, codes, rows and places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from schemas.packed import NameColumn
from streams.join.totals.names import code_columns
from streams.kafka.partitioners import java_partition
from streams.kernels.columns import (
    NUMBERS_HEAD,
    find_partitions,
    write_dimensions,
    write_names,
    write_numbers,
)
from streams.kernels.gather import STORED, describe, gather
from streams.kernels.groups import find_repeated, group_times
from streams.kernels.index import MOST_POSITIONS, find, insert
from streams.kernels.names import (
    _PER_DIMENSION,
    ENTRY,
    MAX_NAME_BYTES,
    NEXT_CODES,
    STATE,
    code_scanned,
    code_texts,
)
from streams.kernels.scan import DIMS, FIELDS, PLAIN, ROW, scan, scan_stored
from streams.kernels.slices import MARGIN, Slices
from streams.kernels.totals import add_columns, add_narrow, fill_row_slots, find_rows, mark
from tests.factories import narrow

GOOD = b'{"impression_id":"i1","ts":1700000000000,"campaign_id":"c","creative_id":"k","price_micros":5}'
Arguments = dict[str, Any]


def i4(*values: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.array(values, np.int32)


def i8(*values: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.int64)


def refuses(
    kernel: Callable[..., Any], good: Callable[[], Arguments], name: str, bad: Any, match: str | None = None
) -> None:
    """The kernel takes the good arguments, and none of them with the bad one in place of its own."""
    kernel(*good().values())
    with pytest.raises(IndexError, match=match):
        kernel(*{**good(), name: bad}.values())


# ---- scan and gather ------------------------------------------------------------------------------------------------


def scan_arguments() -> Arguments:
    """Two records whose last one ends just a margin before the buffer does, as its key does."""
    values, keys = Slices.of([GOOD, GOOD]), Slices.of([b"i1", b"i1"])
    arrays = {"values": values.buffer, "value_spans": values.spans, "keys": keys.buffer, "key_spans": keys.spans}
    return {**arrays, "rows": np.zeros(2, ROW), "results": np.zeros(2, np.int8), "after": np.full(FIELDS + 1, FIELDS)}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("values", Slices.of([GOOD, GOOD]).buffer[:-1]),
        ("keys", Slices.of([b"i1", b"i1"]).buffer[:-1]),
        ("value_spans", i8([0, len(GOOD)], [-1, len(GOOD)])),
        ("key_spans", i8([0, 2], [-1, 2])),
        ("key_spans", i8([0, 2])),
        ("rows", np.zeros(1, ROW)),
        ("results", np.zeros(1, np.int8)),
        ("after", np.full(FIELDS, FIELDS)),
        ("after", i8(*[FIELDS] * FIELDS, FIELDS + 1)),
        ("after", i8(-1, *[FIELDS] * FIELDS)),
    ],
)
def test_scan_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(scan, scan_arguments, name, bad)
    arguments = scan_arguments()
    assert scan(*arguments.values()) == 2
    assert arguments["results"].tolist() == [PLAIN, PLAIN]


def scan_stored_arguments() -> Arguments:
    given = scan_arguments()
    del given["keys"], given["key_spans"]
    return given


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("values", Slices.of([GOOD, GOOD]).buffer[:-1]),
        ("value_spans", i8([0, len(GOOD)], [-1, len(GOOD)])),
        ("rows", np.zeros(1, ROW)),
        ("results", np.zeros(1, np.int8)),
        ("after", np.full(FIELDS, FIELDS)),
        ("after", i8(*[FIELDS] * FIELDS, FIELDS + 1)),
    ],
)
def test_scan_stored_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(scan_stored, scan_stored_arguments, name, bad)
    arguments = scan_stored_arguments()
    scan_stored(*arguments.values())
    assert arguments["results"].tolist() == [PLAIN, PLAIN]
    assert arguments["rows"]["hash"].tolist() == [0, 0]


def gather_arguments() -> Arguments:
    return {
        "buffer": np.frombuffer(b"_abcde", np.uint8),
        "spans": i8([4, 2], [6, 0], [1, 3]),
        "copied": np.zeros(5, np.uint8),
    }


def describe_arguments() -> Arguments:
    given = gather_arguments()
    return {
        "buffer": given["buffer"],
        "spans": given["spans"],
        "ts": i8(7, 6, 8),
        "hashes": np.array([2**63, 1, 5], np.uint64),
        "file_end": 100,
        "rows": np.zeros(3, STORED),
    }


def test_gather_copies_strings_one_behind_the_other() -> None:
    arguments = gather_arguments()
    gather(*arguments.values())
    assert arguments["copied"].tobytes() == b"deabc"


def test_describe_stores_time_hash_end_and_check_of_each_string() -> None:
    arguments = describe_arguments()
    describe(*arguments.values())
    checks = [xxhash.xxh3_64_intdigest(text) & 0xFFFFFFFF for text in (b"de", b"", b"abc")]
    expected = [(7, 2**63, 102, checks[0]), (6, 1, 102, checks[1]), (8, 5, 105, checks[2])]
    assert arguments["rows"].tolist() == expected


def test_the_check_is_that_of_xxh3_at_any_length() -> None:
    """Of ids of up to 1,024 bytes the scanner hashes, and of payloads of any length the store."""
    lengths = [*range(300), *range(1_020, 1_092), *range(2_040, 2_056), 3_071, 3_072, 3_073, 5_000]
    texts = [bytes((at * 37 + length) % 251 for at in range(length)) for length in lengths]
    given, rows = Slices.of(texts), np.zeros(len(texts), STORED)
    many = np.zeros(len(texts), np.int64)
    describe(*given.arrays, many, many.astype(np.uint64), 0, rows)
    assert rows["check"].tolist() == [xxhash.xxh3_64_intdigest(text) & 0xFFFFFFFF for text in texts]


BAD_SPANS = [
    i8([4, 3], [6, 0], [1, 2]),
    i8([-1, 2], [6, 0], [1, 3]),
    i8([4, 2], [6, -1], [1, 3]),
]


@pytest.mark.parametrize(("name", "bad"), [*(("spans", bad) for bad in BAD_SPANS), ("copied", np.zeros(4, np.uint8))])
def test_gather_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(gather, gather_arguments, name, bad)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *(("spans", bad) for bad in BAD_SPANS),
        *(("ts", i8(7, 6)), ("hashes", np.zeros(2, np.uint64)), ("rows", np.zeros(2, STORED))),
    ],
)
def test_describe_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(describe, describe_arguments, name, bad)


# ---- names ----------------------------------------------------------------------------------------------------------


def table(names: int) -> Arguments:
    """An empty table with room for exactly so many names more."""
    state = np.zeros(STATE, np.int64)
    state[NEXT_CODES:] = 1
    texts = np.zeros(names * MAX_NAME_BYTES + 8, np.uint8)
    slots = np.zeros(1 << (2 * names).bit_length(), np.int32)
    return {"slots": slots, "entries": np.zeros((names + 1, ENTRY), np.int64), "texts": texts, "state": state}


def texts_arguments() -> Arguments:
    texts = Slices.of([b"ab"])
    given = {"buffer": texts.buffer, "spans": texts.spans, "dimensions": i8(DIMS - 1)}
    return {**given, **table(1), "codes": i4(9)}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("buffer", Slices.of([b"ab"]).buffer[:-1]),
        ("spans", i8([-1, 2])),
        ("spans", i8([0, -1])),
        ("spans", i8([0, 2], [0, 2])),
        ("dimensions", i8(DIMS)),
        ("dimensions", i8(-1)),
        ("dimensions", i8()),
        ("state", np.zeros(STATE - 1, np.int64)),
        ("codes", i4()),
    ],
)
def test_code_texts_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(code_texts, texts_arguments, name, bad)


def test_names_of_the_greatest_length_are_coded_and_longer_ones_refused() -> None:
    for length in (MAX_NAME_BYTES, MAX_NAME_BYTES + 1):
        texts = Slices.of([b"x" * length])
        arguments = {**texts_arguments(), "buffer": texts.buffer, "spans": texts.spans}
        if length > MAX_NAME_BYTES:
            with pytest.raises(IndexError):
                code_texts(*arguments.values())
        else:
            assert code_texts(*arguments.values()) == 1
            assert arguments["codes"].tolist() == [1]


@pytest.mark.parametrize(("name", "less"), [("slots", 2), ("entries", 1), ("texts", 1)])
def test_a_table_without_room_for_a_name_of_the_greatest_length_takes_none(name: str, less: int) -> None:
    """Two slots fewer: their number is a power of two only for speed's sake, half of them stay free."""
    arguments = texts_arguments()
    arguments[name] = arguments[name][:-less]
    assert code_texts(*arguments.values()) == 0
    assert arguments["codes"].tolist() == [9]
    assert code_texts(*texts_arguments().values()) == 1


def test_equal_texts_have_one_code_in_a_dimension_and_each_dimension_counts_from_one() -> None:
    words = [b"", b"a", b"a" * 8, b"a" * 9, b"a" * 16, b"a" * 17, b"a" * 15 + b"b" + b"a", b"a" * 16 + b"b", b"a"]
    texts = Slices.of([*words, *words])
    dimensions = i8(*[0] * len(words), *[2] * len(words))
    codes, name_table = np.full(2 * len(words), 9, np.int32), table(40)
    given = (texts.buffer, texts.spans, dimensions, *name_table.values(), codes)
    assert code_texts(*given) == 2 * len(words)
    assert codes.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 1] * 2


def test_a_text_has_a_code_of_its_own_in_each_dimension_even_where_their_slots_meet() -> None:
    """On the way to its slot in one dimension the text passes the slot that it has in another one."""
    name_table = table(7)
    mask = len(name_table["slots"]) - 1

    def slot(text: bytes, dimension: int) -> int:
        return int(xxhash.xxh3_64_intdigest(text) + int(_PER_DIMENSION) * dimension) & mask

    text, first, second = b"text", 0, 3
    assert slot(text, second) == (slot(text, first) - 1) & mask
    before = next(each for each in map(b"before%d".__mod__, range(1_000)) if slot(each, second) == slot(text, second))
    texts, dimensions = Slices.of([text, before, text]), i8(first, second, second)
    for _ in range(2):
        codes = i4(9, 9, 9)
        given = (texts.buffer, texts.spans, dimensions, *name_table.values(), codes)
        assert code_texts(*given) == 3
        assert codes.tolist() == [1, 1, 2]


def scanned_arguments() -> Arguments:
    arguments = scan_arguments()
    scan(*arguments.values())
    given = {"values": arguments["values"], "starts": i8(0, len(GOOD)), "rows": arguments["rows"], "chosen": i8(1)}
    return {
        **given,
        "wanted": np.ones(DIMS, bool),
        **table(DIMS),
        "codes": np.full((1, code_columns(DIMS)), 9, np.int32),
    }


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("values", scan_arguments()["values"][: -MARGIN - 1]),
        ("starts", i8(0)),
        ("starts", i8(0, -200)),
        # So that the first name, the campaign's, begins a byte before the buffer.
        ("starts", i8(0, -GOOD.index(b'"c"') - 2)),
        ("chosen", i8(2)),
        ("chosen", i8(-1)),
        ("wanted", np.ones(DIMS - 1, bool)),
        ("state", np.zeros(STATE - 1, np.int64)),
        ("codes", np.zeros((0, code_columns(DIMS)), np.int32)),
        ("codes", np.zeros((1, DIMS - 1), np.int32)),
    ],
)
def test_code_scanned_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(code_scanned, scanned_arguments, name, bad, "no such row" if name == "chosen" else None)


@pytest.mark.parametrize(("name", "less"), [("entries", 1), ("texts", 1)])
def test_a_row_is_coded_only_where_all_its_names_fit(name: str, less: int) -> None:
    arguments = scanned_arguments()
    assert code_scanned(*arguments.values()) == 1
    arguments = scanned_arguments()
    arguments[name] = arguments[name][:-less]
    assert code_scanned(*arguments.values()) == 0


# ---- columns --------------------------------------------------------------------------------------------------------


def named(*names: bytes) -> Arguments:
    """Codes 1, 2, … of these names."""
    entries = np.zeros((len(names) + 1, ENTRY), np.int64)
    for number, name in enumerate(names, 1):
        entries[number, :2] = sum(map(len, names[: number - 1])), len(name)
    texts = np.frombuffer(b"".join(names) or b"-", np.uint8)
    numbers = np.arange(len(names) + 1, dtype=np.int32)
    return {"codes": numbers[1:].copy(), "numbers": numbers, "entries": entries, "texts": texts}


def writing() -> Arguments:
    return {**named(b"ab", b"c"), "target": np.zeros(5 + 3 + 2 + 3 + 1, np.uint8)}


def partitioning() -> Arguments:
    return {**named(b"ab", b"c"), "partitions": 1, "found": i4(9, 9)}


NO_NAMES = [
    ("codes", i4(1, 3)),
    ("codes", i4(-1, 1)),
    ("numbers", i4(0, 1, 3)),
    ("numbers", i4(0, 1, -1)),
    ("entries", i8([0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [-1, 1, 0, 0, 0, 0])),
    ("entries", i8([0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [0, -1, 0, 0, 0, 0])),
    ("entries", i8([0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [2, 2, 0, 0, 0, 0])),
]


@pytest.mark.parametrize(("name", "bad"), NO_NAMES)
def test_write_names_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(write_names, writing, name, bad)


@pytest.mark.parametrize(("name", "bad"), [*NO_NAMES, ("partitions", 0), ("found", i4(9))])
def test_find_partitions_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(find_partitions, partitioning, name, bad)


def test_write_names_writes_nothing_into_a_target_that_may_be_too_short() -> None:
    arguments = writing()
    arguments["target"] = arguments["target"][:-1]
    assert write_names(*arguments.values()) == len(arguments["target"]) + 1
    assert not arguments["target"].any()
    assert write_names(*writing().values()) == len(b"\x92\xa2ab\xa1c")


def test_a_name_of_sixteen_bits_of_length_is_written_and_a_longer_one_refused() -> None:
    most = named(b"x" * 0xFFFF)
    target = np.zeros(70_000, np.uint8)
    assert write_names(*{**most, "target": target}.values()) == 1 + 3 + 0xFFFF
    with pytest.raises(IndexError):
        write_names(*{**named(b"x" * 0x10000), "target": target}.values())


@pytest.mark.parametrize("count", [0, 1, 15, 16, 0xFF, 0x100, 0xFFFF, 0x10000, 0x10100])
@pytest.mark.parametrize("length", [1, 31, 32, 255, 256])
def test_names_are_written_as_message_pack_writes_them(count: int, length: int) -> None:
    if count > 0x100 and length > 1:
        return
    name = (b"name%d-" % count * 60)[:length]
    arguments = named(name)
    codes = np.ones(count, np.int32)
    target = np.zeros(5 + count * (3 + length), np.uint8)
    written = write_names(*{**arguments, "codes": codes, "target": target}.values())
    assert target[:written].tobytes() == msgspec.msgpack.encode([name.decode()] * count)


@pytest.mark.parametrize("length", range(1, 14))
def test_partitions_are_those_of_javas_partitioner(length: int) -> None:
    names = [bytes((7 * number + at * 31) % 256 for at in range(length)) for number in range(20)]
    found = np.zeros(20, np.int32)
    find_partitions(*{**named(*names), "partitions": 1_000_003, "found": found}.values())
    assert found.tolist() == [java_partition(name, 1_000_003) for name in names]


def dimensions_arguments() -> Arguments:
    """Two rows of two dimensions, whose names are the same."""
    given = named(b"ab", b"c")
    numbers, marks = np.stack([given["numbers"]] * 2), np.zeros(3, np.int32)
    scratch = {"marks": marks, "distinct": i4(9, 9), "places": i4(9, 9)}
    return {
        "codes": i4([1, 2], [0, 2]),
        "numbers": numbers,
        "entries": given["entries"],
        "texts": given["texts"],
        **scratch,
        "target": np.zeros(200, np.uint8),
    }


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("codes", i4([1], [0])),
        ("codes", i4([1, 3], [0, 2])),
        ("numbers", np.zeros((16, 3), np.int32)),
        ("numbers", i4([0, 1, 2], [0, 1, 3])),
        ("entries", i8([0] * ENTRY, [0, 2, 0, 0, 0], [2, 2, 0, 0, 0])),
        ("marks", i4(0, 0)),
        ("distinct", i4(9)),
        ("places", i4(9)),
    ],
)
def test_write_dimensions_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(write_dimensions, dimensions_arguments, name, bad)


def test_dimensions_are_written_only_where_they_fit() -> None:
    expected = [NameColumn(["ab", ""], b"\x00\x01"), NameColumn(["c"], b"")]
    fitted = 0
    for room in range(200):
        arguments = {**dimensions_arguments(), "target": np.zeros(room, np.uint8)}
        size = write_dimensions(*arguments.values())
        if size <= room:
            fitted += 1
            assert arguments["target"][:size].tobytes() == msgspec.msgpack.encode(expected)
    assert 0 < fitted < 200 - len(msgspec.msgpack.encode(expected))


@pytest.mark.parametrize("largest", [0, 1, 0xFF, 0x100, 0xFFFF, 0x10000, 0xFFFFFFFF, 0x100000000, 2**63 - 1])
@pytest.mark.parametrize("count", [0, 1, 255, 256, 0xFFFF, 0x10000])
def test_numbers_are_written_as_narrow_as_the_largest_of_a_row_allows(largest: int, count: int) -> None:
    numbers = np.zeros((2, count), np.int64)
    numbers[0, -1:], numbers[1, :1] = largest, min(largest, 3)
    room = NUMBERS_HEAD * 3 + 16 * count
    target = np.zeros(room, np.uint8)
    size = write_numbers(numbers, target)
    assert target[:size].tobytes() == msgspec.msgpack.encode([narrow(each) for each in numbers])
    with pytest.raises(IndexError):
        write_numbers(numbers, target[:-1])


def test_write_numbers_refuses_more_rows_than_a_short_list_has() -> None:
    write_numbers(np.zeros((15, 0), np.int64), np.zeros(80, np.uint8))
    with pytest.raises(IndexError):
        write_numbers(np.zeros((16, 0), np.int64), np.zeros(85, np.uint8))


# ---- groups ---------------------------------------------------------------------------------------------------------


def group_arguments() -> Arguments:
    arrays = {name: np.full(4, -7, np.int64) for name in ("starts", "ends", "places")}
    return {"times": i8(25, 3, 29, -1), "span": 10, **arrays}


@pytest.mark.parametrize(("name", "bad"), [("span", 0), ("starts", i8(1)), ("ends", i8(1)), ("places", i8(1, 2, 3))])
def test_group_times_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(group_times, group_arguments, name, bad)
    arguments = group_arguments()
    assert group_times(*arguments.values()) == 3
    found = [arguments[each].tolist() for each in ("starts", "ends", "places")]
    assert found == [[-10, 0, 20, -7], [1, 2, 4, -7], [3, 1, 0, 2]]


@given(st.lists(st.integers(-50, 50) | st.sampled_from([2**40, -(2**40)]), max_size=30), st.integers(1, 20))
def test_times_are_grouped_by_their_spans(times: list[int], span: int) -> None:
    starts, ends, places = (np.zeros(len(times), np.int64) for _ in range(3))
    count = group_times(np.array(times, np.int64), span, starts, ends, places)
    expected = sorted({time - time % span for time in times})
    assert starts[:count].tolist() == expected
    found = np.split(places, ends[:count])
    assert [each.tolist() for each in found[:count]] == [
        [place for place, time in enumerate(times) if time - time % span == start] for start in expected
    ]


def repeated_arguments() -> Arguments:
    hashes = np.array([5, 9, 5, 13], np.uint64)
    return {"hashes": hashes, "slots": np.zeros(8, np.int32), "repeated": np.ones(4, np.bool_)}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("slots", np.zeros(4, np.int32)),
        ("slots", np.zeros(12, np.int32)),
        ("slots", np.full(8, 9, np.int32)),
        ("slots", np.full(8, -1, np.int32)),
        ("repeated", np.ones(3, np.bool_)),
    ],
)
def test_find_repeated_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(find_repeated, repeated_arguments, name, bad)


@given(st.lists(st.integers(0, 12) | st.sampled_from([2**63, 2**63 + 8, 2**64 - 1]), max_size=30))
def test_hashes_that_come_more_than_once_are_found(hashes: list[int]) -> None:
    repeated = np.ones(len(hashes), np.bool_)
    slots = np.zeros(1 << len(hashes).bit_length(), np.int32)
    find_repeated(np.array(hashes, np.uint64), slots, repeated)
    assert repeated.tolist() == [hashes.count(each) > 1 for each in hashes]


# ---- rows of totals -------------------------------------------------------------------------------------------------


# A combination of codes of 16 bits.
WORDS = code_columns(DIMS) // 4


def rows_arguments() -> Arguments:
    """One row known, two combinations asked, one of them new: the table has just room for both to be new."""
    codes = np.zeros((2, WORDS), np.uint64)
    codes[1, -1] = 7
    slots, rows = np.full(8, -1, np.int32), np.zeros((3, WORDS), np.uint64)
    fill_row_slots(slots, rows, 1)
    return {"codes": codes, "slots": slots, "table": rows, "count": 1, "rows": np.full(2, 9, np.int32)}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("rows", i4(9)),
        ("table", np.zeros((2, WORDS), np.uint64)),
        ("slots", np.full(4, -1, np.int32)),
        ("codes", np.zeros((2, WORDS + 1), np.uint64)),
        ("table", np.zeros((3, WORDS + 1), np.uint64)),
    ],
)
def test_find_rows_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(find_rows, rows_arguments, name, bad)
    arguments = rows_arguments()
    assert find_rows(*arguments.values()) == 2
    assert arguments["rows"].tolist() == [0, 1]
    assert arguments["table"][1].tolist() == [0] * (WORDS - 1) + [7]


def filling() -> Arguments:
    return {
        "slots": np.full(4, -1, np.int32),
        "table": np.arange(2 * WORDS, dtype=np.uint64).reshape(2, WORDS),
        "count": 2,
    }


@pytest.mark.parametrize(
    ("name", "bad"),
    [("count", 3), ("slots", np.full(2, -1, np.int32)), ("table", np.zeros((1, WORDS), np.uint64))],
)
def test_fill_row_slots_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(fill_row_slots, filling, name, bad)
    arguments = filling()
    fill_row_slots(*arguments.values())
    assert sorted(arguments["slots"].tolist()) == [-1, -1, 0, 1]


def adding() -> Arguments:
    return {"sums": np.zeros((2, 3), np.int64), "columns": i4(2, 0, 2), "added": i8([1, 2, 3], [10, 20, 30])}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("columns", i4(2, 0, 3)),
        ("columns", i4(2, 0, -1)),
        ("columns", i4(2, 0, 2, 1)),
        ("sums", np.zeros((1, 3), np.int64)),
    ],
)
def test_add_columns_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(add_columns, adding, name, bad)
    arguments = adding()
    add_columns(*arguments.values())
    assert arguments["sums"].tolist() == [[2, 0, 4], [20, 0, 40]]


def adding_narrow() -> Arguments:
    return {**adding(), "sums": np.zeros((2, 3), np.int32), "start": 0}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("columns", i4(2, 0, 3)),
        ("columns", i4(2, 0, -1)),
        ("columns", i4(2, 0, 2, 1)),
        ("sums", np.zeros((1, 3), np.int32)),
        ("start", -1),
    ],
)
def test_add_narrow_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(add_narrow, adding_narrow, name, bad)
    arguments = adding_narrow()
    assert add_narrow(*arguments.values()) == -1
    assert arguments["sums"].tolist() == [[2, 0, 4], [20, 0, 40]]
    assert add_narrow(*(arguments | {"start": 2}).values()) == -1
    assert arguments["sums"].tolist() == [[2, 0, 7], [20, 0, 70]]


def marking() -> Arguments:
    return {"first": np.zeros(3, bool), "second": np.zeros(3, bool), "places": i4(2, 0)}


@pytest.mark.parametrize(
    ("name", "bad"),
    [("places", i4(3)), ("places", i4(-1)), ("first", np.zeros(2, bool)), ("second", np.zeros(2, bool))],
)
def test_mark_refuses_what_is_not_within_its_arrays(name: str, bad: Any) -> None:
    refuses(mark, marking, name, bad)
    arguments = marking()
    mark(*arguments.values())
    assert arguments["first"].tolist() == arguments["second"].tolist() == [True, False, True]


# ---- the index ------------------------------------------------------------------------------------------------------


def inserting() -> Arguments:
    return {"slots": np.zeros(2, np.uint64), "first": 5, "hashes": np.array([3], np.uint64), "positions": i8(5)}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("positions", i8(4)),
        ("positions", i8(5 + MOST_POSITIONS)),
        ("positions", i8()),
        ("slots", np.zeros(3, np.uint64)),
        ("slots", np.ones(2, np.uint64)),
    ],
)
def test_insert_refuses_what_is_not_within_its_table(name: str, bad: Any) -> None:
    refuses(insert, inserting, name, bad)
    arguments = {**inserting(), "positions": i8(5 + MOST_POSITIONS - 1)}
    insert(*arguments.values())


def test_insert_fills_the_last_free_slot() -> None:
    slots = np.zeros(4, np.uint64)
    insert(slots, 0, np.full(4, 6, np.uint64), np.arange(4))
    assert slots.all()


def test_find_says_when_more_positions_are_found_than_fit_and_leaves_out_those_below_the_base() -> None:
    slots = np.zeros(16, np.uint64)
    hash_ = (5 << 40) + 15
    insert(slots, 100, np.full(3, hash_, np.uint64), i8(100, 101, 102))
    tables = i8([slots.ctypes.data, len(slots) - 1, 100])
    asked = np.array([1 << 50, hash_], np.uint64)

    def found(base: int, places: int, positions: int) -> Any:
        places_, positions_ = np.full(places, 9, np.int64), np.full(positions, 9, np.int64)
        return find(tables, asked, base, places_, positions_), places_.tolist(), positions_.tolist()

    assert found(0, 3, 3) == (3, [1, 1, 1], [100, 101, 102])
    assert found(101, 2, 2) == (2, [1, 1], [101, 102])
    assert found(103, 0, 0) == (0, [], [])
    assert found(0, 2, 3)[0] == found(0, 3, 2)[0] == -1

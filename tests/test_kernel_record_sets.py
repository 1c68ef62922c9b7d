"""Records of batches, as the kernel takes them apart, beside a plain parser of Kafka's format 2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.headers import unpacked
from streams.kernels.record_sets import BATCH, LEAST_RECORD_BYTES, take_apart
from tests.batches import Rec, number, written
from tests.canaries import guarded

WRITTEN = (False, False, False, True, False, False, True, True, True, True, True)
FIRST, FIRST_MS = 70, 1_700_000_000_000


class Malformed(Exception):
    """The bytes are no records."""


Row = tuple[int, int, bytes | None, bytes | None, bytes]


def plainly(data: bytes, count: int) -> list[Row]:
    """(offset, time, key, value, headers) by the format's description; headers are what follows the value, as it is."""
    at = 0

    def next_number(stop: int) -> int:
        nonlocal at
        bits = 0
        for shift in range(0, 64, 7):
            if at >= stop:
                break
            at += 1
            bits |= (data[at - 1] & 127) << shift
            if data[at - 1] < 128:
                bits &= 2**64 - 1
                return (bits >> 1) ^ -(bits & 1)
        raise Malformed

    def next_text(stop: int) -> bytes | None:
        nonlocal at
        length = next_number(stop)
        if not -1 <= length <= stop - at:
            raise Malformed
        at += max(length, 0)
        return None if length < 0 else data[at - length : at]

    rows: list[Row] = []
    for _ in range(count):
        length = next_number(len(data))
        if not 1 <= length <= len(data) - at:
            raise Malformed
        end = at + length
        at += 1
        delta_ms, delta = next_number(end), next_number(end)
        key, value = next_text(end), next_text(end)
        offset = (FIRST + delta + 2**63) % 2**64 - 2**63
        if offset <= (rows[-1][0] if rows else -1):
            raise Malformed
        rows.append((offset, (FIRST_MS + delta_ms + 2**63) % 2**64 - 2**63, key, value, data[at:end]))
        at = end
    if at != len(data):
        raise Malformed
    return rows


def taken(data: bytes, count: int, *, wanted: int = 0, appended_ms: int = -1, before: bytes = b"") -> list[Row]:
    """The same by the kernel, with headers and without, between canaries, from a source that has `before` in front and
    nothing behind."""
    try:
        without = one_way(data, count, wanted=wanted, appended_ms=appended_ms, before=before, headers=False)
    except Malformed:
        with pytest.raises(Malformed):
            one_way(data, count, wanted=wanted, appended_ms=appended_ms, before=before, headers=True)
        raise
    found = one_way(data, count, wanted=wanted, appended_ms=appended_ms, before=before, headers=True)
    assert [row[:4] for row in found] == [row[:4] for row in without]
    return found


def one_way(data: bytes, count: int, *, wanted: int, appended_ms: int, before: bytes, headers: bool) -> list[Row]:
    """By the kernel with headers, or without."""
    source = np.frombuffer(before + data, np.uint8) if before + data else np.empty(0, np.uint8)
    batches = np.array([[len(before), len(before) + len(data), count, FIRST, FIRST_MS, appended_ms]], np.int64)
    shapes = (count, count, (count, 2), (count, 2), (count if headers else 0, 2))
    columns = [np.full(shape, -7, np.int64) for shape in shapes]
    room = np.full(len(before) + len(data) + 5, ord("?"), np.uint8)
    start, stop = len(before), len(before) + len(data)
    found = guarded("take_apart", take_apart, WRITTEN, (source, batches, wanted, room, start, stop, *columns))
    assert room[:start].tobytes() + room[stop:].tobytes() == b"?" * (start + 5)
    if found < 0:
        assert found == -1
        raise Malformed
    offsets, times, keys, values, packed = (column[:found].tolist() for column in columns)
    # One behind the other from the start, and from the stop.
    assert [at for at, _ in values] == [start + sum(max(size, 0) for _, size in values[:at]) for at in range(found)]
    behind = stop
    for row, (at, size) in enumerate(keys):
        behind -= max(size, 0)
        assert at == behind
        if headers:
            behind -= packed[row][1]
            assert packed[row][0] == behind
    strings = [
        [None if length < 0 else bytes(room[at : at + length]) for at, length in each]
        for each in (keys, values, packed or [(0, 0)] * found)
    ]
    return list(zip(offsets, times, *strings, strict=True))


texts = st.none() | st.binary(max_size=40) | st.binary(min_size=60, max_size=300)
headers = st.lists(
    st.tuples(st.text("aé_", max_size=5).map(str.encode), st.none() | st.binary(max_size=5)), max_size=3
).map(tuple)


@st.composite
def batches(draw: st.DrawFn) -> list[Rec]:
    """Records of a batch, with gaps as compaction leaves them."""
    steps = draw(st.lists(st.integers(1, 3) | st.integers(1, 2**30), max_size=8))
    times = st.integers(-(2**40), 2**40)
    return [Rec(delta, draw(times), draw(texts), draw(texts), draw(headers)) for delta in np.cumsum(steps).tolist()]


@given(batches(), st.binary(max_size=9))
def test_records_come_out_as_they_were_written(records: list[Rec], before: bytes) -> None:
    expected = [(FIRST + each.delta, FIRST_MS + each.delta_ms, each.key, each.value) for each in records]
    data = written(records)
    found = taken(data, len(records), before=before)
    assert found == plainly(data, len(records))
    assert [row[:4] for row in found] == expected
    assert [unpacked(row[4]) for row in found] == [
        [(name.decode(), value) for name, value in each.headers] for each in records
    ]


def outcome(parse: Any, data: bytes, count: int) -> list[Row] | None:
    try:
        return list(parse(data, count))
    except Malformed:
        return None


@given(batches(), st.data())
def test_mutated_and_truncated_records_are_what_a_plain_parser_says(records: list[Rec], data: st.DataObject) -> None:
    mutated = bytearray(written(records))
    for _ in range(data.draw(st.integers(0, 4))):
        if mutated:
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(
                st.integers(0, 255) | st.sampled_from([0, 1, 2, 127, 128, 255])
            )
    cut = bytes(mutated[: data.draw(st.integers(0, len(mutated)))]) if data.draw(st.booleans()) else bytes(mutated)
    count = max(0, len(records) + data.draw(st.sampled_from([0, 0, 0, -1, 1])))
    assert outcome(taken, cut, count) == outcome(plainly, cut, count)


@given(st.binary(max_size=60), st.integers(0, 9))
def test_any_bytes_are_what_a_plain_parser_says(data: bytes, count: int) -> None:
    assert outcome(taken, data, count) == outcome(plainly, data, count)


RECORDS = [Rec(0, 5, b"k", b"v"), Rec(2, 6, None, b"w"), Rec(3, 4, b"", None, ((b"h", b"x"), (b"h", None)))]


@pytest.mark.parametrize("length", [-(2**63), -2, 1, 2**31, 2**62, 2**63 - 1])
@pytest.mark.parametrize("which", ["record", "key", "value"])
def test_a_length_beyond_the_record_or_below_none_is_malformed(which: str, length: int) -> None:
    """Also one that, added to an address, comes out below zero."""
    head, key, rest = b"\0" + number(0) + number(0), number(-1), number(-1) + number(0)
    if which == "key":
        key, rest = number(length), b"" if length == 1 else rest
    if which == "value":
        rest = number(length)
    body = head + key + rest
    data = number(len(body)) + body
    if which == "record":
        data = number(length) + (body[:1] if length == 1 else body)
    for parse in (taken, plainly):
        with pytest.raises(Malformed):
            parse(data, 1)


@pytest.mark.parametrize(("number_bytes", "right"), [(9, True), (10, False)])
def test_a_number_has_at_most_ten_bytes(number_bytes: int, right: bool) -> None:
    body = b"\0" + b"\x80" * number_bytes + b"\0" + number(0) + number(-1) + number(-1) + number(0)
    for parse in (taken, plainly):
        assert (outcome(parse, number(len(body)) + body, 1) is not None) == right


def test_the_shortest_record_has_as_many_bytes_as_the_bound_says() -> None:
    assert len(written([Rec(0, 0, None, None)])) == LEAST_RECORD_BYTES


@pytest.mark.parametrize(("wanted", "found"), [(70, 3), (71, 2), (72, 2), (73, 1), (74, 0)])
def test_records_below_the_wanted_offset_are_left_out(wanted: int, found: int) -> None:
    rows = taken(written(RECORDS), 3, wanted=wanted)
    assert [row[0] for row in rows] == [70, 72, 73][3 - found :]


def test_the_brokers_own_timestamp_takes_the_place_of_the_producers() -> None:
    assert [row[1] for row in taken(written(RECORDS), 3, appended_ms=9)] == [9, 9, 9]
    assert [row[1] for row in taken(written(RECORDS), 3, appended_ms=0)] == [0, 0, 0]


def test_batches_of_one_buffer_follow_each_other_and_the_malformed_one_is_named() -> None:
    one, two = written(RECORDS), written(RECORDS[:1])
    source, room = np.frombuffer(one + two, np.uint8), np.zeros(99, np.uint8)
    rows = np.array([[0, len(one), 3, 70, 0, -1], [len(one), len(one) + len(two), 1, 80, 0, -1]], np.int64)
    columns = [np.zeros(shape, np.int64) for shape in (4, 4, (4, 2), (4, 2), (0, 2))]
    assert take_apart(source, rows, 0, room, 0, 99, *columns) == 4
    assert columns[0].tolist() == [70, 72, 73, 80]
    # Offsets ascend over the bounds of batches as well.
    rows[1, 3] = 73
    assert take_apart(source, rows, 0, room, 0, 99, *columns) == -2
    rows[1, 3] = 74
    assert take_apart(source, rows, 0, room, 0, 99, *columns) == 4


def good() -> dict[str, Any]:
    data = np.frombuffer(written(RECORDS), np.uint8)
    rows = np.array([[0, len(data), 3, FIRST, 0, -1]], np.int64)
    assert rows.shape[1] == BATCH
    columns = {name: np.zeros(3, np.int64) for name in ("offsets", "times")}
    spans = {name: np.zeros((3, 2), np.int64) for name in ("keys", "values")} | {"headers": np.zeros((0, 2), np.int64)}
    # Keys and values have three bytes.
    room = {"buffer": np.zeros(9, np.uint8), "start": 6, "stop": 9}
    return {"source": data, "batches": rows, "wanted": 0, **room, **columns, **spans}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("source", np.frombuffer(written(RECORDS)[:-1], np.uint8)),
        ("buffer", np.zeros(8, np.uint8)),
        ("start", 7),
        ("start", 10),
        ("start", -1),
        ("stop", 8),
        ("batches", np.array([[-1, 5, 1, 0, 0, -1]], np.int64)),
        ("batches", np.array([[2, 1, 0, 0, 0, -1]], np.int64)),
        ("batches", np.array([[0, 5, -1, 0, 0, -1]], np.int64)),
        ("offsets", np.zeros(2, np.int64)),
        ("times", np.zeros(2, np.int64)),
        ("keys", np.zeros((2, 2), np.int64)),
        ("values", np.zeros((2, 2), np.int64)),
        ("headers", np.zeros((2, 2), np.int64)),
        # Headers have bytes too, for which there is no room.
        ("headers", np.zeros((3, 2), np.int64)),
    ],
)
def test_what_is_not_within_the_arrays_is_refused(name: str, bad: Any) -> None:
    assert take_apart(*good().values()) == 3
    with pytest.raises(IndexError, match=r"not within its|too short"):
        take_apart(*{**good(), name: bad}.values())

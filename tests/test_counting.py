"""Totals in arrays against totals in a dict: same sums whatever collides, and the same again from disk."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streams.join.totals.counting
import streams.join.totals.journal
from schemas.bounds import JoinBounds
from schemas.codec import encode
from schemas.errors import DamagedState
from schemas.events import Impression
from schemas.packed import NameColumn, campaign_totals, minute_totals, wide
from schemas.records import Out, Records
from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS
from streams.join.scanned import ImpressionDecoder, ScannedImpressions
from streams.join.totals.counting import Counting
from streams.join.totals.measures import SHOWN
from streams.join.totals.names import Names, code_columns
from streams.join.totals.tables import Int32s, Table
from streams.kafka.partitioners import java_partition
from streams.kernels.columns import find_partitions, write_names
from streams.kernels.slices import MARGIN
from tests.simulation.disk import SimulatedDisk
from tests.sizes import small_sizes

T0 = 1_700_000_000_000 - 1_700_000_000_000 % 900_000
WIDE = code_columns(len(DIMENSIONS))
Event = tuple[str, str | None, int, int]
_events = st.tuples(
    st.sampled_from(["a", "b", "c"]), st.sampled_from([None, "", "x", "y"]), st.integers(0, 20), st.integers(0, 3)
)


def impression(event: Event) -> Impression:
    campaign, country, minute, price = event
    return Impression(
        impression_id="i",
        ts=T0 + minute * MINUTE_MS,
        campaign_id=campaign,
        creative_id=f"{campaign}-{price}",
        price_micros=price,
        country=country,
        pctr=0.25,
    )


def scanned(impressions: list[Impression]) -> ScannedImpressions:
    """As the join has them after it has read them."""
    keys, values = [each.impression_id.encode() for each in impressions], list(map(encode, impressions))
    times = [each.ts for each in impressions]
    events = (
        ImpressionDecoder(JoinBounds()).decode(Records("impressions", 0, range(len(keys)), times, keys, values)).events
    )
    assert isinstance(events, ScannedImpressions)
    return events


def count(counting: Counting, steps: list[tuple[list[Event], list[Event]]]) -> None:
    for shown, clicked in steps:
        if shown:
            made = scanned([impression(event) for event in shown])
            counting.add_impressions(made, np.arange(len(made)), made.ts)
        for event in clicked:
            counting.add_click(impression(event), T0 + MINUTE_MS, repeat=event[3] == 0)


def plainly(steps: list[tuple[list[Event], list[Event]]]) -> Counter[tuple[object, ...]]:
    """What the totals must be: (minute, campaign, creative, country, measure) -> sum."""
    sums: Counter[tuple[object, ...]] = Counter()

    def add(event: Event, minute: int, **more: int) -> None:
        campaign, country, _, price = event
        for measure, value in more.items():
            sums[minute, campaign, f"{campaign}-{price}", country or "", measure] += value

    for shown, clicked in steps:
        for event in shown:
            minute, price = T0 + event[2] * MINUTE_MS, event[3]
            add(event, minute, impressions=1, expected_clicks_nano=250_000_000, expected_spend_micros=round(price / 4))
        for event in clicked:
            if event[3] == 0:
                add(event, T0 + MINUTE_MS, repeats=1)
            else:
                add(event, T0 + MINUTE_MS, clicks=1, spend_micros=event[3])
                minute = T0 + event[2] * MINUTE_MS
                add(event, minute, attributed_clicks=1, attributed_spend_micros=event[3])
    return Counter({key: value for key, value in sums.items() if value})


def reported(counting: Counting) -> Counter[tuple[object, ...]]:
    outs, _, cut = counting.report(0, 1, final_ms=0, limit=1_000_000)
    assert not cut
    sums = totals_of(outs)
    by_campaign: Counter[tuple[object, ...]] = Counter()
    for (minute, campaign, _, _, measure), value in sums.items():
        assert isinstance(minute, int)
        by_campaign[minute - minute % 900_000, campaign, measure] += value
    assert campaigns_of(outs) == by_campaign
    return sums


def totals_of(outs: list[Out]) -> Counter[tuple[object, ...]]:
    sums: Counter[tuple[object, ...]] = Counter()
    for out in outs:
        if out.topic == "totals":
            for row in minute_totals(out.value or b"").rows():
                key = (row.minute, *(getattr(row, name) for name in DIMENSIONS))
                assert (*key, "impressions") not in sums, "a total came twice in one report"
                for measure in MEASURES:
                    at = (row.minute, row.campaign_id, row.creative_id, row.country, measure)
                    sums[at] += getattr(row, measure)
    return Counter({key: value for key, value in sums.items() if value})


def campaigns_of(outs: list[Out]) -> Counter[tuple[object, ...]]:
    rows = [row for out in outs if out.topic == "campaign_totals" for row in campaign_totals(out.value or b"")]
    return Counter(
        {
            (row.quarter, row.campaign_id, measure): getattr(row, measure)
            for row in rows
            for measure in MEASURES
            if getattr(row, measure)
        }
    )


_steps = st.lists(st.tuples(st.lists(_events, max_size=8), st.lists(_events, max_size=4)), max_size=6)


@given(_steps)
def test_totals_are_the_plain_sums(steps: list[tuple[list[Event], list[Event]]]) -> None:
    counting = Counting(SimulatedDisk())
    count(counting, steps)
    assert reported(counting) == plainly(steps)


def test_combinations_that_differ_in_one_code_only_are_told_apart() -> None:
    table = Table()
    codes = np.zeros((8 * 1_000, WIDE), np.int32)
    for number in range(8 * 1_000):
        codes[number, number % 8] = 1 + number // 8
    shuffled = np.random.default_rng(1).permutation(codes)
    for start in range(0, len(codes), 700):
        table.rows_of(shuffled[start : start + 700])
    rows = table.rows_of(codes)
    assert table.count == len(codes)
    assert np.array_equal(table.codes[rows], codes)


@pytest.mark.parametrize("first", [2**16 - 2, 2**16 - 1])
def test_a_table_keeps_its_rows_when_a_code_needs_more_than_16_bits(first: int) -> None:
    table = Table()
    codes = np.zeros((300, WIDE), np.int32)
    codes[:, 3] = np.arange(first - 298, first + 2)
    rows = [table.rows_of(codes[start : start + 100]) for start in range(0, 300, 100)]
    assert np.concatenate(rows).tolist() == list(range(300))
    assert table.codes.itemsize == (2 if first + 1 < 2**16 else 4)
    assert table.rows_of(codes).tolist() == list(range(300))
    assert np.array_equal(table.codes[:300], codes)


@pytest.mark.parametrize("more", [0, 1])
def test_sums_go_on_when_one_needs_more_than_32_bits(more: int) -> None:
    table, twice = Table(), np.zeros((2, WIDE), np.int32)
    twice[1, 0] = 5
    for added in (2**30, 2**30 - 1 + more):
        table.add(twice, np.full((len(SHOWN), 2), added, np.int64) - np.array([0, 1]), SHOWN)
    assert table.shown.itemsize == (4 if not more else 8)
    assert table.measures(np.arange(2))[SHOWN, :].tolist() == [[2**31 - 1 + more, 2**31 - 3 + more]] * len(SHOWN)
    restored = Table()
    restored.put(np.arange(2, dtype=np.int32), twice, table.shown[:, :2].astype(np.int64))
    assert np.array_equal(restored.measures(np.arange(2)), table.measures(np.arange(2)))


@given(_steps, _steps, _steps)
def test_totals_read_back_from_disk_go_on_as_if_never_away(
    before: list[tuple[list[Event], list[Event]]],
    between: list[tuple[list[Event], list[Event]]],
    after: list[tuple[list[Event], list[Event]]],
) -> None:
    with small_sizes():
        disk = SimulatedDisk()
        first = Counting(disk)
        count(first, before)
        first.snapshot()
        first.snapshot_kept()
        count(first, between)
        states = first.snapshot()
        first.snapshot_kept()
        count(first, after)
        first.snapshot()  # never kept: what it wrote behind the snapshot is cut off
        second = Counting(disk)
        second.restore(states)
        second.all_dirty()
        count(second, after)
        third = Counting(disk)
        third.restore(second.snapshot())
        third.all_dirty()
    assert reported(second) == reported(third) == plainly(before + between + after)


def test_what_was_appended_behind_a_snapshot_is_cut_off_and_what_it_does_not_name_is_deleted() -> None:
    disk, event = SimulatedDisk(), ("a", "x", 0, 1)
    step: list[tuple[list[Event], list[Event]]] = [([event], [event])]
    first = Counting(disk)
    count(first, step)
    states = first.snapshot()
    (name,) = disk.names()
    disk.append(name, b"of a snapshot that was never kept")
    disk.append("totals-7-0", b"of another quarter")
    second = Counting(disk)
    second.restore(states)
    assert disk.names() == [name]
    count(second, step)
    third = Counting(disk)
    third.restore(second.snapshot())
    third.all_dirty()
    assert reported(third) == plainly(step + step)
    third.clear()
    assert disk.names() == []
    assert len(third) == 0


def test_minute_that_was_final_at_the_checkpoint_is_not_read_back() -> None:
    """Its entries are still in the file of the quarter. Reported again, it would take the place of what is final."""
    disk = SimulatedDisk()
    first = Counting(disk)
    early, late = ("a", "x", 0, 1), ("b", "x", 1, 1)
    count(first, [([early, late], [early])])
    first.snapshot()
    first.snapshot_kept()
    first.report(0, 1, final_ms=T0 + MINUTE_MS, limit=100)
    first.drop_final(T0 + MINUTE_MS)
    states = first.snapshot()
    second = Counting(disk)
    second.restore(states)
    second.all_dirty()
    outs, _, _ = second.report(0, 2, final_ms=0, limit=100)
    assert {key[0] for key in totals_of(outs)} == {T0 + MINUTE_MS}


@given(_steps)
def test_totals_are_read_back_when_each_minute_is_an_entry(steps: list[tuple[list[Event], list[Event]]]) -> None:
    disk = SimulatedDisk()
    with patch.object(streams.join.totals.journal, "_ENTRY_ROW_BYTES", 0):
        counting = Counting(disk)
        count(counting, steps)
        states = counting.snapshot()
    again = Counting(disk)
    again.restore(states)
    again.all_dirty()
    assert reported(again) == plainly(steps)


def test_journal_that_keeps_rewriting_the_same_total_is_begun_anew() -> None:
    disk, event = SimulatedDisk(), ("a", "x", 0, 1)
    with patch.object(streams.join.totals.journal, "_SMALL_BYTES", 1_000):
        counting = Counting(disk)
        for _ in range(200):
            count(counting, [([event], [event])])
            states = counting.snapshot()
            counting.snapshot_kept()
    assert len(disk.names()) == 1
    assert len(disk.files[disk.names()[0]]) < 10_000
    again = Counting(disk)
    again.restore(states)
    again.all_dirty()
    assert reported(again) == plainly([([event], [event])] * 200)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_damaged_totals_are_noticed(damage: str) -> None:
    disk = SimulatedDisk()
    counting = Counting(disk)
    count(counting, [([("a", "x", 0, 1)], [])])
    states = counting.snapshot()
    name = disk.names()[0]
    if damage == "flipped":
        disk.files[name][40] ^= 1
    elif damage == "cut":
        del disk.files[name][-1]
    else:
        disk.delete(name)
    with pytest.raises(DamagedState, match=name):
        Counting(disk).restore(states)


def test_campaigns_are_counted_where_minutes_do_not_tell_them_apart() -> None:
    counting = Counting(SimulatedDisk(), dimensions=("country",))
    count(counting, [([("a", "x", 0, 1), ("b", "x", 0, 1)], [])])
    outs, _, _ = counting.report(0, 1, final_ms=0, limit=100)
    assert {key[1] for key in campaigns_of(outs)} == {"a", "b"}
    assert {key[1:4] for key in totals_of(outs)} == {("", "", "x")}


_names = st.text(min_size=0, max_size=12) | st.sampled_from(
    ["", "plain", 'a"b', "back\\slash", "\x1f", "\x7f", "ü€😀", "x" * 300]
)


@given(st.lists(st.lists(_names, min_size=len(DIMENSIONS), max_size=len(DIMENSIONS)), max_size=20))
def test_names_are_written_once_each_with_the_place_of_every_row(rows: list[list[str]]) -> None:
    names = Names()
    codes = np.zeros((len(rows), WIDE), np.int32)
    for number, row in enumerate(rows):
        codes[number, : len(DIMENSIONS)] = names.codes_of(np.arange(len(DIMENSIONS)), row)
        # In parts, as reports ask while names come.
        assert read_back(names, codes[: number + 1]) == [list(each) for each in zip(*rows[: number + 1], strict=True)]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_any_number_of_names_is_a_list_of_messagepack(count: int) -> None:
    names = Names()
    texts = [f"{number}" * (1 + number % 60) for number in range(1, count + 1)]
    texts[1:2] = ["x" * 256] if count > 1 else []
    codes = names.codes_of(np.zeros(count, np.int64), texts)
    assert msgspec.msgpack.decode(names.written(0, codes), type=list[str]) == texts


@given(st.lists(_names, max_size=30), st.integers(1, 70))
def test_campaigns_are_where_javas_partitioner_puts_them(texts: list[str], partitions: int) -> None:
    names = Names()
    codes = names.codes_of(np.zeros(len(texts), np.int64), texts)
    expected = [java_partition(text.encode(), partitions) for text in texts]
    assert names.partitions(0, codes, partitions).tolist() == expected


def test_campaign_totals_are_one_record_for_each_partition_and_quarter() -> None:
    counting = Counting(SimulatedDisk(), campaign_partitions=4)
    events: list[Event] = [(f"k{number}", "x", 0, 1) for number in range(200)]
    count(counting, [(events, [])])
    outs = [out for out in counting.report(0, 1, final_ms=0, limit=1_000)[0] if out.topic == "campaign_totals"]
    assert sorted(out.partition for out in outs if out.partition is not None) == [0, 1, 2, 3]
    for out in outs:
        assert {java_partition(row.campaign_id.encode(), 4) for row in campaign_totals(out.value or b"")} == {
            out.partition
        }
    assert len(campaigns_of(outs)) == 200 * 2


def test_record_that_long_names_make_too_large_is_halved() -> None:
    """A broker takes 1 MiB as it comes."""
    with patch.object(streams.join.totals.counting, "_LARGEST_BYTES", 4_000):
        counting = Counting(SimulatedDisk())
        events: list[Event] = [(f"{number:0200d}", "x", 0, 1) for number in range(100)]
        count(counting, [(events, [])])
        outs = counting.report(0, 1, final_ms=0, limit=1_000)[0]
    assert max(len(out.value or b"") for out in outs) <= 4_000
    assert len(campaigns_of(outs)) == 100 * 2
    assert len({key[1] for key in totals_of(outs)}) == 100


def read_back(names: Names, codes: Int32s) -> list[list[str]]:
    """The names of every row, by dimension, from the columns as they are written."""
    columns = msgspec.msgpack.decode(msgspec.msgpack.encode(names.columns(codes)), type=list[NameColumn])
    assert all(len(set(column.names)) == len(column.names) for column in columns)
    return [[column.names[place] for place in wide(column.places, len(codes)).tolist()] for column in columns]


def test_a_code_or_a_name_that_is_not_there_is_an_error_and_nothing_is_written_beyond_the_target() -> None:
    names = Names()
    codes = names.codes_of(np.zeros(2, np.int64), ["name", "x" * 40])
    table = names._numbers[0], names._entries, names._texts
    names.written(0, codes)
    # Each name may take two bytes more than it does, and the list four.
    needed = write_names(codes, *table, np.empty(0, np.uint8))
    for room in range(needed):
        outer = np.full(room + 2 * MARGIN, 7, np.uint8)
        assert write_names(codes, *table, outer[MARGIN : MARGIN + room]) == needed
        assert np.all(outer == 7)
    outer = np.full(needed + 2 * MARGIN, 7, np.uint8)
    assert write_names(codes, *table, outer[MARGIN:-MARGIN]) == 1 + 1 + 4 + 2 + 40
    assert np.all(outer[:MARGIN] == 7)
    assert np.all(outer[-MARGIN:] == 7)
    found = np.zeros(2, np.int32)
    for wrong in (-1, len(names._numbers[0])):
        with pytest.raises(IndexError, match="no such code"):
            write_names(codes * 0 + wrong, *table, outer)
        with pytest.raises(IndexError, match="no such code"):
            find_partitions(codes * 0 + wrong, *table, 3, found)
    with pytest.raises(IndexError, match="no such name"):
        write_names(codes, table[0] + 10_000, *table[1:], outer)
    with pytest.raises(IndexError, match="not within its buffer"):
        write_names(codes, *table[:2], names._texts[:3], outer)
    with pytest.raises(IndexError, match="shorter"):
        find_partitions(codes, *table, 3, found[:1])

"""Totals in arrays against totals in a dict: same sums whatever collides, and the same again from disk."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streams.join.totals.journal
from schemas.bounds import JoinBounds
from schemas.codec import decode, encode
from schemas.errors import DamagedState
from schemas.events import Impression
from schemas.records import Out, Records
from schemas.totals import DIMENSIONS, MEASURES, MINUTE_MS, CampaignTotal, MinuteTotals
from streams.join.scanned import ImpressionDecoder, ScannedImpressions
from streams.join.totals.counting import Counting
from streams.join.totals.names import CODE_COLUMNS, Names
from streams.join.totals.tables import Table
from streams.kernels.names import write_columns
from streams.kernels.slices import MARGIN
from tests.simulation.disk import SimulatedDisk
from tests.sizes import small_sizes

T0 = 1_700_000_000_000 - 1_700_000_000_000 % 900_000
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
        counting.flush()


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
            for row in decode(out.value or b"", MinuteTotals).rows():
                key = (row.minute, *(getattr(row, name) for name in DIMENSIONS))
                assert (*key, "impressions") not in sums, "a total came twice in one report"
                for measure in MEASURES:
                    at = (row.minute, row.campaign_id, row.creative_id, row.country, measure)
                    sums[at] += getattr(row, measure)
    return Counter({key: value for key, value in sums.items() if value})


def campaigns_of(outs: list[Out]) -> Counter[tuple[object, ...]]:
    rows = [decode(out.value or b"", CampaignTotal) for out in outs if out.topic == "campaign_totals"]
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
    codes = np.zeros((8 * 1_000, CODE_COLUMNS), np.int32)
    for number in range(8 * 1_000):
        codes[number, number % 8] = 1 + number // 8
    shuffled = np.random.default_rng(1).permutation(codes)
    for start in range(0, len(codes), 700):
        table.rows_of(shuffled[start : start + 700])
    rows = table.rows_of(codes)
    assert table.count == len(codes)
    assert np.array_equal(table.codes[rows], codes)


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
    assert reported(second) == plainly(before + between + after)


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


@given(st.lists(st.lists(_names, min_size=len(DIMENSIONS), max_size=len(DIMENSIONS)), max_size=20), st.booleans())
def test_names_are_written_as_orjson_writes_them(rows: list[list[str]], plain: bool) -> None:
    if plain:
        rows = [[name.translate({34: None, 92: None, **dict.fromkeys(range(32))}) for name in row] for row in rows]
    names = Names()
    codes = np.zeros((len(rows), CODE_COLUMNS), np.int32)
    for number, row in enumerate(rows):
        codes[number, : len(DIMENSIONS)] = names.codes_of(np.arange(len(DIMENSIONS)), row)
        # In parts, as reports ask while names come.
        assert orjson.loads(names.json_columns(codes[: number + 1]))[0] == [each[0] for each in rows[: number + 1]]
    columns = [[row[dimension] for row in rows] for dimension in range(len(DIMENSIONS))]
    assert names.json_columns(codes) == orjson.dumps(columns)


def test_a_code_or_a_name_that_is_not_there_is_an_error_and_nothing_is_written_beyond_the_target() -> None:
    names = Names()
    codes = np.zeros((1, CODE_COLUMNS), np.int32)
    codes[0, : len(DIMENSIONS)] = names.codes_of(np.arange(len(DIMENSIONS)), ["name"] * len(DIMENSIONS))
    needed = len(names.json_columns(codes))
    table = names._numbers, names._entries, names._texts
    for room in range(needed):
        outer = np.full(room + 2 * MARGIN, 7, np.uint8)
        assert write_columns(codes, *table, outer[MARGIN : MARGIN + room]) == needed
        assert np.all(outer == 7)
    outer = np.full(needed + 2 * MARGIN, 7, np.uint8)
    assert write_columns(codes, *table, outer[MARGIN:-MARGIN]) == needed
    assert np.all(outer[:MARGIN] == 7)
    assert np.all(outer[-MARGIN:] == 7)
    for wrong in (-1, names._numbers.shape[1]):
        with pytest.raises(IndexError, match="no such code"):
            write_columns(codes * 0 + wrong, *table, outer)
    with pytest.raises(IndexError, match="no such name"):
        write_columns(codes, names._numbers + 10_000, *table[1:], outer)
    with pytest.raises(IndexError, match="not within its buffer"):
        write_columns(codes, *table[:2], names._texts[:3], outer)

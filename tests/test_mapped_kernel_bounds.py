"""Every bound that the kernels of mappings check, just inside and just outside: trees, spans, slots, rules, room."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from streams.kernels.events import SCRATCH, make_events
from streams.kernels.places import CHILD, ENTRY, LENGTH, NAME, NEXT, find_places
from streams.kernels.places import SLOT as ENTRY_SLOT
from streams.kernels.rules import (
    CONDITION,
    FIRST,
    FIXED,
    FIXED_LENGTH,
    IS,
    IS_MANY,
    MANY,
    MONEY,
    OP,
    PREFIX,
    PREFIX_LENGTH,
    SLOT,
    TAKEN,
    A,
    B,
)
from streams.kernels.slices import MARGIN, Slices
from streams.mapping.plan import Plan
from streams.mapping.rows import TextRows
from tests.mapped import IMPRESSIONS, compiled
from tests.test_kernel_bounds import Arguments, i8, refuses

RULES = (
    'ts = "t"\nprice_micros = { path = "p", unit = "units" }\nuser_id = { join = ["i", "c"], with = "//" }\n'
    'feature_patterns = ["f.*"]\n[impressions.where]\nk = ["view", "seen"]\n'
)
VALUE = orjson.dumps({"i": "i1", "t": 1_700_000_000_000, "c": "c", "a": "b", "p": 1, "f": {"x": 1}, "k": "seen"})
EVENT = (
    b'{"impression_id":"i1","ts":1700000000000,"campaign_id":"c","creative_id":"b","price_micros":1000000,'
    b'"user_id":"i1//c","features":{"x":1}}'
)


def ready() -> tuple[TextRows, Plan]:
    mapping = compiled(IMPRESSIONS + RULES)
    rows = mapping.reader.rows([VALUE] * 50)
    assert isinstance(rows, TextRows)
    plan = mapping._plan(rows.places)
    assert plan is not None
    return rows, plan


def places_arguments() -> Arguments:
    """Two records whose last one ends just a margin before the buffer does, as the last name does."""
    rows, _ = ready()
    places, values = rows.places, Slices.of([VALUE, VALUE])
    return {
        "values": values.buffer,
        "spans": values.spans,
        "entries": places._entries.copy(),
        "names": places._names,
        "after": np.zeros(2 * len(places._entries), np.int64),
        "open_ones": np.zeros(3 * (len(places._entries) + 1), np.int64),
        "slots": np.zeros((2, places._width), np.int64),
        "results": np.zeros(2, np.int8),
    }


def events_arguments() -> Arguments:
    """The same records, with just the room that their events may need."""
    _, plan = ready()
    found = places_arguments()
    find_places(*found.values())
    conditions, rules, sources, nulls, words, texts = plan._arrays
    return {
        "values": found["values"],
        "spans": found["spans"],
        "slots": found["slots"],
        "found": found["results"],
        "conditions": conditions.copy(),
        "rules": rules.copy(),
        "sources": sources.copy(),
        "nulls": nulls,
        "words": words.copy(),
        "texts": texts,
        "first": 0,
        "begin": 0,
        "scratch": np.zeros(SCRATCH, np.int64),
        "events": np.zeros(10_000, np.uint8),
        "event_spans": np.zeros((2, 2), np.int64),
        "key_spans": np.zeros((2, 2), np.int64),
        "times": np.zeros(2, np.int64),
        "results": np.zeros(2, np.int8),
    }


def with_cell(array: Any, row: int, column: int, value: int) -> Any:
    changed = array.copy()
    changed[row, column] = value
    return changed


def test_find_places_refuses_what_is_not_within_its_arrays() -> None:
    good = places_arguments()
    entries, values, count = good["entries"], good["values"], len(good["entries"])
    for name, bad in (
        ("values", values[:-1]),
        ("spans", i8([0, len(VALUE)], [-1, len(VALUE)])),
        ("spans", i8([0, len(VALUE)], [len(VALUE) + 1, len(VALUE)])),
        ("names", good["names"][:-1]),
        ("entries", np.zeros((0, ENTRY), np.int64)),
        ("entries", np.zeros((63, ENTRY), np.int64)),
        ("entries", entries[:, :-1].copy()),
        ("entries", with_cell(entries, 1, NAME, -1)),
        ("entries", with_cell(entries, 1, LENGTH, len(good["names"]))),
        ("entries", with_cell(entries, 1, ENTRY_SLOT, good["slots"].shape[1])),
        ("entries", with_cell(entries, 0, CHILD, count)),
        ("entries", with_cell(entries, 1, CHILD, 1)),
        ("entries", with_cell(entries, 1, CHILD, -1)),
        ("entries", with_cell(entries, 1, NEXT, 1)),
        ("entries", with_cell(entries, 1, NEXT, count)),
        ("after", good["after"][:-1]),
        ("after", np.full(2 * count, count)),
        ("after", np.full(2 * count, -1)),
        ("open_ones", good["open_ones"][:-1]),
        ("slots", good["slots"][:1]),
        ("results", good["results"][:1]),
    ):
        refuses(find_places, places_arguments, name, bad)
    assert find_places(*good.values()) == 2


def test_make_events_refuses_what_is_not_within_its_arrays() -> None:
    good = events_arguments()
    rules, conditions, words, width = good["rules"], good["conditions"], good["words"], good["slots"].shape[1]
    money = int(np.flatnonzero(rules[:, OP] == MONEY)[0])
    joined = int(np.flatnonzero(rules[:, B] == 2)[0])
    features = int(np.flatnonzero(rules[:, PREFIX_LENGTH] == len(',"features":'))[0])
    beyond = len(good["texts"]) - MARGIN
    for name, bad in (
        ("values", good["values"][:-1]),
        ("spans", i8([0, len(VALUE)], [-1, len(VALUE)])),
        ("spans", i8([0, len(VALUE)], [len(VALUE), -1])),
        # A value that is shorter than where its slots are.
        ("spans", i8([0, len(VALUE)], [len(VALUE), 20])),
        ("slots", good["slots"][:1]),
        ("slots", np.full((2, width), -1)),
        ("found", good["found"][:1]),
        ("conditions", np.zeros((1, CONDITION - 1), np.int64)),
        ("conditions", with_cell(conditions, 0, SLOT, width)),
        ("conditions", with_cell(conditions, 0, SLOT, -1)),
        ("conditions", with_cell(conditions, 0, IS, -1)),
        ("conditions", with_cell(conditions, 0, IS_MANY, len(words) + 1)),
        ("rules", rules[:, :-1].copy()),
        ("rules", with_cell(rules, 0, PREFIX, -1)),
        ("rules", with_cell(rules, 0, PREFIX, beyond)),
        ("rules", with_cell(rules, 0, PREFIX_LENGTH, 3)),
        ("rules", with_cell(rules, 0, FIXED, beyond + 1)),
        ("rules", with_cell(rules, 0, FIXED_LENGTH, -1)),
        ("rules", with_cell(rules, 0, FIRST, -1)),
        ("rules", with_cell(rules, 0, MANY, len(good["sources"]) + 1)),
        ("rules", with_cell(rules, money, A, 0)),
        ("rules", with_cell(rules, money, B, 0)),
        ("rules", with_cell(rules, joined, A, -1)),
        ("rules", with_cell(rules, features, A, width)),
        ("sources", np.full(len(good["sources"]), width)),
        ("sources", np.full(len(good["sources"]), -1)),
        ("nulls", -1),
        ("nulls", len(words) + 1),
        ("words", with_cell(words, 0, 0, beyond)),
        ("words", np.zeros((2, 3), np.int64)),
        ("texts", good["texts"][:-1]),
        ("first", -1),
        ("begin", -1),
        ("scratch", good["scratch"][:-1]),
        ("event_spans", good["event_spans"][:1]),
        ("key_spans", good["key_spans"][:1]),
        ("times", good["times"][:1]),
        ("results", good["results"][:1]),
    ):
        refuses(make_events, events_arguments, name, bad)


def test_events_are_written_one_behind_the_other_as_far_as_there_is_room() -> None:
    arguments = events_arguments()
    assert make_events(*arguments.values()) == 2
    assert arguments["results"].tolist() == [TAKEN, TAKEN]
    assert arguments["event_spans"].tolist() == [[0, len(EVENT)], [len(EVENT), len(EVENT)]]
    assert arguments["events"][: 2 * len(EVENT)].tobytes() == EVENT * 2
    start, length = arguments["key_spans"][1].tolist()
    assert arguments["events"][start : start + length].tobytes() == b"i1"
    # The last byte of room that the first of them may need, and one less.
    whole = arguments["events"]
    shared = events_arguments()
    enough = next(
        size for size in range(len(whole)) if make_events(*{**shared, "events": np.zeros(size, np.uint8)}.values())
    )
    none = {**events_arguments(), "events": np.full(enough - 1, 7, np.uint8)}
    assert make_events(*none.values()) == 0
    assert (none["events"] == 7).all()
    assert len(EVENT) <= enough
    late = {**events_arguments(), "first": 1, "begin": 5}
    assert make_events(*late.values()) == 2
    assert late["event_spans"][1].tolist() == [5, len(EVENT)]


@pytest.mark.parametrize("features", [255, 256, 257])
def test_an_object_of_more_features_than_an_impression_has_is_left(features: int) -> None:
    mapping = compiled(IMPRESSIONS + RULES)
    record = {**orjson.loads(VALUE), "f": {f"f{number}": number for number in range(features)}}
    rows = mapping.reader.rows([orjson.dumps(record)] * 50)
    assert isinstance(rows, TextRows)
    plan = mapping._plan(rows.places)
    assert plan is not None
    assert (plan.made(rows.found).results == TAKEN).all() == (features <= 256)

"""Ingest: what a source's records become, which are refused and how, and that its place alone is its state."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import decode
from schemas.errors import DamagedState, StateMismatch
from schemas.events import Click, Impression
from schemas.records import Out
from schemas.rejects import Reason, Rejected
from streams.engine.checkpoint import MANIFEST
from streams.engine.layout import CoPartitioned, Independent, Place
from streams.engine.ports import Commit, Log
from streams.engine.recovery import Loader
from streams.ingest.fold import IngestFold
from tests.effort import tries
from tests.ingesting import MAPPING, T0_S, TOPIC, batch, click, directly, source, traffic, view
from tests.simulation.disk import SimulatedDisk

VALUES = list(traffic(120))


def letters(outs: list[Out]) -> list[Rejected]:
    return [decode(out.value or b"", Rejected) for out in outs if out.topic == "rejects"]


def begun(mark: bytes | None = None, *, text: str = MAPPING, new_mapping: bool = False) -> IngestFold:
    fold = IngestFold(source(text), partition=3, new_mapping=new_mapping)
    if mark is not None:
        fold.rebuild(mark)
    fold.begin(mark, offsets={TOPIC: 0}, epoch=1)
    return fold


def test_one_mixed_topic_becomes_impressions_and_clicks_keyed_by_impression_id() -> None:
    shown, clicked = directly([orjson.dumps(view(7)), orjson.dumps({"event": "scroll"}), orjson.dumps(click(7))])
    assert (shown.topic, shown.key, shown.partition) == ("impressions", b"r7", None)
    at_ms = 1_000 * (T0_S + 7)
    assert decode(shown.value or b"", Impression) == Impression("r7", at_ms, "c1", "b", price_micros=250_000)
    assert (clicked.topic, clicked.key, clicked.partition) == ("clicks", b"r7", None)
    assert decode(clicked.value or b"", Click) == Click("k7", "r7", at_ms + 5_000)


def test_refused_records_are_dead_letters_with_their_place_in_the_source() -> None:
    late = orjson.dumps(view(1, at="yesterday", note="x" * 2_000))
    refused = letters(directly([None, b"{", b"[]", late], partition=5))
    assert [(one.reason, one.topic, one.partition, one.offset) for one in refused] == [
        (Reason.TOMBSTONE, TOPIC, 5, 0),
        (Reason.UNDECODABLE, TOPIC, 5, 1),
        (Reason.UNDECODABLE, TOPIC, 5, 2),
        (Reason.MAPPING, TOPIC, 5, 3),
    ]
    assert refused[3].detail.startswith('m.toml line 4, ts: "yesterday" is no number; ')
    assert (refused[3].prefix, refused[3].length) == (late[:1_024], len(late))
    assert refused[3].record_ts_ms == 1_000 * (T0_S + 3)


def test_a_record_of_both_inputs_that_one_refuses_is_one_event_and_one_dead_letter() -> None:
    text = MAPPING.replace('[impressions.where]\nevent = "view"', "").replace('[clicks.where]\nevent = "click"', "")
    fold = IngestFold(source(text), partition=0)
    fold.begin(None, offsets={TOPIC: 0}, epoch=1)
    outs = fold.step(batch([orjson.dumps(click(1)), b"{", orjson.dumps(view(2))]))
    assert [(out.topic, out.key) for out in outs[:3]] == [
        ("impressions", b"r2"),
        ("clicks", b"r1"),
        ("clicks", b"r2"),
    ]
    assert sorted((one.reason, one.offset) for one in letters(outs)) == [(Reason.MAPPING, 0), (Reason.UNDECODABLE, 1)]


def test_a_structured_cloud_event_is_an_object_with_its_data_inside() -> None:
    text = """
[clicks]
click_id = "id"
ts = { path = "time", unit = "iso" }
impression_id = "data.req"
[clicks.where]
type = "shop.click"
"""
    fold = IngestFold(source(text), partition=0)
    fold.begin(None, offsets={TOPIC: 0}, epoch=1)
    event = {"specversion": "1.0", "id": "k1", "source": "/shop", "type": "shop.click", "time": "2026-11-30T12:00:00Z"}
    (out,) = fold.step(batch([orjson.dumps({**event, "data": {"req": "r1"}})]))
    assert decode(out.value or b"", Click) == Click("k1", "r1", 1_796_040_000_000)


def test_a_value_of_a_registry_that_is_not_named_says_what_to_set() -> None:
    (letter,) = letters(directly([b"\0\0\0\0\7abc"]))
    assert letter.reason is Reason.UNDECODABLE
    assert letter.detail == "it is no JSON; if schema 7 of a registry describes it, set SCHEMA_REGISTRY_URL"


def test_places_are_those_in_the_batch_also_behind_records_without_a_value() -> None:
    taken = source().take([None, orjson.dumps(view(1)), b"{", None, orjson.dumps(click(1))])
    assert {log: mapped.places for log, mapped in taken.events.items()} == {"impressions": [1], "clicks": [4]}
    assert sorted(taken.refused) == [0, 2, 3]


def test_what_became_of_records_is_counted() -> None:
    counts = Counter[str]()
    fold = IngestFold(source(), partition=0, counts=counts)
    fold.begin(None, offsets={TOPIC: 0}, epoch=1)
    fold.step(batch([None, orjson.dumps({"event": "scroll"}), b"{", *map(orjson.dumps, (view(1), view(2), click(1)))]))
    assert counts == {"impressions": 2, "clicks": 1, "others": 1, "rejected": 2}


@settings(max_examples=tries(60))
@given(st.data())
def test_crashes_and_batches_change_nothing(data: st.DataObject) -> None:
    """Any batches, and at some of their ends a successor that goes on from the mark or from an older checkpoint."""
    cuts = sorted({0, len(VALUES), *data.draw(st.lists(st.integers(0, len(VALUES)), max_size=6))})
    fold, outs, kept = begun(), list[Out](), b""
    for start, stop in pairwise(cuts):
        outs += fold.step(batch(VALUES[start:stop], start=start, partition=3))
        if data.draw(st.booleans()):
            kept = fold.snapshot()
        if data.draw(st.booleans()):
            mark = fold.mark()
            fold = IngestFold(source(), partition=3)
            fold.restore(kept) if kept else fold.rebuild(mark)
            cut = fold.positions()[TOPIC]
            fold.begin(mark, offsets={TOPIC: cut}, epoch=2)
            assert fold.step(batch(VALUES[cut:stop], start=cut, partition=3)) == [] if cut < stop else True
            fold.resume(mark)
    key = [(out.topic, out.key, out.value) for out in directly(VALUES, partition=3)]
    assert sorted(map(repr, ((out.topic, out.key, out.value) for out in outs))) == sorted(map(repr, key))
    for log in ("impressions", "clicks"):
        assert [out for out in outs if out.topic == log] == [
            out for out in directly(VALUES, partition=3) if out.topic == log
        ]


def test_another_mapping_is_refused_unless_it_is_said_to_be_new() -> None:
    fold = begun()
    fold.step(batch(VALUES[:10], partition=3))
    other = MAPPING.replace('"ad.banner"', '"ad.campaign"')
    with pytest.raises(StateMismatch, match=r"shop.events\[3\] was mapped up to offset 10 by a mapping"):
        begun(fold.mark(), text=other)
    # What it says counts, not how it is written.
    begun(fold.mark(), text=f"# A comment.\n{MAPPING}")
    successor = begun(fold.mark(), text=other, new_mapping=True)
    assert successor.positions() == {TOPIC: 10}
    assert begun(successor.mark(), text=other).positions() == {TOPIC: 10}


def test_a_damaged_checkpoint_is_not_used() -> None:
    snapshot = bytearray(begun().snapshot())
    snapshot[-1] ^= 1
    with pytest.raises(DamagedState):
        begun().restore(bytes(snapshot))


def test_an_old_checkpoint_is_not_replayed_from() -> None:
    """A partition that moved away and comes back after days goes on where the other worker committed."""
    disk, fold = SimulatedDisk(), begun()
    disk.replace(MANIFEST, fold.snapshot())
    fold.step(batch(VALUES[:40], partition=3))
    log: Log = cast(
        "Log",
        SimpleNamespace(
            committed=lambda _: Commit({TOPIC: 40}, fold.mark()),
            starts=lambda _: {TOPIC: 5},
        ),
    )
    warnings: list[str] = []
    loader = Loader(lambda _: (IngestFold(source(), partition=3), disk), log, warnings.append)
    task, offsets = loader.load(3)
    assert (offsets, task.fold.positions(), warnings) == ({TOPIC: 40}, {TOPIC: 40}, [])
    loader.close()


def test_records_that_kafka_has_deleted_are_passed_over_where_the_loss_is_accepted() -> None:
    fold = begun()
    fold.skip_to({TOPIC: 40})
    assert fold.positions() == {TOPIC: 40}
    assert fold.rebuild_offsets(fold.mark()) == {TOPIC: 40}


def test_tasks_are_partitions_of_all_inputs_or_each_by_itself() -> None:
    both = CoPartitioned({"ads.impressions": "impressions", "ads.clicks": "clicks"})
    assert both.subscribed == ["ads.impressions"]
    assert both.places(2) == [Place("impressions", "ads.impressions", 2), Place("clicks", "ads.clicks", 2)]
    assert (both.task("ads.clicks", 2), both.where("clicks", 2), both.name(2)) == (2, "clicks[2]", "partition 2")
    each = Independent({"a": "a", "b": "b"})
    assert list(each.subscribed) == ["a", "b"]
    tasks = [each.task(topic, partition) for topic in ("a", "b") for partition in range(3)]
    assert len(set(tasks)) == 6
    assert [each.places(task) for task in tasks[2:4]] == [[Place("a", "a", 2)], [Place("b", "b", 0)]]
    assert (each.where("b", tasks[5]), each.name(tasks[5])) == ("b[2]", "partition 2 of b")

"""The join against the batch truth: any interleaving, any batching, any time of sweeping."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import streams.join.matching
import streams.join.pending
from schemas.bounds import JoinBounds
from schemas.codec import decode
from schemas.errors import BrokenInvariant, DamagedState, StateMismatch
from schemas.outcomes import SHOWN, Outcome
from schemas.reading import ReadImpression, read_impression
from schemas.records import Out, Record
from schemas.seals import Seal, SealRecord, Start
from streams.join.fold import JoinFold
from streams.join.index import Hashes
from streams.join.scanned import ScannedImpressions
from streams.verify.oracle import truth
from tests.factories import click, impression, numbered
from tests.judging import assert_agrees, decided_of, outcomes_of
from tests.simulation.disk import SimulatedDisk
from tests.sizes import small_sizes
from tests.strategies import BOUNDS, T0, bounds, click_logs, columns, impression_logs, side_log


def drive(
    impressions: list[Record], clicks: list[Record], limits: JoinBounds, data: st.DataObject, *, ended: bool
) -> list[Out]:
    """Feeds both logs in drawn pieces, sweeping and reporting when drawn; then to the end."""
    fold = JoinFold(limits, SimulatedDisk())
    logs = {"impressions": impressions, "clicks": clicks}
    outs: list[Out] = []
    while any(logs.values()):
        name = data.draw(st.sampled_from([name for name, left in logs.items() if left]))
        size = data.draw(st.integers(1, len(logs[name])))
        outs += fold.step(columns(name, logs[name][:size]))
        logs[name] = logs[name][size:]
        if data.draw(st.booleans()):
            outs += fold.sweep(data.draw(st.integers(1, 3)))
        if data.draw(st.booleans()):
            outs += fold.report(data.draw(st.integers(1, 4)))
            fold.committed()
    if ended:
        fold.finish()
    while fold.can_sweep():
        outs += fold.sweep(2)
    while reported := fold.report(3):
        outs += reported
        fold.committed()
    fold.close()
    return outs


@given(st.data(), bounds(), impression_logs(), click_logs(), st.booleans())
def test_join_equals_the_batch_truth_however_the_logs_interleave(
    data: st.DataObject, limits: JoinBounds, impressions: list[Record], clicks: list[Record], ended: bool
) -> None:
    with small_sizes():
        outs = drive(impressions, clicks, limits, data, ended=ended)
    assert_agrees(outs, truth(impressions, clicks, limits, ended=ended))


@given(st.data(), impression_logs(), click_logs())
def test_ids_whose_hashes_collide_are_told_apart(
    data: st.DataObject, impressions: list[Record], clicks: list[Record]
) -> None:
    def hashes(read: ScannedImpressions) -> Hashes:
        return np.array([len(each.impression_id.encode()) % 2 for each in read], np.uint64)

    with (
        small_sizes(),
        patch.object(streams.join.matching, "_hash", lambda key: len(key) % 2),
        patch.object(streams.join.pending, "_hash", lambda key: len(key) % 2),
        patch.object(ScannedImpressions, "hashes", property(hashes)),
    ):
        outs = drive(impressions, clicks, BOUNDS, data, ended=True)
    assert_agrees(outs, truth(impressions, clicks, BOUNDS))


def kinds(impressions: list[Record], clicks: list[Record], limits: JoinBounds = BOUNDS) -> list[tuple[str, str]]:
    """(kind, click or impression id) of every decision, in order of the fold, which agrees with the truth."""
    impressions, clicks = numbered(impressions), numbered(clicks)
    fold = JoinFold(limits, SimulatedDisk())
    outs: list[Out] = []
    for name, log in (("impressions", impressions), ("clicks", clicks)):
        for record in log:
            outs += fold.step(columns(name, [record]))
    fold.finish()
    outs += fold.sweep(1_000_000) + fold.report(1_000_000)
    fold.close()
    assert_agrees(outs, truth(impressions, clicks, limits))
    return [(outcome.kind, outcome.click_id or outcome.impression_id) for outcome in decided_of(outs)]


@pytest.mark.parametrize(("delay", "kind"), [(-11, "orphan"), (-10, "click"), (100, "click"), (101, "orphan")])
def test_click_matches_from_skew_before_to_window_after_and_not_a_ms_beyond(delay: int, kind: str) -> None:
    found = dict(kinds([impression("a", T0)], [click("k", "a", T0 + delay)]))
    assert kind in found
    assert ("unclicked" in found) == (kind == "orphan")


@pytest.mark.parametrize(("below", "late"), [(20, False), (21, True)])
def test_record_is_late_just_below_the_lateness_bound(below: int, late: bool) -> None:
    found = kinds([impression("a", T0), impression("b", T0 - below)], [])
    assert (("unclicked", "b") not in found) == late


def test_second_click_of_an_impression_is_a_repeat_and_not_billed() -> None:
    found = kinds([impression("a", T0)], [click("k2", "a", T0 + 20), click("k1", "a", T0 + 10)])
    assert found == [("click", "k2"), ("repeat", "k1")]


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_each_sampled_impression_is_shown_once_when_it_is_accepted_and_before_what_is_decided(rate: float) -> None:
    limits = msgspec.structs.replace(BOUNDS, negative_rate=rate)
    names = [f"i{number}" for number in range(40)]
    log = numbered([impression(name, T0) for name in [*names, "i3"]])
    fold = JoinFold(limits, SimulatedDisk())
    # A click that waits for its impression is decided in the step that accepts it.
    outs = fold.step(columns("clicks", [click("k", "i3", T0 + 1)])) + fold.step(columns("impressions", log))
    found = outcomes_of(outs)
    sampled = [name for name in names if xxhash.xxh3_64_intdigest(name.encode()) < rate * 2**64]
    assert [one.impression_id for one in found if one.kind == "shown"] == sampled
    assert [one.kind for one in found][-1] == "click"
    assert all(one.weight == 1 / rate and one.label is None for one in found if one.kind == "shown")
    fold.close()


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("closed", ["at once", "by a sweep"])
def test_sampled_outcomes_have_the_fields_of_their_impression_however_that_was_written(
    closed: str, shards: int
) -> None:
    """Unknown fields of an impression may have the names of an outcome's fields."""
    plain = impression("plain", T0, campaign_id="c9", country="日本", features={"a": 1})
    spaced = impression("spaced", T0, campaign_id="c9")
    named = impression("named", T0, campaign_id="c9", kind="click", label=1, click_id="k", weight=7.0, join_partition=9)
    cleaned = impression("cleaned", T0, campaign_id="c9", features={"a": None, "b": 2})
    log = numbered([plain, spaced, named, cleaned])
    log[1] = replace(log[1], value=b"  " + (log[1].value or b"").replace(b",", b" , "))
    fold = JoinFold(msgspec.structs.replace(BOUNDS, negative_rate=0.9999), SimulatedDisk(), partition=3, shards=shards)
    far = columns("clicks", [click("far", "far", T0 + 10_000)])
    if closed == "at once":
        fold.step(far)
        fold.sweep(100)
    outs = fold.step(columns("impressions", log))
    if closed == "by a sweep":
        assert len(outs) == len(log)
        fold.step(far)
        outs += fold.sweep(100)
    fold.close()
    kinds = [("shown", None, outs[: len(log)]), ("unclicked", 0, outs[len(log) :])]
    for kind, label, put_out in kinds:
        for record, out in zip(log, put_out, strict=True):
            read = read_impression(record.value)
            assert isinstance(read, ReadImpression)
            assert decode(out.value or b"", Outcome) == Outcome(
                kind=kind,  # type: ignore[arg-type]  # a Literal
                join_partition=3,
                weight=1 / 0.9999,
                label=label,
                **msgspec.structs.asdict(read.impression),
            )
            assert out.partition == xxhash.xxh3_64_intdigest(b"c9") % shards
            assert (out.value or b"").startswith(SHOWN) == (kind == "shown")


def test_every_on_time_record_raises_the_watermark_a_conflict_too() -> None:
    """So a replay that begins in the middle knows the watermark without knowing who was a conflict."""
    log = [impression("b", T0), impression("b", T0 + 60), impression("c", T0 + 40), impression("d", T0 + 39)]
    shown = kinds(log, [])
    assert ("unclicked", "c") in shown
    assert ("unclicked", "d") not in shown


def test_null_and_absent_optional_fields_are_the_same_content() -> None:
    assert kinds([impression("a", T0, country=None), impression("a", T0)], []) == [("unclicked", "a")]


def test_id_can_be_reused_behind_the_dedupe_horizon_and_clicks_find_their_own() -> None:
    later = T0 + 20 + 125 + 1
    found = kinds(
        [impression("a", T0), impression("z", later), impression("a", later, campaign_id="d")],
        [click("k1", "a", T0 + 1), click("k2", "a", later + 1)],
    )
    assert [one for one in found if one[0] == "click"] == [("click", "k1"), ("click", "k2")]


def test_click_id_can_be_reused_behind_the_dedupe_horizon() -> None:
    later = T0 + 20 + 125 + 1
    found = kinds([], [click("k", "a", T0), click("z", "z", later), click("k", "b", later)])
    assert found.count(("orphan", "k")) == 2


def test_id_of_a_dropped_segment_is_new_again() -> None:
    later = T0 + 10_000
    with small_sizes():
        fold = JoinFold(BOUNDS, SimulatedDisk())
        shown = [impression(name, T0) for name in "abcd"] + [impression("z", later)]
        fold.step(columns("impressions", numbered(shown)))
        fold.step(columns("clicks", [click("k", "z", later)]))
        while fold.can_sweep():
            fold.sweep(100)
        again = impression("a", later + 1)
        fold.step(columns("impressions", [Record(5, -1, again.key, again.value)]))
    assert fold.ledger().impressions.accepted == 6
    fold.close()


def test_a_conflict_is_remembered_longer_than_the_impression_it_was_beside() -> None:
    with small_sizes():
        fold = JoinFold(BOUNDS, SimulatedDisk())
        shown = [impression(name, T0) for name in "abcd"]
        fold.step(columns("impressions", numbered([*shown, impression("a", T0 + 100), impression("z", T0 + 160)])))
        fold.step(columns("clicks", [click("k", "z", T0 + 160)]))
        while fold.can_sweep():
            fold.sweep(100)
        assert not any(name.startswith("seg-0000000000") for name in fold.files()), "the first four are dropped"
        again = impression("a", T0 + 150)
        fold.step(columns("impressions", [Record(6, -1, again.key, again.value)]))
    assert fold.ledger().impressions.accepted == 5
    assert fold.ledger().impressions.rejected == 2
    fold.close()


@pytest.mark.parametrize(("epoch", "holds"), [(6, False), (7, True)])
def test_seal_written_after_a_later_owner_began_is_void(epoch: int, holds: bool) -> None:
    """Kafka's fencing lets none through; should one come through all the same, fold and truth pass over it."""
    side: list[SealRecord] = [Start(5), Start(7), Seal("clicks", 0, 0, T0, epoch)]
    fold = JoinFold(BOUNDS, SimulatedDisk())
    fold.begin(None, offsets={"impressions": 0, "clicks": 0}, epoch=8)
    fold.take_side_log(side_log(side))
    late = click("k", "i", T0 - 1)
    fold.step(columns("clicks", [late]))
    assert fold.ledger().clicks.late == holds == truth([], [late], BOUNDS, seals=side).clicks.counts["late"]
    fold.close()


def test_rebuilt_join_judges_lateness_by_the_maximum_before_its_first_record() -> None:
    """Without it, a record that was late would be accepted when the log is read again from the middle."""
    day_ms = 86_400_000
    times = [T0, T0, T0, T0 - 21, T0 + day_ms, T0 + day_ms, *[T0 + 2 * day_ms] * 3]
    shown = [impression(f"i{offset}", ts, offset=offset) for offset, ts in enumerate(times)]
    with small_sizes():
        fold, again = JoinFold(BOUNDS, SimulatedDisk()), JoinFold(BOUNDS, SimulatedDisk())
        for one in shown:
            fold.step(columns("impressions", [one]))
        fold.step(columns("clicks", [click("k", "i8", times[-1] + 1)]))
        while fold.can_sweep():
            fold.sweep(100)
        fold.report(100)
        again.rebuild(fold.mark())
        start = again.positions()["impressions"]
        assert start == 3
        again.step(columns("impressions", [Record(3, -1, shown[3].key, shown[3].value)]))
    assert again.ledger().impressions.late == 1
    fold.close()
    again.close()


def test_recovery_that_comes_to_other_counts_than_were_committed_stops_the_worker() -> None:
    first, other = JoinFold(BOUNDS, SimulatedDisk()), JoinFold(BOUNDS, SimulatedDisk())
    first.step(columns("impressions", numbered([impression("a", T0), impression("b", T0)])))
    other.step(columns("impressions", numbered([impression("a", T0), impression("a", T0)])))
    with pytest.raises(BrokenInvariant, match="other counts than were committed"):
        other.resume(first.mark())
    first.close()
    other.close()


def test_damaged_snapshot_is_noticed() -> None:
    fold = JoinFold(BOUNDS, SimulatedDisk())
    snapshot = bytearray(fold.snapshot())
    snapshot[-1] ^= 1
    with pytest.raises(DamagedState, match="not what was written"):
        fold.restore(bytes(snapshot))
    fold.close()


def test_snapshot_of_other_bounds_is_refused_with_a_remedy() -> None:
    fold, other = JoinFold(BOUNDS, SimulatedDisk()), JoinFold(JoinBounds(window_ms=7), SimulatedDisk())
    with pytest.raises(StateMismatch, match="--group"):
        other.restore(fold.snapshot())
    fold.close()
    other.close()


def test_files_are_those_the_last_snapshot_names_and_their_prefixes_stay_as_they_were() -> None:
    disk = SimulatedDisk()
    with small_sizes():
        fold, again = JoinFold(BOUNDS, disk), JoinFold(BOUNDS, disk)
        fold.step(columns("impressions", numbered([impression(name, T0) for name in "abcdef"])))
        assert fold.files() == {}
        snapshot = fold.snapshot()
        files = dict(fold.files())
        assert files == {name: len(disk.files[name]) for name in disk.names()}
        before = {name: disk.read(name, 0, length) for name, length in files.items()}
        fold.step(columns("impressions", [impression("g", T0, offset=6)]))
        assert fold.files() == files
        assert len(disk.files["seg-0000000001.rows"]) > files["seg-0000000001.rows"]
        assert before == {name: disk.read(name, 0, length) for name, length in files.items()}
        again.restore(snapshot)
        assert again.files() == files
    fold.close()
    again.close()


def test_files_of_a_snapshot_are_all_there_are_totals_included() -> None:
    disk = SimulatedDisk()
    with small_sizes():
        fold = JoinFold(BOUNDS, disk)
        fold.step(columns("impressions", numbered([impression(name, T0) for name in "abcdef"])))
        fold.snapshot()
        assert any(name.startswith("totals-") for name in fold.files())
        assert fold.files() == {name: len(disk.files[name]) for name in disk.names()}
    fold.close()

"""What trace decides about the records of one id: as the join, which sees all records."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from schemas.bounds import JoinBounds
from schemas.codec import decode
from schemas.records import Record, Records
from schemas.rejects import Reason, Rejected, rejected
from streams.cli.render.figures import span_ms
from streams.join.fold import JoinFold
from streams.join.state import CLICKS, IMPRESSIONS, INPUTS, Reached
from streams.trace.answer import Place
from streams.trace.decisions import Decided, Judgement, Spot, click_decisions, impression_decisions, judge
from tests.factories import T0, click, impression, numbered
from tests.simulation.disk import SimulatedDisk

BOUNDS = JoinBounds(window_ms=2_000, skew_ms=100, lateness_ms=300, negative_rate=1.0)
NOTHING_HELD: dict[str, int] = {}


def decided(
    next_offset: int = 1_000, *, reached_ms: int = T0 + 100_000, highest_ms: dict[str, int] = NOTHING_HELD
) -> Decided:
    reached = Reached(close_ms=reached_ms, orphan_ms=reached_ms)
    return Decided(0, dict.fromkeys(INPUTS, next_offset), reached, highest_ms)


def letter(log: str, record: Record, reason: Reason) -> dict[Spot, tuple[Rejected, Place]]:
    made = rejected(
        reason, "why", record.value, topic=log, partition=0, offset=record.offset, record_ts_ms=record.record_ts_ms
    )
    return {(log, record.offset): (made, Place("rejects", 0, 7))}


def judged(
    impressions: list[Record],
    clicks: list[Record],
    letters: dict[Spot, tuple[Rejected, Place]] | None = None,
    by: Decided | None = None,
) -> Judgement:
    return judge({IMPRESSIONS: impressions, CLICKS: clicks}, letters or {}, BOUNDS, by or decided())


def test_record_that_is_not_committed_is_not_read_and_decides_nothing() -> None:
    found = judged([impression("a", T0, offset=5)], [click("k", "a", T0, offset=4)], by=decided(5))
    assert (found.fates[IMPRESSIONS, 5].name, found.fates[CLICKS, 4].name) == ("not_read", "accepted")
    assert [each.kind for each in click_decisions(found, BOUNDS, decided(5))] == ["orphan"]


def test_late_record_is_late_by_its_dead_letter_alone() -> None:
    late = impression("a", T0)
    assert judged([late], []).fates[IMPRESSIONS, 0].name == "accepted"
    assert judged([late], [], letter(IMPRESSIONS, late, Reason.LATE)).fates[IMPRESSIONS, 0].name == "late"


def test_click_that_another_impressions_click_contradicts_is_in_conflict_and_not_billed() -> None:
    # The twin has the same click id and another impression, so it is not among the records of this id.
    records = [impression("a", T0)], [click("k", "a", T0 + 1, offset=3), click("k2", "a", T0 + 2, offset=4)]
    found = judged(*records, letter(CLICKS, records[1][0], Reason.CONFLICT))
    assert [found.fates[CLICKS, offset].name for offset in (3, 4)] == ["conflict", "accepted"]
    (decision,) = click_decisions(found, BOUNDS, decided())
    assert (decision.kind, decision.offset) == ("click", 4)


@pytest.mark.parametrize(("ahead_ms", "fate"), [(0, "accepted"), (1, "held")])
def test_record_above_all_that_was_judged_is_held(ahead_ms: int, fate: str) -> None:
    record = impression("a", T0 + ahead_ms)
    found = judged([record], [], by=decided(highest_ms={IMPRESSIONS: T0}))
    assert found.fates[IMPRESSIONS, 0].name == fate


@pytest.mark.parametrize(("reached_ms", "kinds"), [(T0, ("open", "pending")), (T0 + 1, ("unclicked", "orphan"))])
def test_what_is_below_the_bound_that_was_reached_is_decided(reached_ms: int, kinds: tuple[str, str]) -> None:
    by = decided(reached_ms=reached_ms)
    found = judged([impression("a", T0)], [click("k", "a", T0 - 101)], by=by)
    late_click = judged([], [click("k", "a", T0)], by=by)
    assert [each.kind for each in impression_decisions(found, BOUNDS, by)] == [kinds[0]]
    assert [each.kind for each in click_decisions(late_click, BOUNDS, by)] == [kinds[1]]


@pytest.mark.parametrize("seed", range(20))
def test_trace_of_each_id_decides_as_the_join_did_of_all(seed: int) -> None:
    random = Random(seed)
    ids = [f"i{number}" for number in range(12)]
    logs: dict[str, list[Record]] = {IMPRESSIONS: [], CLICKS: []}
    for step in range(150):
        ts, name = T0 + step * 20 - random.choice([0, 0, 0, 200, 500]), random.choice(ids)
        logs[IMPRESSIONS].append(impression(name, ts, price_micros=random.choice([5, 5, 6])))
        logs[CLICKS].append(click(f"k{random.randrange(20)}", name, ts + random.choice([-150, -50, 500, 2_500])))
    fold = JoinFold(BOUNDS, SimulatedDisk())
    outs = []
    for log in INPUTS:
        columns = list(zip(*((r.offset, -1, r.key, r.value) for r in numbered(logs[log])), strict=True))
        outs += fold.step(Records(log, 0, *(list(column) for column in columns)))
    fold.finish()
    while fold.can_sweep():
        outs += fold.sweep(10_000)
    letters = {
        (each.topic, each.offset): (each, Place("rejects", 0, 0))
        for each in (decode(out.value or b"", Rejected) for out in outs if out.topic == "rejects")
    }
    by = decided(10_000)
    kinds: dict[str, list[str]] = {"click": [], "repeat": [], "orphan": []}
    for name in ids:
        own = {log: [r for r in numbered(of) if r.key == name.encode()] for log, of in logs.items()}
        found = judge(
            own, {spot: of for spot, of in letters.items() if spot[1] in {r.offset for r in own[spot[0]]}}, BOUNDS, by
        )
        for decision in click_decisions(found, BOUNDS, by):
            kinds[decision.kind].append(decision.click_id)
    written = [msgspec.json.decode(out.value or b"") for out in outs if out.topic == "outcomes"]
    assert {kind: sorted(of) for kind, of in kinds.items()} == {
        kind: sorted(each["click_id"] for each in written if each["kind"] == kind) for kind in kinds
    }


def test_spans_are_written_to_the_millisecond() -> None:
    assert [span_ms(each) for each in (0, 250, 4_500, 186_877, 3_602_000)] == [
        "0ms",
        "250ms",
        "4.5s",
        "3m 6.877s",
        "1h 0m 2s",
    ]
    assert [span_ms(each) for each in (30_000, 120_000, 1_800_000)] == ["30s", "2m", "30m"]

"""One wrong clock makes nothing late; a real gap loses nothing; live, replay and the batch truth decide alike."""

from __future__ import annotations

from collections import Counter

import pytest

from schemas.bounds import JoinBounds
from schemas.records import Out, Record
from schemas.seals import Seal
from streams.join.confirm import EVIDENCE
from streams.join.fold import JoinFold
from streams.verify.oracle import truth
from tests.factories import click, impression, numbered
from tests.judging import assert_agrees
from tests.simulation.disk import SimulatedDisk
from tests.sizes import small_sizes
from tests.strategies import T0, columns

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
BOUNDS = JoinBounds(window_ms=60_000, skew_ms=1_000, lateness_ms=2_000, jump_ms=HOUR_MS, negative_rate=1.0)


def shown(*steps_ms: int) -> list[Record]:
    """Impressions at these times after T0, in this order."""
    return numbered([impression(f"i{number}", T0 + step) for number, step in enumerate(steps_ms)])


def fates(log: list[Record], *, ended: bool = True, batch: int = 1) -> Counter[str]:
    """What became of a log of impressions, as fold and truth say alike."""
    fold, outs = JoinFold(BOUNDS, SimulatedDisk()), list[Out]()
    for start in range(0, len(log), batch):
        outs += fold.step(columns("impressions", log[start : start + batch]))
    if ended:
        fold.finish()
    while fold.can_sweep():
        outs += fold.sweep(100)
    outs += fold.report(1_000)
    counts = fold.ledger().impressions
    fold.close()
    assert_agrees(outs, truth(log, [], BOUNDS, ended=ended))
    return Counter(accepted=counts.accepted, late=counts.late, rejected=counts.rejected, held=counts.held)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_a_record_of_2099_among_good_ones_is_set_aside_and_makes_none_late(batch: int) -> None:
    log = shown(0, 70 * 365 * DAY_MS, *range(1_000, 9_000, 1_000))
    assert fates(log, batch=batch) == Counter(accepted=9, rejected=1)


@pytest.mark.parametrize("batch", [1, 100])
def test_a_wrong_clock_in_the_first_record_is_found_too(batch: int) -> None:
    assert fates(shown(10 * DAY_MS, *range(1_000, 15_000, 1_000)), batch=batch) == Counter(accepted=14, rejected=1)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_a_real_gap_loses_nothing_however_long_it_is(batch: int) -> None:
    log = shown(*range(0, 5_000, 1_000), *range(9 * DAY_MS, 9 * DAY_MS + 20_000, 1_000))
    assert fates(log, batch=batch) == Counter(accepted=25)


def test_a_jump_at_the_end_that_nothing_contradicts_is_accepted() -> None:
    assert fates(shown(0, 1_000, 2 * HOUR_MS)) == Counter(accepted=3)


@pytest.mark.parametrize(("step_ms", "held"), [(HOUR_MS, 0), (HOUR_MS + 1, 1)])
def test_a_record_waits_just_above_the_jump_bound(step_ms: int, held: int) -> None:
    confirmed = shown(*[0] * (EVIDENCE + 1), step_ms)
    assert fates(confirmed, ended=False)["held"] == held


def test_the_tenth_record_near_it_confirms_and_the_tenth_below_it_contradicts() -> None:
    before = [0] * (EVIDENCE + 1)
    near = [5 * HOUR_MS] * EVIDENCE
    assert fates(shown(*before, *near), ended=False)["held"] == EVIDENCE
    assert fates(shown(*before, *near, 5 * HOUR_MS), ended=False) == Counter(accepted=2 * EVIDENCE + 2)
    below = [1_000] * EVIDENCE
    assert fates(shown(*before, 5 * HOUR_MS, *below[1:]), ended=False)["held"] == 1
    assert fates(shown(*before, 5 * HOUR_MS, *below), ended=False)["rejected"] == 1


def test_without_a_jump_bound_no_record_waits() -> None:
    fold = JoinFold(JoinBounds(), SimulatedDisk())
    fold.step(columns("impressions", shown(0, DAY_MS)))
    assert fold.ledger().impressions.held == 0
    fold.close()


def test_a_seal_confirms_what_is_not_above_the_workers_clock_and_a_replay_needs_none() -> None:
    log = shown(0, 9 * DAY_MS, 900 * DAY_MS)
    fold, again = JoinFold(BOUNDS, SimulatedDisk()), JoinFold(BOUNDS, SimulatedDisk())
    outs = fold.step(columns("impressions", log))
    assert fold.ledger().impressions.held == 3
    now_ms = T0 + 10 * DAY_MS
    sealed = fold.seal("impressions", now_ms=now_ms)
    fold.committed()
    assert (fold.ledger().impressions.accepted, fold.ledger().impressions.held) == (2, 1)
    seals = [Record(0, -1, out.key, out.value) for out in sealed if out.topic == "seals"]
    again.take_side_log(columns("seals", seals))
    again.step(columns("impressions", log))
    assert again.ledger() == fold.ledger()
    seal = Seal("impressions", 0, 3, fold.ledger().impressions_watermark_ms, 1, confirmed_ms=T0 + 9 * DAY_MS)
    judged = truth(log, [], BOUNDS, seals=[seal], ended=False).impressions.counts
    assert (judged["accepted"], judged["held"]) == (2, 1)
    assert outs == []
    fold.close()
    again.close()


def test_a_bad_seal_changes_nothing_and_has_one_dead_letter_whoever_reads_it_again() -> None:
    bad = columns("seals", [Record(0, -1, b"0", b"{"), Record(1, -1, None, b"")])
    log = columns("impressions", shown(*[0] * 20))
    first, second = JoinFold(BOUNDS, SimulatedDisk()), JoinFold(BOUNDS, SimulatedDisk())
    letters = []
    first.begin(None, offsets={"impressions": 0, "clicks": 0}, epoch=1)
    for fold in (first, second):
        if fold is second:
            fold.begin(first.mark(), offsets=first.positions(), epoch=2)
        fold.take_side_log(bad)
        fold.step(log)
        if fold is second:
            fold.resume(first.mark())
        letters.append([out for out in fold.sweep(100) if out.topic == "rejects"])
        assert fold.bad_seals == 2
        assert fold.ledger().impressions_watermark_ms == T0 - BOUNDS.lateness_ms
        fold.close()
    assert [len(each) for each in letters] == [2, 0]


def test_a_held_record_outlives_a_restart_and_a_rebuild() -> None:
    """What waits is in the checkpoint, and a rebuild without one begins before it."""
    first = shown(*range(0, 12_000, 1_000), 5 * HOUR_MS, 12_000)
    rest = [impression(f"r{number}", T0 + 13_000, offset=14 + number) for number in range(9)]
    with small_sizes():
        own = SimulatedDisk()
        fold = JoinFold(BOUNDS, own)
        restored, rebuilt = JoinFold(BOUNDS, own), JoinFold(BOUNDS, SimulatedDisk())
        fold.step(columns("impressions", first))
        assert fold.ledger().impressions.held == 1
        restored.restore(fold.snapshot())
        mark = fold.mark()
        rebuilt.rebuild(mark)
        start = rebuilt.positions()["impressions"]
        rebuilt.step(columns("impressions", [record for record in first if record.offset >= start]))
        rebuilt.resume(mark)
        for other in (restored, rebuilt):
            other.step(columns("impressions", rest))
            assert other.ledger().impressions.held == 0
            assert other.ledger().impressions.rejected == 1
    for each in (fold, restored, rebuilt):
        each.close()


def test_a_click_is_judged_by_the_same_rule() -> None:
    clicks = numbered(
        [click("k", "a", T0), click("l", "a", T0 + DAY_MS), *(click(f"m{n}", "a", T0) for n in range(12))]
    )
    fold = JoinFold(BOUNDS, SimulatedDisk())
    fold.step(columns("clicks", clicks))
    assert (fold.ledger().clicks.accepted, fold.ledger().clicks.rejected) == (13, 1)
    fold.close()

"""Policies for labels that come late: the order of what is learned, what is taken back, and laws of the fold."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from online_models.delays import LONGEST_WAIT_MS
from online_models.kinds import new_model
from online_models.learner import Learner
from online_models.mixture.actions import CLICKED as CLICK
from online_models.mixture.actions import KEEP, LEARN, REVERSE, SHOW, Actions
from online_models.mixture.kept_rows import KeptRows
from online_models.mixture.layout import (
    CLICKED,
    CLICKS,
    CROSS_SINCE,
    GRADIENT_COLUMNS,
    NUMBERS,
    OPINIONS,
    PAIR_CLICKED,
    PAIR_SHOWN,
    PAIR_WEIGHT,
    SEEN,
    SHARE,
    SHOWN,
    SQUARES,
    WEIGHT,
)
from online_models.mixture.model import Mixture
from online_models.mixture.rows import Rows
from online_models.mixture.settings import MixtureSettings
from online_models.open_impressions import CLICKED as CLICK_CAME
from online_models.open_impressions import (
    DUE,
    POLICIES,
    UNCLICKED,
    Events,
    Followed,
    OpenImpressions,
    Policy,
    keys_of,
)
from online_models.open_impressions import SHOWN as WAS_SHOWN
from online_models.settings import Challenger, LearnerSettings, ModelSettings
from schemas.codec import decode
from schemas.models import ModelMetrics
from schemas.outcomes import Outcome
from schemas.records import Records
from streams.join.negatives import Negatives
from streams.learn.fold import LearnFold
from tests.models.clicks import examples, rows_of
from tests.models.traffic import START_MS, outcomes, records

ROOT = Path(__file__).parent.parent
SMALL = MixtureSettings(slot_bits=10, pair_bits=12)
FOLLOWED: tuple[Policy, ...] = POLICIES[1:]
followed = pytest.mark.parametrize("policy", FOLLOWED)
# Clicks come at any time of the window, so about half of them after the negative was learned.
STREAM = outcomes(3_000, negative_rate=0.3, window_ms=120_000, shown=True, partitions=3)
# A join that writes no shown impressions, and then one that does.
GROWN = [each for each in STREAM[:1_000] if each.kind != "shown"] + STREAM[1_000:]
LOGS = {"followed": records([*STREAM[:100], b"{", None, *STREAM[100:]], start=7), "grown": records(GROWN)}


def settings(policy: Policy, kind: str = "mixture", **changes: Any) -> LearnerSettings:
    learns = ModelSettings(kind=kind, mixture=SMALL)
    return LearnerSettings(learns=learns, window_ms=60_000, grace_ms=30_000, policy=policy, **changes)


def learned(policy: Policy, log: Records, kind: str = "mixture") -> Learner:
    ours = Learner(settings(policy, kind), shard=0)
    ours.step(log)
    return ours


@functools.cache
def whole(policy: Policy, name: str) -> bytes:
    return learned(policy, LOGS[name]).snapshot()


@given(
    st.tuples(st.sampled_from(FOLLOWED), st.sampled_from(sorted(LOGS))),
    st.lists(st.integers(0, len(GROWN)), max_size=6),
    st.sets(st.integers(0, 6)),
)
def test_any_batching_and_a_restart_anywhere_give_the_same_state(
    which: tuple[Policy, str], cuts: list[int], crashes: set[int]
) -> None:
    policy, name = which
    log = LOGS[name]
    ours = Learner(settings(policy), shard=0)
    for number, (start, stop) in enumerate(pairwise([0, *sorted(cuts), len(log)])):
        ours.step(log.slice(start, stop))
        if number in crashes:
            kept, ours = ours.snapshot(), Learner(settings(policy), shard=0)
            ours.restore(kept)
            assert ours.snapshot() == kept
    assert ours.snapshot() == whole(policy, name)


def test_event_time_before_the_first_unclicked_label_is_the_same_for_batches_of_any_size() -> None:
    """It is 32 days before the latest impression, which is that of the record and not that of its batch."""
    early = outcomes(300, negative_rate=0.4, window_ms=180_000, shown=True)[:132]
    assert {each.label for each in early} == {None, 1}
    log, found = records(early), set()
    for batch in (1, 40, 132):
        ours = Learner(settings("matched"), shard=0)
        for start in range(0, len(log), batch):
            ours.step(log.slice(start, start + batch))
        found.add(ours.snapshot())
    assert len(found) == 1


@followed
@pytest.mark.parametrize("kind", ["mixture", "ftrl"])
def test_the_digest_is_the_same_for_batches_of_any_size(policy: Policy, kind: str) -> None:
    log = LOGS["followed"]
    found = set()
    for batch in (1, 137, 1_000):
        ours = Learner(settings(policy, kind), shard=0)
        outs = [out for start in range(0, len(log), batch) for out in ours.step(log.slice(start, start + batch))]
        found.add((ours.snapshot(), ours.lineup.main.digest(), ours.trail, str(outs)))
    assert len(found) == 1


UNCOMPILED = """
import numpy as np
from tests.test_policies import learned, records, STREAM
with np.errstate(over="ignore"):
    found = learned({policy!r}, records(STREAM[:300]), {kind!r})
    print(found.trail, found.lineup.main.digest())
"""


@pytest.mark.parametrize(("policy", "kind"), [("matched", "mixture"), ("matched", "ftrl"), ("reversal", "mixture")])
def test_the_same_source_uncompiled_agrees_to_the_bit(policy: Policy, kind: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", UNCOMPILED.format(policy=policy, kind=kind)],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = learned(policy, records(STREAM[:300]), kind)
    assert found.counts.reversed > 0
    assert ended.stdout.split() == [found.trail, found.lineup.main.digest()]


def test_every_record_is_counted_in_one_place_and_each_reversal_is_counted() -> None:
    log = LOGS["followed"]
    clicked = {each.impression_id for each in STREAM if each.kind == "click"}
    shown = [each.impression_id for each in STREAM if each.kind == "shown"]
    for policy in FOLLOWED:
        ours = learned(policy, log)
        counts = ours.counts
        assert counts.consumed == len(log) == counts.learned + counts.shown + counts.unlabelled + counts.rejected
        assert (counts.shown, counts.rejected, ours.open) == (len(shown), 2, 0)
        reversed_ = {"fake_negative": 0, "reversal": len(clicked & set(shown))}.get(policy)
        assert counts.reversed == reversed_ or (policy == "matched" and 0 < counts.reversed < len(clicked & set(shown)))


def test_a_log_without_shown_impressions_is_learned_as_with_wait_under_any_policy() -> None:
    log = records([each for each in STREAM if each.kind != "shown"])
    trails = {learned(policy, log).trail for policy in get_args(Policy)}
    assert len(trails) == 1


def test_clicks_that_wait_are_learned_when_impressions_begin_to_be_followed() -> None:
    click, shown = outcome("click", "a"), outcome("shown", "b")
    ours = learned("matched", records([click]))
    assert (ours.counts.waiting, ours.counts.learned) == (1, 0)
    ours.step(records([shown], start=1))
    assert (ours.counts.waiting, ours.counts.learned, ours.counts.shown, ours.open) == (0, 1, 1, 1)


def outcome(kind: Any, name: str, ts_ms: int = START_MS, **changes: Any) -> Outcome:
    label = {"click": 1, "unclicked": 0}.get(kind)
    usual = Outcome(kind, name, 0, weight=1.0 if kind == "click" else 4.0, label=label, ts=ts_ms, campaign_id="c")
    return msgspec.structs.replace(usual, **changes)


def follow(
    open_: OpenImpressions,
    keys: list[int],
    ts: list[int],
    labels: list[int],
    *,
    partitions: list[int] | None = None,
    delays_ms: list[int] | None = None,
    latest_ms: int = 0,
) -> tuple[Events, int]:
    """Follows records of weight 1; without more they are of one join partition, and each click came at once."""
    none = [0] * len(keys)
    given = Followed(keys, ts, labels, [1.0] * len(keys), partitions or none, delays_ms or none)
    return open_.follow(given, latest_ms=latest_ms)


def due_ms(name: str) -> int:
    """When the negative of the first impression of a log is due: after a delay drawn from the prior."""
    return START_MS + OpenImpressions("matched").delays.draw(keys_of([name.encode()])[0] / 2**64)


def reversed_of(*found: Outcome, policy: Policy = "matched") -> int:
    return learned(policy, records(found)).counts.reversed


def test_a_negative_is_learned_just_when_its_delay_has_passed() -> None:
    # A later impression moves time; a click on the first one then takes its negative back, or there was none.
    for passed_ms, expected in ((due_ms("a") - 1, 0), (due_ms("a"), 1)):
        later = outcome("shown", "b", passed_ms)
        assert reversed_of(outcome("shown", "a"), later, outcome("click", "a")) == expected


def test_a_negative_is_learned_and_taken_back_with_the_weight_of_its_own_impression() -> None:
    log = [outcome("shown", "a"), outcome("shown", "b", due_ms("a"), weight=8.0), outcome("click", "a")]
    # The prior is two rows.
    for count, weight in ((2, 2.0 + 4.0), (3, 2.0 + 1.0)):
        model = learned("matched", records(log[:count])).lineup.main
        assert isinstance(model, Mixture)
        assert model._totals[WEIGHT] == weight


def test_a_click_before_its_delay_is_as_if_there_had_been_no_negative() -> None:
    ours = learned("matched", records([outcome("shown", "a"), outcome("click", "a")]))
    theirs = learned("matched", records([outcome("shown", "b"), outcome("click", "a")]))
    assert (ours.counts.reversed, ours.open, theirs.open) == (0, 0, 1)
    assert ours.lineup.main.digest() == theirs.lineup.main.digest()


def test_an_impression_that_ends_unclicked_is_one_negative_whether_it_was_learned_before_or_not() -> None:
    last = outcome("shown", "z", due_ms("a"))
    after = learned("matched", records([outcome("shown", "a"), last, outcome("unclicked", "a")]))
    before = learned("matched", records([outcome("shown", "a"), outcome("unclicked", "a"), last]))
    assert after.lineup.main.digest() == before.lineup.main.digest()
    assert (after.open, before.open) == (1, 1)


def test_a_label_of_an_impression_that_was_not_sampled_is_predicted_and_learned_when_it_comes() -> None:
    ours = learned("matched", records([outcome("shown", "z"), outcome("click", "a"), outcome("unclicked", "b")]))
    assert (ours.counts.learned, ours.counts.reversed, ours.open) == (2, 0, 1)


def test_an_impression_that_is_shown_again_is_followed_once() -> None:
    ours = learned("reversal", records([outcome("shown", "a"), outcome("shown", "a"), outcome("click", "a")]))
    assert (ours.counts.shown, ours.counts.unlabelled, ours.counts.reversed, ours.open) == (1, 1, 1, 0)


def test_what_is_measured_is_the_prediction_of_when_the_impression_was_shown() -> None:
    # It is the first one, so that was the base rate of the prior. Much is learned before its label comes.
    noise = [outcome("click", f"n{number}") for number in range(30)]
    first = outcome("shown", "a", campaign_id="first")
    log = [first, *noise, outcome("unclicked", "a", campaign_id="first"), outcome("unclicked", "z", START_MS + 90_000)]
    outs = Learner(settings("matched"), shard=0).step(records(log))
    found = [decode(out.value or b"", ModelMetrics) for out in outs]
    (measured,) = [each for each in found if each.slice == "campaign_id=first"]
    assert measured.log_loss == pytest.approx(-math.log(1.0 - 0.15))


def test_delays_are_drawn_evenly_for_impressions_that_are_sampled() -> None:
    ids = [f"i{number}".encode() for number in range(40_000)]
    hashes = np.array([xxhash.xxh3_64_intdigest(each) for each in ids], np.uint64)
    sampled = [each for each, kept in zip(ids, Negatives(0.05).sampled(hashes).tolist(), strict=True) if kept]
    shares = np.array(keys_of(sampled), np.float64) / 2**64
    assert len(sampled) > 1_800
    assert np.histogram(shares, 4, (0.0, 1.0))[0].tolist() == pytest.approx([len(sampled) / 4] * 4, rel=0.15)


@pytest.mark.parametrize(("passed_ms", "label_is_of_it"), [(LONGEST_WAIT_MS, True), (LONGEST_WAIT_MS + 1, False)])
def test_an_impression_without_a_label_is_forgotten_after_32_days(passed_ms: int, label_is_of_it: bool) -> None:
    open_ = OpenImpressions("reversal")
    first, latest_ms = follow(open_, [1], [START_MS], [-1])
    assert first.whats.tolist() == [WAS_SHOWN]
    events, latest_ms = follow(open_, [2, 1], [START_MS + passed_ms, START_MS], [-1, 1], latest_ms=latest_ms)
    assert events.whats.tolist() == [WAS_SHOWN, CLICK_CAME]
    assert (events.serials[1] == 0) == label_is_of_it
    open_.forget(latest_ms)
    assert len(open_) == 1


def test_a_day_later_a_learner_has_no_rows_of_what_it_forgot() -> None:
    ours = learned("reversal", records([outcome("shown", "a")]))
    ours.step(records([outcome("shown", "b", START_MS + LONGEST_WAIT_MS + 1)], start=1))
    assert ours.open == 1
    assert len(ours.lineup.entrants[0].late.kept) == 1


def test_a_snapshot_has_nothing_that_could_be_forgotten_however_the_log_was_cut() -> None:
    hour_ms = 3_600_000
    times = (5 * hour_ms, LONGEST_WAIT_MS + hour_ms, LONGEST_WAIT_MS + 6 * hour_ms)
    log = records([outcome("shown", f"{passed_ms}", START_MS + passed_ms) for passed_ms in times])
    one_by_one = Learner(settings("reversal"), shard=0)
    for place in range(len(log)):
        one_by_one.step(log.slice(place, place + 1))
    assert one_by_one.snapshot() == learned("reversal", log).snapshot()
    assert one_by_one.open == 2


def test_negatives_are_due_in_the_order_of_their_times() -> None:
    open_ = OpenImpressions("matched")
    keys = [2**63, 2**62, 2**61]
    follow(open_, keys, [START_MS] * 3, [-1] * 3)
    events, _ = follow(open_, [5, 2**61], [START_MS + 10**7, START_MS], [-1, 0], latest_ms=START_MS)
    assert events.whats.tolist() == [DUE, DUE, DUE, WAS_SHOWN, UNCLICKED]
    assert events.serials.tolist() == [2, 1, 0, 3, 2]
    assert events.learned.tolist() == [False, False, False, False, True]


def test_a_due_time_of_an_impression_that_has_its_label_is_not_that_of_a_later_one_with_its_id() -> None:
    open_ = OpenImpressions("matched")
    _, latest_ms = follow(open_, [7] * 3, [START_MS] * 3, [-1, 0, -1])
    events, _ = follow(open_, [8, 9], [START_MS + 10**7] * 2, [-1, 1], latest_ms=latest_ms)
    assert list(zip(events.whats.tolist(), events.serials.tolist(), strict=True))[:2] == [(WAS_SHOWN, 2), (DUE, 1)]


def test_negatives_wait_for_the_clicks_of_their_time_however_far_impressions_are_ahead() -> None:
    hour_ms, open_ = 3_600_000, OpenImpressions("matched")
    # An impression and, a second later, its click: until then nothing says that clicks are not behind.
    follow(open_, [1, 1], [START_MS] * 2, [-1, 1], delays_ms=[0, 1_000])
    # A join that catches up writes an hour of impressions, then the clicks of that time. A key is the drawn share.
    minutes = [START_MS + 60_000 * minute for minute in range(1, 61)]
    ahead, _ = follow(open_, list(range(2, 62)), minutes, [-1] * 60)
    before = int((ahead.whats == DUE).sum())
    first, _ = follow(open_, [2, 100], [minutes[0], START_MS + hour_ms], [1, -1], delays_ms=[500, 0])
    assert before > 50
    # Now the lag is known: what was shown since waits, and a click of that time carries the clock on.
    second, _ = follow(open_, list(range(200, 260)), [each + hour_ms for each in minutes], [-1] * 60)
    third, _ = follow(open_, [300], [START_MS + hour_ms], [1], delays_ms=[hour_ms])
    assert (first.whats == DUE).sum() == 0
    # A sixteenth of the lag has faded.
    assert (second.whats == DUE).sum() <= 60 // 16 * 2
    assert (third.whats == DUE).sum() > 50


def test_the_clicks_of_one_join_partition_say_nothing_of_another_one() -> None:
    open_ = OpenImpressions("matched")
    # Both have a label, and the second one is an hour behind with its clicks.
    hour_ms = 3_600_000
    follow(open_, [1, 2, 3], [START_MS, START_MS + hour_ms, START_MS], [1, -1, 1], partitions=[0, 1, 1])
    follow(open_, [4, 5], [START_MS + hour_ms] * 2, [-1, -1], partitions=[0, 1])
    events, _ = follow(open_, [6, 7], [START_MS + hour_ms + 1_000] * 2, [1, 1], partitions=[0, 0])
    assert events.whats.tolist() == [DUE, CLICK_CAME, CLICK_CAME]
    assert events.serials.tolist()[0] == 1
    kept = OpenImpressions("matched")
    kept.restore([open_.columns()])
    found = [
        follow(each, [8], [START_MS + hour_ms], [1], partitions=[1], delays_ms=[60_000])[0] for each in (open_, kept)
    ]
    assert [each.serials.tolist() for each in found] == [[0, 2, -1]] * 2


def test_before_a_join_partition_has_a_label_negatives_of_a_hundred_impressions_are_learned() -> None:
    open_, later_ms = OpenImpressions("matched"), START_MS + 10**8
    # Two partitions share the hundred.
    partitions = [number % 2 for number in range(300)]
    follow(open_, list(range(300)), [START_MS] * 300, [-1] * 300, partitions=partitions)
    events, latest_ms = follow(open_, [400, 401], [later_ms] * 2, [-1] * 2, partitions=[0, 1])
    assert (events.whats == DUE).sum() == 100
    kept = OpenImpressions("matched")
    kept.restore([open_.columns()])
    assert (follow(kept, [402], [later_ms], [-1], latest_ms=latest_ms)[0].whats == DUE).sum() == 0
    # The first click of a partition: now its own are learned.
    events, _ = follow(kept, [500], [later_ms], [1], latest_ms=latest_ms)
    assert (events.whats == DUE).sum() == 50


def acted(model: Mixture, rows: Rows, *kinds: int, gradients: np.ndarray | None = None, weight: float = 20.0) -> None:
    given = np.zeros((len(rows), GRADIENT_COLUMNS)) if gradients is None else gradients
    count = len(kinds)
    actions = Actions(np.zeros(count, np.int64), np.array(kinds, np.uint8), np.full(count, weight))
    model.act(rows, actions, given)


def one_row(model: Mixture) -> Rows:
    return rows_of(examples(1), model.known)


def test_a_reversed_row_that_was_learned_alone_leaves_counts_and_base_rate_as_they_were() -> None:
    def counted(model: Mixture) -> list[np.ndarray]:
        return [
            *(model._slots[:, column] for column in (SEEN, SHOWN, CLICKED)),
            *(model._pairs[:, PAIR_SHOWN], model._fields[:, NUMBERS], model._fields[:, SQUARES]),
            *(model._totals[[WEIGHT]], model._totals[[CLICKS]]),
        ]

    model = Mixture(SMALL)
    fresh = [column.copy() for column in counted(model)]
    rows, gradients = one_row(model), np.zeros((1, GRADIENT_COLUMNS))
    acted(model, rows, SHOW, LEARN | KEEP, gradients=gradients)
    changed = [not np.array_equal(*each) for each in zip(counted(model), fresh, strict=True)]
    assert changed == [True, True, False, True, True, True, True, False]
    acted(model, rows, REVERSE, gradients=gradients)
    assert all(np.array_equal(*each) for each in zip(counted(model), fresh, strict=True))


@pytest.mark.parametrize("kind", ["mixture", "ftrl"])
def test_a_reversal_brings_the_prediction_back_to_where_it_was(kind: str) -> None:
    found = examples(400)

    def predicted(*kinds: int) -> float:
        model = new_model(kind, SMALL)
        model.run(rows_of(found[:399], model.known))
        rows = rows_of(found[399:], model.known)
        gradients = np.zeros((1, GRADIENT_COLUMNS))
        for each in (*kinds, SHOW):
            model.act(rows, Actions(np.zeros(1, np.int64), np.array([each], np.uint8), np.full(1, 20.0)), gradients)
        return float(rows.predicted[0])

    before, learned_ = predicted(), predicted(SHOW, LEARN | KEEP)
    again = predicted(SHOW, LEARN | KEEP, REVERSE)
    assert learned_ < before
    # Variances and sums of squares have grown, so not all of the way.
    assert abs(again - before) < 0.2 * abs(learned_ - before)
    assert predicted(SHOW, LEARN | KEEP, REVERSE, LEARN | CLICK) > before


@pytest.mark.parametrize(("since", "restored"), [(0.0, True), (1.0, False)])
def test_a_reversal_takes_nothing_from_pairs_that_were_not_counted_then(since: float, restored: bool) -> None:
    model = Mixture(SMALL)
    rows, gradients = one_row(model), np.zeros((1, GRADIENT_COLUMNS))
    acted(model, rows, SHOW, LEARN | KEEP, gradients=gradients)
    before, weights = model._pairs[:, PAIR_SHOWN].copy(), model._pairs[:, PAIR_WEIGHT].copy()
    # As if the crosses had been given up after the row, and were counted again from the next epoch on.
    model._crosses[:, CROSS_SINCE] = since
    acted(model, rows, REVERSE, gradients=gradients)
    assert np.array_equal(model._pairs[:, PAIR_SHOWN], np.zeros_like(before) if restored else before)
    assert np.array_equal(model._pairs[:, PAIR_WEIGHT], weights) != restored


def test_mixing_learns_from_what_experts_say_when_the_label_comes() -> None:
    # All rows are shown before anything is learned: then all experts said the base rate.
    model, found = Mixture(SMALL), examples(400)
    rows = rows_of(found, model.known)
    before, every = model._totals[SHARE : SHARE + OPINIONS].copy(), np.arange(400)
    model.act(rows, Actions(every, np.full(400, SHOW, np.uint8), np.ones(400)))
    assert len(set(rows.predicted.tolist())) == 1
    learn = np.where(rows.labels == 1, np.uint8(LEARN | CLICK), np.uint8(LEARN))
    model.act(rows, Actions(every, learn, np.ones(400)))
    assert np.abs(model._totals[SHARE : SHARE + OPINIONS] - before).max() > 0.01
    # What was shown stays the prediction that is measured.
    assert len(set(rows.predicted.tolist())) == 1


def test_a_pair_never_has_fewer_rows_than_clicks() -> None:
    # A row can have more pairs than are counted; after another choice of crosses it may be others that are not.
    model = Mixture(SMALL)
    rows, gradients = one_row(model), np.zeros((1, GRADIENT_COLUMNS))
    acted(model, rows, SHOW, LEARN | KEEP, gradients=gradients)
    counted = model._pairs[:, PAIR_SHOWN] > 0.0
    model._pairs[counted, PAIR_SHOWN], model._pairs[counted, PAIR_CLICKED] = 30.0, 12.0
    acted(model, rows, REVERSE, SHOW, gradients=gradients)
    assert (model._pairs[:, PAIR_SHOWN] >= model._pairs[:, PAIR_CLICKED]).all()
    assert 0.0 < rows.predicted[0] < 1.0


def test_a_mean_square_never_becomes_negative() -> None:
    found = [each for each in examples(400) if each.features and each.features["price"]]
    for first in range(0, 300, 10):
        model = Mixture(SMALL)
        rows = rows_of(found[first : first + 10], model.known)
        gradients = np.zeros((10, GRADIENT_COLUMNS))
        for kind in (SHOW | LEARN | KEEP, REVERSE):
            model.act(rows, Actions(np.arange(10), np.full(10, kind, np.uint8), np.ones(10)), gradients)
        assert (model._fields[:, SQUARES] >= 0.0).all()


def test_crosses_that_are_tried_later_are_counted_since_that_epoch() -> None:
    model = Mixture(msgspec.structs.replace(SMALL, kept=1, kept_early=1))
    found = examples(4_100)
    model.run(rows_of(found, model.known))
    assert set(model._crosses[:, CROSS_SINCE].tolist()) == {0.0, 1.0, 2.0}


def test_a_challenger_that_begins_later_learns_of_earlier_impressions_when_their_labels_come() -> None:
    log = records(STREAM)

    def fold(*names: str) -> LearnFold:
        challengers = tuple(Challenger(name=name, kind="ftrl", mixture=SMALL) for name in names)
        return LearnFold(settings("matched", challengers=challengers), shard=0)

    before = fold()
    before.begin(None, offsets={"outcomes": 0}, epoch=1)
    before.step(log.slice(0, 400))
    assert before.open > 0
    kept, mark = before.snapshot(), before.mark()
    found = set()
    for batch in (1, 137, 1_000):
        after = fold("b")
        after.restore(kept)
        after.begin(mark, offsets=after.positions(), epoch=2)
        after.resume(mark)
        for start in range(400, len(log), batch):
            after.step(log.slice(start, start + batch))
        found.add((after.snapshot(), after.trail))
    assert len(found) == 1
    alone = fold()
    alone.begin(None, offsets={"outcomes": 0}, epoch=1)
    alone.step(log)
    assert {trail for _, trail in found} == {alone.trail}


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12))
def test_kept_rows_are_those_that_were_added_and_not_closed(turns: list[tuple[int, int]]) -> None:
    model = Mixture(SMALL)
    found = examples(40)
    kept, expected, serial = KeptRows(), dict[int, tuple[bytes, float]](), 0
    for added, closed in turns:
        rows = rows_of(found[:added], model.known)
        rows.predicted[:] = np.arange(added) + 1.0
        serials = np.arange(serial, serial + added)
        kept.add(serials, rows, np.zeros((added, GRADIENT_COLUMNS)))
        for each in range(added):
            keys = rows.keys[rows.start[each] : rows.start[each + 1]]
            expected[serial + each] = (keys.tobytes(), float(rows.predicted[each]))
        serial += added
        gone = np.array(sorted(expected)[:closed], np.int64)
        kept.close(kept.find(gone)[1])
        for each in gone.tolist():
            del expected[each]
        kept.restore([kept.columns()], np.arange(serial))
    wanted = np.array(sorted(expected), np.int64)
    here, places = kept.find(wanted)
    assert here.all()
    assert len(kept) == len(wanted)
    rows, _ = kept.take(places)
    for number, each in enumerate(wanted.tolist()):
        keys = rows.keys[rows.start[number] : rows.start[number + 1]]
        assert (keys.tobytes(), float(rows.predicted[number])) == expected[each]


def test_memory_of_kept_rows_is_bounded_by_those_that_are_open() -> None:
    kept, rows = KeptRows(), rows_of(examples(100), Mixture(SMALL).known)
    sizes = []
    for turn in range(200):
        serials = np.arange(100 * turn, 100 * turn + 100)
        kept.add(serials, rows, np.zeros((100, GRADIENT_COLUMNS)))
        kept.close(kept.find(serials)[1])
        sizes.append(kept.nbytes)
    assert len(kept) == 0
    assert max(sizes[100:]) <= max(sizes[:100])

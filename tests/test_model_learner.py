"""The learner as a fold: the same log gives the same model and the same metrics, however it is cut."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.kinds import new_model
from online_models.learner import Learner
from online_models.metrics import score
from online_models.mixture.rows import rows_of
from online_models.mixture.settings import MixtureSettings
from online_models.settings import LearnerSettings, ModelSettings
from schemas.codec import decode, encode
from schemas.errors import BrokenInvariant, SettingsError
from schemas.models import ModelManifest, ModelMetrics
from schemas.outcomes import Outcome
from schemas.records import Out, Records
from tests.models.traffic import START_MS, outcomes, records, true_probability
from tests.sources import ROOT

SMALL = MixtureSettings(slot_bits=10, pair_bits=12)
SETTINGS = LearnerSettings(
    learns=ModelSettings(mixture=SMALL), window_ms=60_000, grace_ms=30_000, slices=("campaign_id", "device")
)
# A short attribution window, so that in a few hundred outcomes windows open, close and clicks wait.
STREAM = outcomes(3_000, negative_rate=0.1, window_ms=120_000)
_BAD: list[bytes | None] = [None, b"", b"{", b'{"kind":"click","impression_id":"\xff","join_partition":0}']


def learner(settings: LearnerSettings = SETTINGS) -> Learner:
    return Learner(settings, shard=0)


def finished(fold: Learner, *, limit: int = 1_000) -> list[Out]:
    fold.finish()
    written: list[Out] = []
    while fold.can_sweep():
        written += fold.sweep(limit)
    return written + fold.report(limit)


def metrics(written: Sequence[Out]) -> list[ModelMetrics]:
    return [decode(out.value or b"", ModelMetrics) for out in written if out.topic == "model_metrics"]


def manifests(written: Sequence[Out]) -> list[ModelManifest]:
    return [
        decode(out.value or b"", ModelManifest)
        for out in written
        if out.topic == "models" and (out.value or b"").startswith(b"{")
    ]


@functools.cache
def whole() -> tuple[Learner, list[Out], bytes]:
    ours = learner()
    written = ours.step(RECORDS)
    before_end = ours.snapshot()
    return ours, written + finished(ours), before_end


RECORDS: Records = records([*STREAM[:100], *_BAD, *STREAM[100:]], start=7)


@given(st.lists(st.integers(0, len(RECORDS)), max_size=6), st.sets(st.integers(0, 6)), st.integers(1, 50))
def test_any_batching_and_a_restart_anywhere_give_the_same_model_and_outputs(
    cuts: list[int], crashes: set[int], limit: int
) -> None:
    ours = learner()
    written: list[Out] = []
    bounds = [0, *sorted(cuts), len(RECORDS)]
    for number, (start, stop) in enumerate(pairwise(bounds)):
        written += ours.step(RECORDS.slice(start, stop))
        if number in crashes:
            kept, ours = ours.snapshot(), learner()
            ours.restore(kept)
            assert ours.snapshot() == kept
    assert ours.snapshot() == whole()[2]
    written += finished(ours, limit=limit)
    assert written == whole()[1]
    assert (ours.trail, ours.positions()) == (whole()[0].trail, whole()[0].positions())


@given(st.lists(st.integers(0, len(RECORDS)), min_size=1, max_size=4))
def test_reports_at_any_time_change_no_state_and_versions_only_grow(cuts: list[int]) -> None:
    ours = learner()
    versions: list[int] = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(RECORDS)], strict=True):
        ours.step(RECORDS.slice(start, stop))
        versions += [each.version for each in manifests(ours.report(10))]
    assert versions == sorted(set(versions))
    assert ours.snapshot() == whole()[2]


def test_metrics_of_a_window_are_of_what_was_predicted_before_learning() -> None:
    # One row at a time, by the same model.
    model = new_model("mixture", SMALL)
    window: dict[int, list[tuple[float, int, float]]] = {}
    # The order that `online_models.order` promises: clicks when a non-click of their time or later arrives.
    waiting: list[Outcome] = []
    for outcome in [*STREAM, None]:
        if outcome is not None and outcome.label:
            rows_of([outcome], model.known)  # fields are numbered as they appear in the log
            waiting.append(outcome)
            continue
        now_ms = sys.maxsize if outcome is None else outcome.ts or 0
        due = sorted((each for each in waiting if (each.ts or 0) <= now_ms), key=lambda each: each.ts or 0)
        waiting = [each for each in waiting if (each.ts or 0) > now_ms]
        for each in [*due, *([outcome] if outcome else [])]:
            rows = rows_of([each], model.known)
            rows.labels[0], rows.weights[0] = each.label or 0, each.weight
            predicted = float(model.run(rows)[0])
            start_ms = (each.ts or 0) // 60_000 * 60_000
            window.setdefault(start_ms, []).append((predicted, each.label or 0, each.weight))
    found = {entry.window_start: entry for entry in metrics(whole()[1]) if entry.slice == "all"}
    assert found.keys() == window.keys()
    for start_ms, examples in window.items():
        p, y, w = zip(*examples, strict=True)
        expected = score(np.array(p), labels=np.array(y, np.int8), weights=np.array(w))
        entry = found[start_ms]
        figures = msgspec.structs.asdict(expected)
        assert entry.bins == [list(each) for each in figures.pop("bins")]
        assert figures.items() <= msgspec.structs.asdict(entry).items()


def test_slices_of_a_dimension_add_up_to_all() -> None:
    for window in {entry.window_start for entry in metrics(whole()[1])}:
        entries = {entry.slice: entry for entry in metrics(whole()[1]) if entry.window_start == window}
        for dimension in SETTINGS.slices:
            parts = [entry for name, entry in entries.items() if name.startswith(f"{dimension}=")]
            assert sum(part.examples for part in parts) == entries["all"].examples
            assert math.fsum(part.weight for part in parts) == pytest.approx(entries["all"].weight)


def test_every_window_is_written_once_under_its_own_key() -> None:
    keys = [out.key for out in whole()[1] if out.topic == "model_metrics"]
    assert len(keys) == len(set(keys))
    assert keys[0] == f"ctr/0/{START_MS}/all".encode()


def test_every_record_is_counted_in_one_place() -> None:
    counts = whole()[0].counts
    assert counts.consumed == len(RECORDS) == counts.learned + counts.waiting + counts.unlabelled + counts.rejected
    assert (counts.rejected, counts.waiting) == (len(_BAD), 0)


def unclicked(**changes: object) -> Outcome:
    usual = Outcome("unclicked", "i", 0, weight=20.0, label=0, ts=START_MS, campaign_id="c", creative_id="k")
    return msgspec.structs.replace(usual, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"label": 1},
        {"label": None},
        {"ts": None},
        {"ts": START_MS // 1_000},
        {"weight": 0.0},
        {"weight": 1e7},
        {"kind": "click"},
        {"kind": "repeat"},
    ],
)
def test_an_outcome_that_says_something_impossible_is_counted_and_teaches_nothing(changes: dict[str, object]) -> None:
    ours = learner()
    ours.step(records([unclicked(**changes)]))
    assert (ours.counts.rejected, ours.counts.learned) == (1, 0)
    assert ours.lineup.main.digest() == learner().lineup.main.digest()
    assert ours.positions() == {"outcomes": 1}


def test_repeats_and_orphans_teach_nothing() -> None:
    ours = learner()
    ours.step(records([unclicked(kind="repeat", label=None), Outcome("orphan", "i", 0, click_id="c")]))
    assert (ours.counts.unlabelled, ours.lineup.main.digest()) == (2, learner().lineup.main.digest())


def test_shown_impressions_teach_nothing_with_wait_and_shift_no_offset() -> None:
    shown = [unclicked(kind="shown", label=None)] * 3
    waits = msgspec.structs.replace(SETTINGS, policy="wait")
    ours, without = learner(waits), learner(waits)
    ours.step(records([*shown, unclicked(), *shown, unclicked(kind="click", label=1, weight=1.0), *shown]))
    ours.step(records([*shown, unclicked()], start=11))
    without.step(
        Records(
            "outcomes",
            0,
            [3, 7, 14],
            [-1] * 3,
            [b"k"] * 3,
            [encode(unclicked()), encode(unclicked(kind="click", label=1, weight=1.0)), encode(unclicked())],
        )
    )
    assert ours.counts.unlabelled == 12
    assert (ours.trail, ours.positions()) == (without.trail, without.positions())


def test_clicks_wait_until_a_non_click_of_their_time_arrives() -> None:
    ours = learner()
    click = unclicked(kind="click", label=1, weight=1.0, ts=START_MS + 10)
    ours.step(records([click] * 50))
    assert (ours.counts.waiting, ours.counts.learned) == (50, 0)
    ours.step(records([unclicked(ts=START_MS + 9)], start=50))
    assert (ours.counts.waiting, ours.counts.learned) == (50, 1)
    ours.step(records([unclicked(ts=START_MS + 10)], start=51))
    assert (ours.counts.waiting, ours.counts.learned) == (0, 52)


def test_a_click_is_measured_although_the_arrival_that_releases_it_closes_its_window() -> None:
    ours = learner()
    click = unclicked(kind="click", label=1, weight=1.0, ts=START_MS + 10)
    written = ours.step(records([unclicked(), click, unclicked(ts=START_MS + 90_000), click]))
    (window,) = [entry for entry in metrics(written) if entry.slice == "all"]
    assert (window.window_start, window.examples, window.clicks) == (START_MS, 2, 1.0)
    assert (ours.counts.learned, ours.counts.late) == (4, 1), "the second click comes behind the end of its window"


def test_without_any_non_click_clicks_wait_32_days_and_not_longer() -> None:
    ours = learner()
    days_ms = 32 * 86_400_000
    click = unclicked(kind="click", label=1, weight=1.0)
    ours.step(records([click, msgspec.structs.replace(click, ts=START_MS + days_ms - 1)]))
    assert ours.counts.waiting == 2
    ours.step(records([msgspec.structs.replace(click, ts=START_MS + days_ms)], start=2))
    assert (ours.counts.waiting, ours.counts.learned) == (2, 1)


def test_an_example_after_its_window_closed_is_learned_and_counted_as_late() -> None:
    ours = learner()
    ours.step(records([unclicked(), unclicked(ts=START_MS + 90_000), unclicked()]))
    assert (ours.counts.learned, ours.counts.late) == (3, 1)


@pytest.mark.parametrize(
    "given_", [records([], start=3, shard=1), records([unclicked()], shard=1), records([unclicked()], start=2)]
)
def test_records_of_elsewhere_or_before_stop_the_worker(given_: Records) -> None:
    ours = learner()
    ours.step(records([unclicked()], start=2))
    if not len(given_):
        assert ours.step(given_) == []
        return
    with pytest.raises(BrokenInvariant, match="restart it from its snapshot"):
        ours.step(given_)


def test_learning_beats_the_best_constant_and_comes_near_the_truth() -> None:
    stream = outcomes(120_000, negative_rate=0.05)
    ours = Learner(LearnerSettings(), shard=0)
    found = [entry for entry in metrics(ours.step(records(stream))) if entry.slice == "all"]
    found = found[len(found) // 2 :]
    later = [each for each in stream if found[0].window_start <= (each.ts or 0) < found[-1].window_end]
    weight = math.fsum(each.weight for each in later)
    rate = sum(each.label or 0 for each in later) / weight

    def loss(probability_of: dict[str, float]) -> float:
        chances = ((each, probability_of[each.impression_id]) for each in later)
        return math.fsum(-each.weight * math.log(p if each.label else 1 - p) for each, p in chances) / weight

    constant = loss({each.impression_id: rate for each in later})
    truth = loss({each.impression_id: true_probability(each) for each in later})
    learned = math.fsum(entry.log_loss * entry.weight for entry in found) / weight
    # Of what there is to gain over the base rate, most is gained within 3,500 clicks.
    assert truth < learned < constant
    assert (constant - learned) / (constant - truth) > 0.75
    clicks, predicted = sum(entry.clicks for entry in found), sum(entry.predicted_clicks for entry in found)
    # About 1,700 clicks in the later half: two standard errors.
    assert predicted / clicks == pytest.approx(1.0, abs=0.05)
    assert ours.measuring.drift.direction == "none"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "a/b"}, "model is 'a/b'; give 1 to 64 letters"),
        ({"learns": {"kind": "forest"}}, "a model of kind 'forest' is not known; give mixture, ftrl, or a classifier"),
        ({"challengers": [{"name": "rollback"}]}, "challenger name is 'rollback'"),
        ({"challengers": [{"name": "a/b"}]}, "challenger name is 'a/b'; give 1 to 32 letters"),
        ({"challengers": [{"name": "b"}, {"name": "b"}]}, "challengers b, b have one name twice"),
        ({"challengers": [{"name": f"b{n}"} for n in range(41)]}, "number of challengers is 41; give one from 0 to 40"),
        ({"window_ms": 999}, "window_ms is 999; give one from 1000"),
        ({"slices": ("user_id",)}, "slice 'user_id' is not a field to measure by; give some of campaign_id"),
        ({"slices": ("device", "device")}, "name one field twice"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_words(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        msgspec.convert(changes, LearnerSettings)


def test_the_digest_is_the_same_for_batches_of_any_size_and_both_kinds_learn() -> None:
    for kind in ("mixture", "ftrl"):
        settings = msgspec.structs.replace(SETTINGS, learns=ModelSettings(kind=kind, mixture=SMALL))
        found = set()
        for batch in (1, 137, 1_000):
            ours = learner(settings)
            for start in range(0, len(RECORDS), batch):
                ours.step(RECORDS.slice(start, start + batch))
            found.add((ours.snapshot(), ours.lineup.main.digest(), ours.trail))
        assert len(found) == 1


UNCOMPILED = """
from tests.test_model_learner import trail_of
import numpy as np
with np.errstate(over="ignore"):
    print(trail_of())
"""


def trail_of() -> str:
    ours = learner()
    ours.step(RECORDS.slice(0, 150))
    return ours.trail


def test_the_same_source_uncompiled_comes_to_the_same_trail() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", UNCOMPILED],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == [trail_of()]

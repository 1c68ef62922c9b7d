"""Metrics against their definitions, and the drift signal."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.drift import DriftState
from online_models.metrics import Scores, auc, calibration_ratio, score
from online_models.windows import Windows

# Few distinct predictions, so that ties are common; 0 and 1 among them.
EXAMPLES = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0]), st.floats(0, 1)),
        st.integers(0, 1),
        st.sampled_from([1.0, 20.0, 1 / 3]),
    ),
    min_size=1,
    max_size=30,
)
Examples = list[tuple[float, int, float]]


def columns(examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, y, w = zip(*examples, strict=True)
    return np.array(p, np.float64), np.array(y, np.int8), np.array(w, np.float64)


def scored(examples: Examples) -> Scores:
    p, y, w = columns(examples)
    return score(p, labels=y, weights=w)


@given(EXAMPLES)
def test_auc_is_the_share_of_pairs_won_with_ties_half(examples: Examples) -> None:
    won = pairs = 0.0
    for p, y, w in examples:
        for q, x, v in examples:
            if y == 1 and x == 0:
                pairs += w * v
                won += w * v * (1.0 if p > q else 0.5 if p == q else 0.0)
    p_, y_, w_ = columns(examples)
    found = auc(p_, labels=y_, weights=w_)
    assert found == (pytest.approx(won / pairs) if pairs else None)


@given(EXAMPLES)
def test_figures_equal_their_definitions(examples: Examples) -> None:
    found = scored(examples)
    weight = math.fsum(w for _, _, w in examples)
    loss = math.fsum(-w * math.log(max(p if y else 1 - p, 1e-15)) for p, y, w in examples) / weight
    clicks = math.fsum(w for _, y, w in examples if y)
    predicted = math.fsum(w * p for p, _, w in examples)
    assert (found.examples, found.weight, found.clicks) == (len(examples), weight, clicks)
    assert found.predicted_clicks == predicted
    assert found.log_loss == pytest.approx(loss)
    assert found.calibration == (predicted / clicks if clicks else None)


@given(EXAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_examples_changes_no_bit(examples: Examples, shuffler: random.Random) -> None:
    shuffled = list(examples)
    shuffler.shuffle(shuffled)
    assert scored(shuffled) == scored(examples)


def test_no_ratio_without_clicks() -> None:
    assert calibration_ratio(predicted_clicks=1.0, clicks=0.0) is None
    assert calibration_ratio(predicted_clicks=3.0, clicks=2.0) == 1.5


def test_a_window_closes_when_grace_has_passed_and_not_a_millisecond_before() -> None:
    windows = Windows(window_ms=1_000, grace_ms=500, dimensions=())
    assert windows.add(10_000, 0.5, label=1, weight=1.0, values=())
    assert windows.add(10_999, 0.5, label=0, weight=1.0, values=())
    assert windows.advance(11_499) == []
    ((start_ms, window),) = windows.advance(11_500)
    assert (start_ms, len(window.labels)) == (10_000, 2)
    assert not windows.add(10_999, 0.5, label=1, weight=1.0, values=())
    assert windows.add(11_000, 0.5, label=1, weight=1.0, values=())


def test_slices_are_the_heaviest_values_in_order_of_name() -> None:
    windows = Windows(window_ms=1_000, grace_ms=0, dimensions=("campaign_id",))
    for value, weight in (("c", 1.0), ("b", 20.0), ("a", 2.0), ("b", 1.0)):
        windows.add(0, 0.5, label=1, weight=weight, values=(value,))
    _, window = windows.close_first()
    found = {name: scores.weight for name, scores in window.scores(("campaign_id",), max_slices=2)}
    assert found == {"all": 24.0, "campaign_id=a": 2.0, "campaign_id=b": 21.0}


def test_a_quiet_model_raises_no_drift_and_a_shift_is_seen_in_its_direction() -> None:
    random_ = random.Random(1)
    state = DriftState()
    for _ in range(500):
        state = state.after(clicks=100 + 10 * random_.gauss(0, 1), predicted_clicks=100.0)
        assert state.direction == "none"
    for clicks, direction in ((130.0, "more_clicks"), (70.0, "fewer_clicks")):
        shifted = state
        for _ in range(5):
            shifted = shifted.after(clicks=clicks, predicted_clicks=100.0)
        assert shifted.direction == direction


def test_windows_too_small_to_tell_leave_drift_as_it_was() -> None:
    state = DriftState(more=3.0, fewer=1.0)
    assert state.after(clicks=5.0, predicted_clicks=math.nextafter(1.0, 0.0)) == state
    assert state.after(clicks=1.0, predicted_clicks=1.0) == DriftState(more=2.5, fewer=0.5)

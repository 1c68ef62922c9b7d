"""Metrics against their definitions, and the drift signal."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.drift import DriftState
from online_models.metrics import BIN_EDGES, Scores, auc, calibration_interval, calibration_ratio, score
from online_models.windows import Measured, Windows

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
    rate = clicks / weight
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)) if 0 < rate < 1 else 0.0
    assert found.ne == (pytest.approx(loss / entropy) if entropy else None)
    edges = [0.0, *BIN_EDGES, 2.0]
    error = 0.0
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        members = [each for each in examples if low <= each[0] < high]
        own_clicks = math.fsum(w for _, y, w in members if y)
        own_predicted = math.fsum(w * p for p, _, w in members)
        assert found.bins[number] == (math.fsum(w for _, _, w in members), own_clicks, own_predicted)
        error += abs(own_predicted - own_clicks)
    assert found.ece == pytest.approx(error / weight)


@pytest.mark.parametrize("clicks", [5, 30, 400])
def test_limits_of_calibration_are_the_exact_ones_of_a_poisson_mean_within_a_hundredth(clicks: int) -> None:
    from scipy.stats import chi2

    low, high = calibration_interval(predicted_clicks=10.0, clicks=clicks)
    most, least = chi2.ppf(0.975, 2 * clicks + 2) / 2, chi2.ppf(0.025, 2 * clicks) / 2
    assert low == pytest.approx(10.0 / most, rel=0.01)
    assert high == pytest.approx(10.0 / least, rel=0.015)


def test_without_clicks_calibration_has_no_limits() -> None:
    assert calibration_interval(predicted_clicks=10.0, clicks=0.0) == (None, None)
    low, high = calibration_interval(predicted_clicks=10.0, clicks=0.01)
    assert (low is not None, high) == (True, None)


@given(EXAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_examples_changes_no_bit(examples: Examples, shuffler: random.Random) -> None:
    shuffled = list(examples)
    shuffler.shuffle(shuffled)
    assert scored(shuffled) == scored(examples)


def test_no_ratio_without_clicks() -> None:
    assert calibration_ratio(predicted_clicks=1.0, clicks=0.0) is None
    assert calibration_ratio(predicted_clicks=3.0, clicks=2.0) == 1.5


def example(ts_ms: int, *, weight: float = 1.0, key: int = 0) -> Measured:
    """One example of one slice dimension."""
    one = np.array([ts_ms], np.int64), np.array([1], np.int8), np.array([weight])
    return Measured(*one, np.array([np.nan]), [np.array([0.5])], np.array([[key]], np.uint64))


def test_a_window_closes_when_grace_has_passed_and_not_a_millisecond_before() -> None:
    windows = Windows(window_ms=1_000, grace_ms=500, dimensions=("device",))
    none_closed = np.zeros(1, np.int64)
    assert windows.add(example(10_000), none_closed, {}) == 0
    assert windows.add(example(10_999), none_closed, {}) == 0
    closed = windows.closed_by(np.array([11_499, 11_500]))
    assert windows.close(int(closed[0])) == []
    ((start_ms, window),) = windows.close(int(closed[1]))
    assert (start_ms, len(window.columns_of(0)[0])) == (10_000, 2)
    assert windows.add(example(10_999), closed[1:], {}) == 1
    assert windows.add(example(11_000), closed[1:], {}) == 0


def test_slices_are_the_heaviest_values_in_order_of_name_and_an_empty_one_is_as_none() -> None:
    windows = Windows(window_ms=1_000, grace_ms=0, dimensions=("campaign_id",))
    texts = {7: "c", 8: "b", 9: "a", 5: ""}
    for key, weight in ((7, 1.0), (8, 20.0), (9, 2.0), (8, 1.0), (0, 3.0), (5, 3.0)):
        windows.add(example(0, weight=weight, key=key), np.zeros(1, np.int64), texts)
    names, columns = windows.state()
    again = Windows(window_ms=1_000, grace_ms=0, dimensions=("campaign_id",))
    again.restore([(names, columns)], closed_ms=0, models=[0])
    assert again.state() == (names, columns)
    _, window = again.close_first()
    found = {name: scores.weight for name, scores in window.scores(("campaign_id",), max_slices=2)}
    assert found == {"all": 30.0, "campaign_id=": 6.0, "campaign_id=b": 21.0}


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


def test_a_prediction_that_is_not_a_number_is_measured_and_is_not_taken_for_one_before_the_model_began() -> None:
    windows = Windows(window_ms=1_000, grace_ms=0, dimensions=(), models=2)
    for chances in ((0.5, None), (math.nan, math.nan), (0.5, 0.25)):
        one = example(0)
        predicted = [None if chance is None else np.full(1, chance) for chance in chances]
        windows.add(replace(one, predicted=predicted, keys=one.keys[:, :0]), np.zeros(1, np.int64), {})
    again = Windows(window_ms=1_000, grace_ms=0, dimensions=(), models=3)
    again.restore([windows.state()], closed_ms=0, models=[1, None, 0])
    _, window = again.close_first()
    lengths = [[len(column) for column in window.columns_of(model)] for model in range(3)]
    assert lengths == [[2, 2, 2], [0, 0, 0], [3, 3, 3]]
    assert np.isnan(window.columns_of(2)[2]).tolist() == [False, True, False]

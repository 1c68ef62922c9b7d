"""FTRL-proximal against its own definition, as a River estimator, and on probabilities that are known."""

from __future__ import annotations

import math
import subprocess
import sys
import types
from collections.abc import Callable, Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.features import bucket, intercept_index, named_features
from online_models.ftrl_core import FtrlCore, FtrlSettings
from schemas.errors import SettingsError
from schemas.outcomes import Outcome
from tests.models.traffic import outcomes, true_probability

_INTERCEPT = 0
EXAMPLES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(1, 9), st.floats(-3, 3)), max_size=5),
        st.integers(0, 1),
        st.sampled_from([1.0, 20.0, 0.5]),
    ),
    max_size=40,
)


def core(**settings: float) -> FtrlCore:
    return FtrlCore(FtrlSettings(**settings), size=10, intercept=_INTERCEPT)


def hashed_features(outcome: Outcome, bits: int) -> list[tuple[int, float]]:
    return [(bucket(name, category, bits), value) for name, category, value in named_features(outcome)]


@given(EXAMPLES)
def test_learning_follows_algorithm_1_of_the_paper(examples: list[tuple[list[tuple[int, float]], int, float]]) -> None:
    alpha, beta, l1, l2 = 0.3, 1.0, 0.7, 2.0
    ours = core(alpha=alpha, beta=beta, l1=l1, l2=l2)
    z, n = [0.0] * 10, [0.0] * 10
    for features, label, weight in examples:
        unique = [(_INTERCEPT, 1.0), *dict(features).items()]
        w = {}
        for i, _ in unique:
            penalty1, penalty2 = (0.0, 0.0) if i == _INTERCEPT else (l1, l2)
            if abs(z[i]) <= penalty1:
                w[i] = 0.0
            else:
                w[i] = -(z[i] - math.copysign(penalty1, z[i])) / ((beta + math.sqrt(n[i])) / alpha + penalty2)
        p = 1 / (1 + math.exp(-sum(w[i] * x for i, x in unique)))
        assert ours.learn(unique[1:], label, weight) == pytest.approx(p, rel=1e-9)
        for i, x in unique:
            g = (p - label) * x
            sigma = (math.sqrt(n[i] + weight * g * g) - math.sqrt(n[i])) / alpha
            z[i] += weight * g - sigma * w[i]
            n[i] += weight * g * g
    assert list(ours.z) == pytest.approx(z, abs=1e-9)
    assert list(ours.n) == pytest.approx(n, abs=1e-9)


@given(EXAMPLES)
def test_learn_predicts_first_and_exactly_what_predict_would(
    examples: list[tuple[list[tuple[int, float]], int, float]],
) -> None:
    ours = core(alpha=0.3, l1=0.2)
    for features, label, weight in examples:
        before = ours.predict(features)
        assert ours.learn(features, label, weight) == before


def test_a_weight_returns_to_exactly_zero_when_its_evidence_does() -> None:
    ours = core(alpha=0.5, l1=2.0)
    for _ in range(20):
        ours.learn([(3, 1.0)], 1)
    assert ours.weight(3) > 0.0
    for _ in range(40):
        ours.learn([(3, 1.0)], 0)
        if ours.weight(3) == 0.0:
            break
    assert ours.weight(3) == 0.0
    assert ours.n[3] > 0.0


def test_evidence_within_l1_leaves_a_weight_at_zero_and_just_beyond_does_not() -> None:
    ours = core(l1=1.0)
    for z, is_zero in (
        (1.0, True),
        (-1.0, True),
        (math.nextafter(1.0, 2.0), False),
        (math.nextafter(-1.0, -2.0), False),
    ):
        ours.z[5] = z
        assert (ours.weight(5) == 0.0) is is_zero


def test_the_intercept_is_not_penalised() -> None:
    ours = core(alpha=0.5, l1=1e6, l2=1e6)
    for _ in range(2_000):
        ours.learn([(1, 1.0)], 0)
    assert ours.weight(1) == 0.0
    assert ours.predict([]) < 0.05


@pytest.mark.parametrize("prior", [0.001, 0.01, 0.5, 0.9])
def test_the_prior_is_predicted_before_anything_was_learned(prior: float) -> None:
    assert core(prior=prior).predict([(4, 1.0)]) == pytest.approx(prior)


def test_one_example_of_weight_k_moves_n_as_k_examples_do() -> None:
    # Within l1 the weight stays zero, so that all twenty gradients are alike.
    ours = core(alpha=1e-6, l1=100.0)
    ours.learn([(1, 1.0)], 0, 20.0)
    others = core(alpha=1e-6, l1=100.0)
    for _ in range(20):
        others.learn([(1, 1.0)], 0)
    assert ours.n[1] == pytest.approx(others.n[1], rel=1e-4)
    assert ours.z[1] == pytest.approx(others.z[1], rel=1e-4)


def test_sampled_negatives_with_their_weight_stay_calibrated_on_the_whole_population() -> None:
    stream = sorted(outcomes(150_000, negative_rate=0.05), key=lambda outcome: outcome.ts or 0)
    ours = FtrlCore(FtrlSettings(prior=0.01), size=(1 << 18) + 1, intercept=intercept_index(18))
    for outcome in stream:
        ours.learn(hashed_features(outcome, 18), outcome.label or 0, outcome.weight)
    everyone = outcomes(20_000, negative_rate=1.0, seed=2)
    predicted = math.fsum(ours.predict(hashed_features(outcome, 18)) for outcome in everyone)
    expected = math.fsum(true_probability(outcome) for outcome in everyone)
    # 4,300 clicks were learned from: a standard error of 1.5 %, and negatives kept at 0.05 add 0.7 %.
    assert predicted / expected == pytest.approx(1.0, abs=0.05)


def test_extreme_margins_stay_strictly_between_0_and_1() -> None:
    ours = core(l1=0.0)
    for z in (-1e300, 1e300):
        ours.z[2] = z
        assert 0.0 < ours.predict([(2, 1.0)]) < 1.0
        assert math.isfinite(math.log(1.0 - ours.predict([(2, 1.0)])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0; give a number above 0"),
        ({"beta": 0.0}, "beta is 0.0; give a number above 0"),
        ({"l1": -0.1}, "l1 is -0.1; give a number at least 0"),
        ({"l2": math.nan}, "l2 is nan; give a number at least 0"),
        ({"prior": 1.0}, "prior is 1.0; give a probability above 0 and below 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_words(settings: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FtrlSettings(**settings)


def test_the_learner_does_not_import_river() -> None:
    code = "import sys, online_models.learner, online_models.published, online_models.experiments; "
    code += "sys.exit(any(name in sys.modules for name in ('river', 'statsmodels', 'pandas', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _river_checks() -> list[Callable[..., None]]:
    # River asks for scikit-learn's datasets before it looks at what kind of estimator it has; a binary classifier
    # needs none of them.
    stand_in = types.ModuleType("sklearn")
    stand_in.datasets = types.ModuleType("sklearn.datasets")  # type: ignore[attr-defined]
    added = sys.modules.setdefault("sklearn", stand_in) is stand_in
    try:
        from river import checks

        from online_models.ftrl import FTRLClassifier

        return list(checks.yield_checks(FTRLClassifier()))
    finally:
        if added:
            del sys.modules["sklearn"]


def test_every_check_river_has_for_an_estimator_passes() -> None:
    from online_models.ftrl import FTRLClassifier

    found = _river_checks()
    assert len(found) > 30
    for check in found:
        check(FTRLClassifier().clone())


def test_the_estimator_learns_names_as_the_core_learns_indices() -> None:
    from online_models.ftrl import FTRLClassifier

    model, ours = FTRLClassifier(alpha=0.2, l1=0.1), core(alpha=0.2, l1=0.1)
    for turn in range(200):
        features: dict[Hashable, float] = {"a": 1.0, "b": turn % 5 - 2.0, "c": 0.0}
        label = turn % 3 == 0
        learned = model.predict_proba_one(features)[True]
        model.learn_one(features, label, w=2.0)
        indexed = [(1, 1.0), *([(2, features["b"])] if features["b"] else [])]
        assert ours.learn(indexed, label, 2.0) == learned
    assert model.weights == {"a": ours.weight(1), "b": ours.weight(2)}
    assert model.intercept == ours.weight(_INTERCEPT)

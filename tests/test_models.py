"""What every model promises: see `online_models.model`. A new model is added to MODELS and must pass all of this."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models import former as published
from online_models.features import FEATURES_VERSION, hashed_features, intercept_index
from online_models.learner import Learner
from online_models.model import Model
from online_models.settings import LearnerSettings
from schemas.models import ModelVersion
from tests.models.base_rate import BaseRate
from tests.models.traffic import outcomes, records

BITS = 8
SETTINGS = LearnerSettings(bits=BITS, l1=0.1, window_ms=60_000, grace_ms=30_000)
MODELS: dict[str, Callable[[], Model]] = {
    "ftrl": SETTINGS.new_model,
    "base rate": lambda: BaseRate(intercept=intercept_index(BITS)),
}
every_model = pytest.mark.parametrize("new_model", MODELS.values(), ids=MODELS.keys())
Examples = list[tuple[list[tuple[int, float]], int, float]]
_features = st.lists(st.tuples(st.integers(0, (1 << BITS) - 1), st.floats(-3, 3)), max_size=5)
examples = st.lists(st.tuples(_features, st.integers(0, 1), st.sampled_from([1.0, 20.0, 0.5])), max_size=30)


def taught(new_model: Callable[[], Model], examples: Examples) -> Model:
    model = new_model()
    for features, label, weight in examples:
        model.learn(features, label, weight)
    return model


@every_model
@given(examples)
def test_learn_predicts_first_and_exactly_what_predict_would(
    new_model: Callable[[], Model], examples: Examples
) -> None:
    model = new_model()
    for features, label, weight in examples:
        before, columns = model.predict(features), model.columns()
        assert 0.0 < before < 1.0
        assert model.columns() == columns, "predict changed the model"
        assert model.learn(features, label, weight) == before


@every_model
@given(examples, examples)
def test_a_restored_model_goes_on_as_the_one_it_was_taken_from(
    new_model: Callable[[], Model], before: Examples, after: Examples
) -> None:
    whole = taught(new_model, before)
    restored = taught(new_model, after)  # what it has learned is replaced
    restored.restore(whole.columns())
    assert restored.columns() == whole.columns() == taught(new_model, before).columns()
    assert len(whole.columns()) == whole.column_count == new_model().column_count == restored.column_count
    predictions = [(whole.learn(*example), restored.learn(*example)) for example in after]
    assert all(ours == theirs for ours, theirs in predictions)
    assert restored.columns() == whole.columns()


@every_model
@given(examples, st.integers(1, 4))
def test_published_weights_are_the_largest_with_the_intercept(
    new_model: Callable[[], Model], examples: Examples, most: int
) -> None:
    model = taught(new_model, examples)
    everything, published = model.weights(1 << 20), model.weights(most)
    intercept = str(intercept_index(BITS))
    assert list(everything) == sorted(everything, key=int)
    assert all(weight for index, weight in everything.items() if index != intercept)
    features = [index for index in everything if index != intercept]
    largest = sorted(features, key=lambda index: -abs(everything[index]))[: most - 1]
    assert published == {index: everything[index] for index in sorted([*largest, intercept], key=int)}
    assert model.nbytes > 0


@every_model
def test_a_published_model_predicts_to_the_bit_what_the_model_does(new_model: Callable[[], Model]) -> None:
    model = new_model()
    stream = outcomes(300, negative_rate=0.5)
    for outcome in stream:
        model.learn(hashed_features(outcome, BITS), outcome.label or 0, outcome.weight)
    weights = model.weights(published.MAX_WEIGHTS)
    digest = published.weights_digest(weights)
    version = ModelVersion("ctr", 0, 1, 1, 0, FEATURES_VERSION, BITS, digest, weights)
    for outcome in stream:
        assert published.predict(version, outcome) == model.predict(hashed_features(outcome, BITS))


@every_model
def test_the_learner_drives_any_model(new_model: Callable[[], Model]) -> None:
    stream = records(outcomes(600, negative_rate=0.1, window_ms=120_000))
    whole = Learner(SETTINGS, shard=0, model=new_model())
    first = Learner(SETTINGS, shard=0, model=new_model())
    first.step(stream.slice(0, 40))
    second = Learner(SETTINGS, shard=0, model=new_model())
    second.restore(first.snapshot())
    whole.step(stream)
    second.step(stream.slice(40, len(stream)))
    assert second.snapshot() == whole.snapshot()
    published.check(second.version())
    assert second.nbytes == whole.model.nbytes

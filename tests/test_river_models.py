"""River classifiers as models: saved as plain data through an allow-list, or refused at the start, by name."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import msgspec
import numpy as np
import pytest

from online_models.kinds import new_model
from online_models.learner import Learner
from online_models.metrics import score
from online_models.published import PublishedModels
from online_models.settings import LearnerSettings, ModelSettings
from schemas.errors import DamagedState, SettingsError
from tests.models.clicks import examples, rows_of
from tests.models.published import SMALL, learned, records_of
from tests.models.traffic import outcomes, records

LOGISTIC = "river.linear_model.LogisticRegression"


@pytest.mark.parametrize(
    "name",
    [LOGISTIC, "river.linear_model.Perceptron", "river.linear_model.ALMAClassifier", "river.naive_bayes.BernoulliNB"],
)
def test_a_classifier_that_is_plain_data_learns_is_restored_and_published(name: str) -> None:
    model = learned(200, kind=name)
    again = new_model(name, SMALL)
    again.restore(model.snapshot())
    further = examples(260)[200:]
    ours, theirs = (each.run(rows_of(further, each.known)) for each in (model, again))
    assert np.array_equal(ours, theirs)
    assert again.snapshot() == model.snapshot()
    models = PublishedModels()
    for record in records_of(model, 5):
        models.take(record.key, record.value)
    assert models.update() == []
    served = models.current["ctr", 0]
    assert np.array_equal(served.predict(served.rows(further)), model.predict(model.rows(further)))


def test_a_logistic_regression_of_river_learns_with_weights() -> None:
    found = examples(3_000, negative_weight=10.0, rate_log_odds=-3.0)
    rows = rows_of(found, new_model(LOGISTIC).known)
    predicted = new_model(LOGISTIC, SMALL).run(rows)
    of = score(predicted[1_500:], labels=rows.labels[1_500:], weights=rows.weights[1_500:])
    assert of.calibration == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("river.tree.HoeffdingTreeClassifier", "river.tree.HoeffdingTreeClassifier cannot be saved as plain data: it"),
        ("river.forest.ARFClassifier", "river.forest.ARFClassifier cannot be saved as plain data: it"),
        ("river.linear_model.LinearRegression", "'river.linear_model.LinearRegression' is no classifier of River"),
        ("river.nothing.There", "'river.nothing.There' is no classifier of River"),
        ("river.os.system", "'river.os.system' is no classifier of River"),
        (
            "river.linear_model.PAClassifier",
            "PAClassifier cannot be saved as plain data: it.calc_tau is a builtins.method",
        ),
    ],
)
def test_a_classifier_that_cannot_be_saved_is_refused_at_the_start_by_name(name: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        ModelSettings(kind=name)


def test_state_goes_to_plain_data_and_back() -> None:
    from river import linear_model, naive_bayes, optim  # 2 s to import
    from river.utils import VectorDict

    from online_models.river_state import packed, unpacked

    model = linear_model.LogisticRegression(optim.FTRLProximal())
    for number in range(30):
        model.learn_one({number % 5: 1.0, "a": 0.1 * number}, number % 3 == 0)
    data = msgspec.msgpack.decode(msgspec.msgpack.encode(packed(model)))
    again = unpacked(data)
    assert packed(again) == packed(model)
    for each in (model, again):
        each.learn_one({1: 1.0, "b": -0.5}, True)
    assert packed(again) == packed(model)
    value = [1, 2.5, None, "a", True, (1, 2), {1: [2]}, Counter("aab"), defaultdict(Counter, {1: Counter("a")})]
    assert unpacked(packed(value)) == value
    assert unpacked(packed(VectorDict({1: 2.0}))).to_dict() == {1: 2.0}
    bayes: Any = naive_bayes.BernoulliNB
    assert packed(bayes())[0] == "object"


@pytest.mark.parametrize("value", [random.Random(1), np.zeros(1), print, lambda: None, {1}, defaultdict(list), 1j])
def test_a_type_that_is_not_on_the_list_is_refused_with_the_way_to_it(value: object) -> None:
    from online_models.river_state import NotPlain, packed

    with pytest.raises(NotPlain, match=r"it\['a'\]\[1\] is a "):
        packed({"a": [0, value]})


@pytest.mark.parametrize(
    "data",
    [
        ["object", "os.system", []],
        ["object", "river.optim.base.Nothing", []],
        ["object", "types.SimpleNamespace", []],
        ["object", "builtins.eval", []],
        ["defaultdict", "eval", []],
        ["set", [1]],
        ["list"],
    ],
)
def test_data_that_names_anything_else_is_refused(data: object) -> None:
    from online_models.river_state import unpacked

    with pytest.raises(DamagedState):
        unpacked(data)


def test_the_learner_drives_a_classifier_of_river() -> None:
    settings = LearnerSettings(learns=ModelSettings(kind=LOGISTIC, mixture=SMALL), window_ms=60_000, grace_ms=30_000)
    stream = records(outcomes(1_500, negative_rate=0.2, window_ms=120_000))
    found = set()
    for batch in (1, 137, 1_000):
        ours = Learner(settings, shard=0)
        for start in range(0, len(stream), batch):
            ours.step(stream.slice(start, start + batch))
        found.add((ours.snapshot(), ours.trail))
    assert len(found) == 1

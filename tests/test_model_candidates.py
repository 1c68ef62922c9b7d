"""Candidates of a call: predicted as the learner would predict each of them, to the bit, without learning."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given

from online_models.mixture.candidates import candidate_rows
from online_models.mixture.layout import FIELDS
from online_models.mixture.model import Mixture
from online_models.mixture.plain import Ftrl
from online_models.mixture.reading import Reader
from online_models.mixture.row_model import RowModel
from online_models.mixture.rows import Fields, Rows
from online_models.mixture.selection import Selection
from online_models.mixture.settings import MixtureSettings
from schemas.codec import encode
from schemas.events import Features
from schemas.serving import Candidate, PredictCall
from tests.factories import T0
from tests.models.calls import calls, shown
from tests.models.clicks import examples, rows_of

SMALL = MixtureSettings(slot_bits=10, pair_bits=10)
CHOSEN = msgspec.structs.replace(SMALL, leave_out=("country", "features.n"), as_categories=("features.score",))


@functools.cache
def learned(settings: MixtureSettings, rows: int, reserved: bool) -> Mixture:
    model = Mixture(settings)
    if not reserved:
        model.known = Fields()
        model.selection = Selection(settings, model.known, reserve=False)
    model.run(rows_of(examples(rows), model.known))
    return model


def read(model: RowModel, call: PredictCall, candidate: Candidate) -> Rows:
    """The row that the learner makes of the outcome."""
    refused = list[Any]()
    batch = Reader(model.known, model.selection).read(
        [encode(shown(call, candidate))], lambda *why: refused.append(why)
    )
    assert refused == []
    return batch.rows


KINDS: dict[str, tuple[MixtureSettings, int, bool]] = {
    "new": (SMALL, 0, True),
    # Each new pair of fields is looked up, and lines of pairs are shared.
    "early": (SMALL, 1_000, True),
    "learned": (SMALL, 3_000, True),
    "chosen fields": (CHOSEN, 3_000, True),
    "chosen of new fields": (CHOSEN, 0, False),
}
MANY: Features = {f"new{number}": number for number in range(FIELDS + 5)}


@pytest.mark.parametrize("kind", KINDS)
@given(call=calls())
@example(call=PredictCall(T0, [Candidate("c1", "x", MANY), Candidate("c2", "y", {"other": "a", "new3": 1})]))
@example(call=PredictCall(T0, [Candidate("c", "x", {"tag_b": True})] * 2, features={"tag_a": True, "tag_c": False}))
def test_candidates_are_predicted_as_the_learner_predicts_each_to_the_bit(kind: str, call: PredictCall) -> None:
    settings = KINDS[kind][0]
    model = learned(*KINDS[kind])
    before = model.digest()
    predicted = model.predict(candidate_rows(call, model.known, model.selection)).tolist()
    assert model.digest() == before
    snapshot = model.snapshot()
    assert len(predicted) == len(call.candidates)
    for candidate, chance in zip(call.candidates, predicted, strict=True):
        assert 0.0 < chance < 1.0
        learner = Mixture(settings)
        learner.restore(snapshot)
        assert learner.run(read(learner, call, candidate)).tolist() == [chance]


def test_ftrl_alone_predicts_without_learning() -> None:
    model = Ftrl(SMALL)
    model.run(rows_of(examples(500), model.known))
    call = PredictCall(T0, [Candidate("c1", "x1", {"n": 2.5}), Candidate("c2", "x2")], country="JP")
    rows = candidate_rows(call, model.known, model.selection)
    before = model.digest()
    predicted = model.predict(rows).copy()
    assert model.digest() == before
    assert np.array_equal(predicted, model.predict(rows))
    first = read(model, call, call.candidates[0])
    assert model.run(first).tolist() == predicted[:1].tolist()

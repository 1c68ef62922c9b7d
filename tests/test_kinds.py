"""What every kind of model promises: see `online_models.model`. A new kind is added to KINDS and passes all this."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from online_models import kinds
from online_models.kinds import new_model
from online_models.mixture.row_model import MOST_WEIGHT, RowModel
from schemas.errors import DamagedState, SettingsError, StateMismatch
from tests.models.clicks import examples, rows_of
from tests.models.published import SMALL

RIVER = "river.linear_model.LogisticRegression"
KINDS = ("mixture", "ftrl", RIVER)
every_kind = pytest.mark.parametrize("kind", KINDS)
ROWS = examples(2_300)


def taught(kind: str, first: int = 0, last: int = len(ROWS), *, batch: int = 1_000) -> RowModel:
    model = new_model(kind, SMALL)
    for start in range(first, last, batch):
        model.run(rows_of(ROWS[start : min(last, start + batch)], model.known))
    return model


def test_every_kind_is_held_to_the_promises() -> None:
    assert set(KINDS) == {*kinds.KINDS, RIVER}
    assert all(made.kind == name for name, made in kinds.KINDS.items())


@every_kind
def test_batches_of_any_size_give_the_same_state(kind: str) -> None:
    assert len({taught(kind, last=1_000, batch=batch).snapshot() for batch in (1, 137, 1_000)}) == 1


@every_kind
def test_predict_gives_what_run_would_give_first_and_changes_nothing(kind: str) -> None:
    for learned in (0, 1, 2_100):
        model = taught(kind, last=learned)
        before = model.snapshot()
        further = ROWS[learned : learned + 50]
        given = model.predict(rows_of(further, model.known.copy()))
        assert ((given > 0.0) & (given < 1.0)).all()
        assert model.snapshot() == before
        assert model.run(rows_of(further[:1], model.known))[0] == given[0]


@every_kind
def test_a_restored_model_goes_on_as_the_one_it_was_taken_from(kind: str) -> None:
    first, second = taught(kind, last=1_200), taught(kind, first=1_200)
    second.restore(first.snapshot())
    assert second.snapshot() == first.snapshot()
    ours, theirs = (model.run(rows_of(ROWS[1_200:], model.known)) for model in (first, second))
    assert np.array_equal(ours, theirs)
    assert second.snapshot() == first.snapshot()


@every_kind
def test_a_snapshot_of_another_kind_or_size_is_refused(kind: str) -> None:
    other = KINDS[kind == KINDS[0]]
    with pytest.raises(StateMismatch, match=f"has kind {other}"):
        new_model(kind, SMALL).restore(taught(other, last=50).snapshot())
    with pytest.raises(StateMismatch, match="slot_bits"):
        new_model(kind, msgspec.structs.replace(SMALL, slot_bits=11)).restore(taught(kind, last=50).snapshot())
    if kind == RIVER:
        return
    mislabelled = new_model(kind, msgspec.structs.replace(SMALL, slot_bits=11))
    mislabelled.config = lambda: SMALL.as_data()  # type: ignore[method-assign]
    with pytest.raises(DamagedState, match="has other arrays"):
        mislabelled.restore(taught(kind, last=50).snapshot())


@every_kind
def test_rows_of_another_models_reading_teach_the_same(kind: str) -> None:
    main = taught("mixture", last=10)
    settings = msgspec.structs.replace(SMALL, leave_out=("features.price", "device"))
    beside, alone = new_model(kind, settings, main.known), new_model(kind, settings)
    rows = rows_of(ROWS[:500], main.known)
    beside.run(beside.selected(rows))
    alone.run(alone.selected(rows_of(ROWS[:500], alone.known)))
    further = examples(520)[500:]
    # Fields have other numbers, so sums have another order.
    assert beside.predict(beside.rows(further)) == pytest.approx(alone.predict(alone.rows(further)), rel=1e-9)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_model_says_what_is_wrong_with_its_state(kind: str) -> None:
    model = taught(kind, last=300)
    assert model.fault() == ""
    whole = model._state()[0]
    before, used = whole.copy(), model._marks[0].used()
    for wrong, fault in ((np.nan, "not_finite"), (np.inf, "not_finite"), (-np.inf, "not_finite")):
        whole[used[3], 1] = wrong
        assert model.fault() == fault
        whole[:] = before


def test_a_weight_is_in_bounds_up_to_the_bound() -> None:
    from online_models.mixture.layout import ADA_WEIGHT

    model = taught("mixture", last=300)
    used = model._marks[0].used()
    for weight, fault in ((MOST_WEIGHT, ""), (-MOST_WEIGHT, ""), (MOST_WEIGHT * 1.001, "weights")):
        for sign in (1.0, -1.0):
            model._state()[0][used[3], ADA_WEIGHT] = sign * weight
            assert model.fault() == fault


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="kind 'forest' is not known; give mixture, ftrl, or a classifier of River"):
        new_model("forest")

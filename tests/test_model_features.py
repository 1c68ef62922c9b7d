"""Features are pinned: an index that moves makes every published weight meaningless."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.features import (
    FEATURES_VERSION,
    bucket,
    intercept_index,
    named_features,
)
from schemas.events import Impression
from schemas.outcomes import Outcome

SHOWN = Impression(
    impression_id="i1",
    ts=1_700_000_000_000,
    campaign_id="campaign-1",
    creative_id="creative-1",
    price_micros=1_000,
    placement="top",
    country="NL",
    device="phone",
    user_id="u1",
    bid_micros=2_000,
    pctr=0.5,
    model_version="7",
    experiment="e",
    arm="b",
    features={"topic": "sport", "returning": True, "age": 99, "change": -99.0, "zero": 0},
)


def hashed_features(shown: Impression | Outcome, bits: int) -> list[tuple[int, float]]:
    return [(bucket(name, category, bits), value) for name, category, value in named_features(shown)]


def test_indices_are_pinned_for_this_features_version() -> None:
    assert FEATURES_VERSION == "2"
    assert [index for index, _ in hashed_features(SHOWN, 20)] == GOLDEN


def test_every_feature_has_its_name_category_and_value() -> None:
    assert named_features(SHOWN) == [
        ("campaign_id", "campaign-1", 1.0),
        ("creative_id", "creative-1", 1.0),
        ("placement", "top", 1.0),
        ("country", "NL", 1.0),
        ("device", "phone", 1.0),
        ("hour", "22", 1.0),
        ("features.topic", "sport", 1.0),
        ("features.returning", "true", 1.0),
        ("features.age", None, math.log1p(99)),
        ("features.change", None, -math.log1p(99)),
        ("features.zero", None, 0.0),
    ]


@pytest.mark.parametrize(
    "field", ["price_micros", "bid_micros", "pctr", "user_id", "model_version", "experiment", "arm"]
)
def test_what_a_model_must_not_see_changes_nothing(field: str) -> None:
    changed = msgspec.structs.replace(SHOWN, **{field: None})
    assert hashed_features(changed, 20) == hashed_features(SHOWN, 20)


def test_an_outcome_has_the_features_of_its_impression() -> None:
    fields = {name: getattr(SHOWN, name) for name in SHOWN.__struct_fields__}
    outcome = Outcome(kind="click", join_partition=0, label=1, click_id="c", click_ts=1, **fields)
    assert hashed_features(outcome, 20) == hashed_features(SHOWN, 20)


def test_absent_fields_and_numbers_that_are_not_finite_are_left_out() -> None:
    shown = Impression("i", 1_700_000_000_000, "c", "k", 0, features={"nan": math.nan, "inf": -math.inf})
    assert [name for name, _, _ in named_features(shown)] == ["campaign_id", "creative_id", "hour"]


@given(st.text(max_size=40), st.text(max_size=40), st.integers(8, 24))
def test_every_index_is_below_the_intercepts(name: str, category: str, bits: int) -> None:
    assert 0 <= bucket(name, category, bits) < intercept_index(bits)


@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_keep_sign_and_order_of_magnitude(value: float) -> None:
    (squeezed,) = (
        v
        for name, _, v in named_features(msgspec.structs.replace(SHOWN, features={"n": value}))
        if name == "features.n"
    )
    assert abs(squeezed) < 711
    assert math.copysign(1.0, squeezed) == math.copysign(1.0, value)


def test_hours_are_utc() -> None:
    hours = [
        category
        for ts_ms in (1_700_006_399_999, 1_700_006_400_000)
        for name, category, _ in named_features(msgspec.structs.replace(SHOWN, ts=ts_ms))
        if name == "hour"
    ]
    assert hours == ["23", "0"]


def test_no_name_shares_a_weight_with_another_name_and_its_category() -> None:
    """`{"a=b": 1}` is a number named a=b, `{"a": "b"}` a category: as one text they would be the same."""
    looks_alike = [("features.a=b", None), ("features.a", "b"), ("features.a", ""), ("features.a", None)]
    assert len({bucket(name, category, 24) for name, category in looks_alike}) == len(looks_alike)


# xxh3-64 of 'length:name=category', or of 'length:name', under the pinned seed, low 20 bits.
GOLDEN = [201993, 294823, 32471, 853414, 95974, 4985, 1047823, 85685, 405308, 914569, 571201]

"""Snapshots and published versions: canonical, checked, and refused in words when they do not belong."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models import former as published
from online_models.features import intercept_index
from online_models.ftrl_core import FtrlCore, FtrlSettings
from online_models.learner import Learner
from online_models.settings import LearnerSettings
from schemas.codec import encode
from schemas.errors import BrokenInvariant, DamagedState, StateMismatch
from tests.models.traffic import outcomes, records

SETTINGS = LearnerSettings(bits=10, l1=0.1)


def trained() -> Learner:
    ours = Learner(SETTINGS, shard=0)
    ours.step(records(outcomes(2_000, window_ms=60_000)))
    return ours


TRAINED = trained()
SNAPSHOT = TRAINED.snapshot()
VERSION = TRAINED.version()


@given(st.integers(0, len(SNAPSHOT) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed_and_nothing_is_taken(at: int, change: int) -> None:
    damaged = bytearray(SNAPSHOT)
    damaged[at] ^= change
    ours = Learner(SETTINGS, shard=0)
    before = ours.snapshot()
    with pytest.raises((DamagedState, StateMismatch)):
        ours.restore(bytes(damaged))
    assert ours.snapshot() == before


@given(st.integers(0, len(SNAPSHOT) - 1))
def test_any_truncation_is_noticed(length: int) -> None:
    with pytest.raises(DamagedState, match="model snapshot"):
        Learner(SETTINGS, shard=0).restore(SNAPSHOT[:length])


def test_a_newer_format_is_refused_with_both_numbers() -> None:
    newer = SNAPSHOT[:8] + struct.pack("<I", 2) + SNAPSHOT[12:]
    with pytest.raises(StateMismatch, match="format 2, this program reads up to 1"):
        Learner(SETTINGS, shard=0).restore(newer)


@pytest.mark.parametrize(
    ("changes", "shard", "message"),
    [
        ({"model": "other"}, 0, "model ctr, this learner is other"),
        ({}, 1, "shard 0, this learner is 1"),
        ({"alpha": 0.06}, 0, "settings digest .* use the former settings, or a new model name"),
        ({"bits": 11}, 0, "settings digest"),
        ({"slices": ()}, 0, "settings digest"),
        ({"grace_ms": 1}, 0, "settings digest"),
    ],
)
def test_a_snapshot_made_otherwise_is_refused(changes: dict[str, object], shard: int, message: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, **changes)
    with pytest.raises(StateMismatch, match=message):
        Learner(settings, shard=shard).restore(SNAPSHOT)


def test_how_much_is_written_may_change_between_restarts() -> None:
    ours = Learner(msgspec.structs.replace(SETTINGS, max_slices=1, publish_ms=5), shard=0)
    ours.restore(SNAPSHOT)
    assert ours.model.columns() == TRAINED.model.columns()


def test_latest_takes_the_highest_version_of_each_shard_in_any_order() -> None:
    versions = [
        msgspec.structs.replace(VERSION, shard=shard, version=number)
        for shard, number in ((0, 5), (1, 2), (0, 9), (0, 7))
    ]
    found = published.latest(versions)
    assert {key: entry.version for key, entry in found.items()} == {("ctr", 0): 9, ("ctr", 1): 2}
    assert published.latest(reversed(versions)) == found


def test_contributions_say_what_each_feature_adds() -> None:
    shown = outcomes(1, negative_rate=1.0)[0]
    found = published.contributions(VERSION, shown)
    assert found[0].name == "intercept"
    assert found[0].weight < 0.0
    assert "creative_id" in {entry.name for entry in found}
    assert not {"arm", "pctr", "price_micros", "user_id"} & {entry.name for entry in found}


def test_a_version_that_misses_its_digest_or_hash_is_refused() -> None:
    published.check(VERSION)
    with pytest.raises(BrokenInvariant, match="do not match digest"):
        published.check(msgspec.structs.replace(VERSION, weights=VERSION.weights | {"3": 1.0}))
    with pytest.raises(StateMismatch, match="features by version 0"):
        published.check(msgspec.structs.replace(VERSION, features_version="0"))


def test_a_large_model_publishes_its_heaviest_weights_within_the_brokers_limit() -> None:
    core = FtrlCore(FtrlSettings(l1=0.0, prior=0.01), size=(1 << 16) + 1, intercept=intercept_index(16))
    for index in range(1 << 16):
        core.z[index] = -1e-5 * (index + 1) / 3
    weights = core.weights(published.MAX_WEIGHTS)
    indices = [int(index) for index in weights]
    assert len(weights) == published.MAX_WEIGHTS
    assert indices == [*range((1 << 16) - published.MAX_WEIGHTS + 1, 1 << 16), 1 << 16]
    assert all(weights[str(index)] == core.weight(index) for index in indices)
    assert len(encode(msgspec.structs.replace(VERSION, weights=weights))) < 1_000_000

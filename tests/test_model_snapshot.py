"""Snapshots of a learner: canonical, checked, and refused in words when they do not belong."""

from __future__ import annotations

import functools
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.learner import Learner
from online_models.mixture.settings import MixtureSettings
from online_models.settings import LearnerSettings, ModelSettings
from schemas.errors import DamagedState, StateMismatch
from tests.models.traffic import outcomes, records

SMALL = MixtureSettings(slot_bits=8, pair_bits=8)
SETTINGS = LearnerSettings(learns=ModelSettings(mixture=SMALL))


@functools.cache
def trained() -> Learner:
    ours = Learner(SETTINGS, shard=0)
    ours.step(records(outcomes(2_000, window_ms=60_000)))
    return ours


@functools.cache
def snapshot() -> bytes:
    return trained().snapshot()


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_any_changed_byte_is_noticed_and_nothing_is_taken(share: float, change: int) -> None:
    damaged = bytearray(snapshot())
    damaged[int(share * len(damaged))] ^= change
    ours = Learner(SETTINGS, shard=0)
    before = ours.snapshot()
    with pytest.raises((DamagedState, StateMismatch)):
        ours.restore(bytes(damaged))
    assert ours.snapshot() == before


@given(st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_noticed(share: float) -> None:
    with pytest.raises(DamagedState, match="model snapshot"):
        Learner(SETTINGS, shard=0).restore(snapshot()[: int(share * len(snapshot()))])


def test_a_newer_format_is_refused_with_both_numbers() -> None:
    newer = snapshot()[:8] + struct.pack("<I", 5) + snapshot()[12:]
    with pytest.raises(StateMismatch, match="format 5, this program reads up to 4"):
        Learner(SETTINGS, shard=0).restore(newer)


@pytest.mark.parametrize(
    ("changes", "shard", "message"),
    [
        ({"model": "other"}, 0, "model ctr, this learner is other"),
        ({}, 1, "shard 0, this learner is 1"),
        (
            {"learns": ModelSettings(kind="ftrl", mixture=SMALL)},
            0,
            "settings digest .* use the former settings, or a new",
        ),
        ({"learns": ModelSettings()}, 0, "settings digest"),
        ({"slices": ()}, 0, "settings digest"),
        ({"grace_ms": 1}, 0, "settings digest"),
    ],
)
def test_a_snapshot_made_otherwise_is_refused(changes: dict[str, object], shard: int, message: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, **changes)
    with pytest.raises(StateMismatch, match=message):
        Learner(settings, shard=shard).restore(snapshot())


def test_how_much_is_written_may_change_between_restarts() -> None:
    ours = Learner(msgspec.structs.replace(SETTINGS, max_slices=1, publish_ms=5), shard=0)
    ours.restore(snapshot())
    assert ours.lineup.main.digest() == trained().lineup.main.digest()

"""Snapshots of a learner: canonical, checked, and refused in words when they do not belong."""

from __future__ import annotations

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


def trained() -> Learner:
    ours = Learner(SETTINGS, shard=0)
    ours.step(records(outcomes(2_000, window_ms=60_000)))
    return ours


TRAINED = trained()
SNAPSHOT = TRAINED.snapshot()


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
    newer = SNAPSHOT[:8] + struct.pack("<I", 3) + SNAPSHOT[12:]
    with pytest.raises(StateMismatch, match="format 3, this program reads up to 2"):
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
        Learner(settings, shard=shard).restore(SNAPSHOT)


def test_how_much_is_written_may_change_between_restarts() -> None:
    ours = Learner(msgspec.structs.replace(SETTINGS, max_slices=1, publish_ms=5), shard=0)
    ours.restore(SNAPSHOT)
    assert ours.lineup.main.digest() == TRAINED.lineup.main.digest()

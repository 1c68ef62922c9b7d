"""The learner as a worker's fold."""

from __future__ import annotations

import pytest

from online_models.settings import LearnerSettings
from schemas.errors import StateMismatch
from streams.learn.fold import LearnFold


def fold(settings: LearnerSettings | None = None) -> LearnFold:
    return LearnFold(settings or LearnerSettings(), shard=0)


def test_model_that_began_behind_offset_0_is_learned_again_from_there() -> None:
    first = fold()
    first.begin(None, offsets={"outcomes": 70}, epoch=1)
    assert first.positions() == {"outcomes": 70}
    again = fold()
    assert again.rebuild_offsets(first.mark()) == {"outcomes": 70}
    again.rebuild(first.mark())
    again.begin(first.mark(), offsets={"outcomes": 70}, epoch=2)
    assert again.mark() == first.mark()


def test_model_of_other_settings_is_refused_with_a_remedy() -> None:
    with pytest.raises(StateMismatch, match="--group"):
        fold(LearnerSettings(bits=12)).rebuild(fold().mark())

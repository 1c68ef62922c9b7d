"""A model that is not published is said once, with its reason, and once more when it is published again."""

from __future__ import annotations

import numpy as np

from online_models.mixture.settings import MixtureSettings
from online_models.release import HELD
from online_models.settings import LearnerSettings, ModelSettings
from streams.learn.fold import LearnFold
from streams.worker.held import REASONS, HeldWatch
from tests.models.traffic import outcomes, records


def test_a_model_that_is_held_back_is_said_once_with_its_reason() -> None:
    said: list[str] = []
    watch = HeldWatch(said.append)
    small = ModelSettings(mixture=MixtureSettings(slot_bits=8, pair_bits=8))
    fold = LearnFold(LearnerSettings(learns=small), shard=3)
    fold.begin(None, offsets={"outcomes": 0}, epoch=1)
    watch.look({3: fold})
    stream = outcomes(9_000, negative_rate=0.2, window_ms=120_000)
    fold.step(records(stream[: len(stream) // 2], shard=3))
    cell = fold.lineup.main._state()[0]
    before = cell[3, 3]
    cell[3, 3] = np.nan
    assert fold.report(10) == []
    watch.look({3: fold})
    watch.look({3: fold})
    cell[3, 3] = before
    fold.step(records(stream[len(stream) // 2 :], start=len(stream) // 2, shard=3))
    assert fold.report(10)
    watch.look({3: fold})
    watch.look({3: fold})
    held, again = said
    assert held.startswith("model ctr shard 3 is not published: its state has numbers that are not finite; ")
    assert again == "model ctr shard 3 is published again"


def test_every_reason_has_its_words() -> None:
    assert set(REASONS) == set(HELD)

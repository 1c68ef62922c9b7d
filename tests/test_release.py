"""When a model is published, and what holds it back."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from online_models.learner import Learner
from online_models.mixture.settings import MixtureSettings
from online_models.published import PublishedModels
from online_models.release import STARVED, Publisher, Recent, last_day, measured, miscalibrated
from online_models.settings import Challenger, LearnerSettings, ModelSettings
from schemas.outcomes import Outcome
from schemas.records import Out
from schemas.topics import DAY_MS
from tests.models.traffic import START_MS, outcomes, records, true_probability

SMALL = MixtureSettings(slot_bits=8, pair_bits=8)
SETTINGS = LearnerSettings(
    learns=ModelSettings(mixture=SMALL),
    challengers=(Challenger(name="b", kind="ftrl", mixture=SMALL),),
    window_ms=60_000,
    grace_ms=30_000,
)
STREAM = outcomes(3_000, negative_rate=0.2, window_ms=120_000)


def learner(settings: LearnerSettings = SETTINGS) -> Learner:
    ours = Learner(settings, shard=0)
    ours.lineup.begin({}, 0)
    return ours


def unclicked(ts_ms: int, **changes: object) -> Outcome:
    usual = Outcome("unclicked", "i", 0, weight=20.0, label=0, ts=ts_ms, campaign_id="c", creative_id="k")
    return msgspec.structs.replace(usual, **changes)


def reported(ours: Learner) -> list[Out]:
    """All that is due: a report has one model at most."""
    outs: list[Out] = []
    while further := ours.report(10):
        assert len({(out.key or b"").split(b"/")[0] for out in further}) == 1
        outs += further
    return outs


def versions(written: list[Out]) -> list[tuple[str, int]]:
    models = PublishedModels(kept=None)
    for out in written:
        models.take(out.key, out.value)
    assert models.update() == []
    return [(each.model, each.version) for each in models.versions()]


def held(publisher: Publisher) -> str:
    return publisher.held


def test_every_model_is_published_when_event_time_moved_and_not_when_nothing_was_learned() -> None:
    ours = learner()
    assert reported(ours) == []
    ours.step(records([unclicked(START_MS)] * 100))
    assert versions(reported(ours)) == [("ctr", 200), ("ctr.b", 200)]
    ours.step(records([unclicked(START_MS + 59_999)] * 100, start=100))
    assert reported(ours) == []
    ours.step(records([unclicked(START_MS + 60_000)], start=200))
    assert versions(reported(ours)) == [("ctr", 402), ("ctr.b", 402)]
    assert reported(ours) == []


def test_a_version_is_due_only_once_as_much_was_read_as_the_last_one_is_long() -> None:
    publisher = Publisher()

    def due(event_ms: int) -> bool:
        return publisher.is_due(offset=10, event_ms=event_ms, publish_ms=60_000, ended=False)

    assert due(60_000)
    publisher.tried(offset=5, event_ms=60_000)
    publisher.sent("a", learned=1, length=1_000)
    publisher.read(999)
    assert not due(120_000)
    publisher.read(1)
    assert due(120_000)
    assert not due(119_999)


def test_published_models_predict_what_the_learner_does() -> None:
    ours = learner()
    ours.step(records(STREAM))
    models = PublishedModels()
    for out in reported(ours):
        models.take(out.key, out.value)
    assert models.update() == []
    for entrant in ours.lineup.entrants:
        served = models.current[entrant.name, 0]
        rows = entrant.model.rows(STREAM[:50])
        assert np.array_equal(served.predict(served.rows(STREAM[:50])), entrant.model.predict(rows))
        assert served.manifest.settings == SMALL.as_data()
        assert served.manifest.next_offset == len(STREAM)


def test_at_the_end_a_version_with_all_clicks_is_published_once() -> None:
    ours = learner()
    waiting = unclicked(START_MS + 5, kind="click", label=1, weight=1.0)
    ours.step(records([unclicked(START_MS), waiting]))
    assert versions(reported(ours)) == [("ctr", 4), ("ctr.b", 4)]
    ours.finish()
    while ours.can_sweep():
        assert reported(ours) == []
        ours.sweep(100)
    assert versions(reported(ours)) == [("ctr", 5), ("ctr.b", 5)]
    assert reported(ours) == []


def test_at_the_end_nothing_is_published_that_is_published_already() -> None:
    ours = learner()
    ours.step(records([unclicked(START_MS)] * 9))
    assert versions(reported(ours)) == [("ctr", 18), ("ctr.b", 18)]
    ours.finish()
    while ours.can_sweep():
        ours.sweep(100)
    assert reported(ours) == []
    assert ours.offers.held(ours.lineup.entrants) == {"ctr": "", "ctr.b": ""}


def test_what_is_committed_is_not_published_again_at_a_start() -> None:
    ours = learner()
    ours.step(records(STREAM))
    again = learner()
    again.restore(ours.snapshot())
    again.offers.resumed(len(STREAM))
    assert reported(again) == []
    again.step(records([unclicked((STREAM[-1].ts or 0) + 1)], start=len(STREAM)))
    assert versions(reported(again)) == [("ctr", 2 * len(STREAM) + 2), ("ctr.b", 2 * len(STREAM) + 2)]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_model_that_is_not_finite_is_held_back_and_its_challenger_is_not(wrong: float) -> None:
    ours = learner()
    ours.step(records(STREAM))
    ours.lineup.main._state()[0][3, 3] = wrong
    assert versions(reported(ours)) == [("ctr.b", 2 * len(STREAM))]
    assert ours.offers.held(ours.lineup.entrants) == {"ctr": "not_finite", "ctr.b": ""}


def test_a_model_whose_state_does_not_move_although_rows_are_learned_is_frozen() -> None:
    publisher = Publisher()
    assert publisher.judge("a", learned=1, fault="", recent=[])
    publisher.sent("a", learned=1, length=1)
    assert not publisher.judge("a", learned=1, fault="", recent=[])
    assert held(publisher) == "", "nothing was learned since"
    assert not publisher.judge("a", learned=2, fault="", recent=[])
    assert held(publisher) == "frozen"
    assert publisher.judge("b", learned=3, fault="", recent=[])
    assert held(publisher) == ""


def test_a_model_that_learns_nothing_of_many_records_is_frozen_until_it_learns() -> None:
    publisher = Publisher()
    publisher.starve(consumed=100, learned=1)
    publisher.starve(consumed=99 + STARVED, learned=1)
    assert held(publisher) == ""
    publisher.starve(consumed=100 + STARVED, learned=1)
    assert held(publisher) == "frozen"
    publisher.starve(consumed=101 + STARVED, learned=2)
    assert publisher.judge("a", learned=1, fault="", recent=[])


def window(at_ms: int, *, clicks: float, predicted: float) -> Recent:
    return Recent(at_ms, 1_000.0, clicks, predicted, 50.0)


@pytest.mark.parametrize(
    ("clicks", "predicted", "stays"),
    [
        (100.0, 200.0, False),
        (100.0, 200.1, True),
        (100.0, 50.0, False),
        (100.0, 49.9, True),
        (0.0, 29.9, False),
        (0.0, 30.0, True),
    ],
)
def test_calibration_of_a_day_holds_a_model_back_just_beyond_its_bounds(
    clicks: float, predicted: float, stays: bool
) -> None:
    assert miscalibrated([window(0, clicks=clicks, predicted=predicted)]) is stays
    assert miscalibrated([window(0, clicks=clicks / 2, predicted=predicted / 2)] * 2) is stays
    publisher = Publisher()
    assert (
        publisher.judge("a", learned=1, fault="", recent=[window(0, clicks=clicks, predicted=predicted)]) is not stays
    )
    assert held(publisher) == ("calibration" if stays else "")


def test_only_the_last_day_counts() -> None:
    found: list[Recent] = []
    for hour in range(30):
        found = last_day(found, window(hour * DAY_MS // 24, clicks=1.0, predicted=1.0))
    assert [each.start_ms * 24 // DAY_MS for each in found] == list(range(6, 30))
    assert last_day(found, window(0, clicks=1.0, predicted=1.0)) == found
    assert measured(found)["clicks"] == 24.0
    assert measured([]) == {"weight": 0, "clicks": 0, "log_loss": None, "ne": None, "calibration": None}


def test_a_model_that_predicts_far_too_many_clicks_stays_unpublished() -> None:
    ours = learner()
    ours.step(records([each for each in STREAM if true_probability(each) < 2.0]))
    assert versions(reported(ours)) == [("ctr", 2 * len(STREAM)), ("ctr.b", 2 * len(STREAM))]
    # From now on nobody clicks, and the windows of a day say so.
    ours.measuring.recent[0] = [window(START_MS, clicks=10.0, predicted=500.0)]
    later = [unclicked((STREAM[-1].ts or 0) + 60_000 + number) for number in range(3_000)]
    ours.step(records(later, start=len(STREAM)))
    assert versions(reported(ours)) == [("ctr.b", 2 * len(STREAM) + 6_000)]
    assert ours.offers.held(ours.lineup.entrants)["ctr"] == "calibration"

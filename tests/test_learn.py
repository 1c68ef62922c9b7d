"""The learner as a worker's fold."""

from __future__ import annotations

import msgspec
import pytest

from online_models.mixture.settings import MixtureSettings
from online_models.settings import Challenger, LearnerSettings, ModelSettings
from schemas.codec import decode, encode
from schemas.errors import BrokenInvariant, StateMismatch
from streams.learn.fold import LearnFold, LearnMark
from tests.models.traffic import outcomes, records

SMALL = MixtureSettings(slot_bits=8, pair_bits=8)
SETTINGS = LearnerSettings(learns=ModelSettings(mixture=SMALL), window_ms=60_000, grace_ms=30_000)
STREAM = records(outcomes(3_000, negative_rate=0.2, window_ms=120_000))


def fold(settings: LearnerSettings | None = None) -> LearnFold:
    return LearnFold(settings or SETTINGS, shard=0)


def begun(settings: LearnerSettings = SETTINGS) -> LearnFold:
    found = fold(settings)
    found.begin(None, offsets={"outcomes": 0}, epoch=1)
    return found


def with_challengers(*names: str, kind: str = "ftrl") -> LearnerSettings:
    challengers = tuple(Challenger(name=name, kind=kind, mixture=SMALL) for name in names)
    return msgspec.structs.replace(SETTINGS, challengers=challengers)


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
        fold(LearnerSettings(learns=ModelSettings(kind="ftrl"))).rebuild(fold().mark())


def test_worker_killed_while_it_replays_goes_on_from_what_was_committed() -> None:
    first = begun()
    first.step(STREAM.slice(0, 100))
    kept = first.snapshot()
    first.step(STREAM.slice(100, 300))
    committed = first.mark()
    # The next owner restores the checkpoint, takes ownership, and is killed before it has replayed anything.
    second = fold()
    second.restore(kept)
    second.begin(committed, offsets=second.positions(), epoch=2)
    assert decode(second.mark(), LearnMark) == decode(committed, LearnMark)
    third = fold()
    third.restore(kept)
    third.begin(second.mark(), offsets=third.positions(), epoch=3)
    third.step(STREAM.slice(100, 300))
    third.resume(second.mark())
    assert third.mark() == committed


def test_replay_that_comes_to_another_trail_stops_the_worker() -> None:
    first = begun()
    first.step(STREAM.slice(0, 300))
    second = begun()
    second.step(STREAM.slice(0, 299))
    with pytest.raises(BrokenInvariant, match="came to trail"):
        second.resume(first.mark())


def test_group_of_a_version_before_is_named_with_its_remedy() -> None:
    for former in SETTINGS.former_digests():
        mark = encode(LearnMark(former, 5, "0" * 16, 0))
        with pytest.raises(StateMismatch, match=r"learned by the version before; .*run `clickfold upgrade`"):
            fold().rebuild(mark)


def test_challengers_change_nothing_of_the_main_model() -> None:
    alone, among = begun(), begun(with_challengers("a", "b", kind="mixture"))
    for each in (alone, among):
        each.step(STREAM)
    assert among.trail == alone.trail
    assert among.lineup.main.digest() == alone.lineup.main.digest()
    # Challengers with the settings of the main model learn the same.
    assert {each.model.digest() for each in among.lineup.entrants} == {alone.lineup.main.digest()}


@pytest.mark.parametrize("batch", [1, 137, 1_000])
def test_challenger_that_is_added_begins_where_it_was_added_whatever_happens_later(batch: int) -> None:
    before = begun(with_challengers("a"))
    before.step(STREAM.slice(0, 250))
    kept, mark = before.snapshot(), before.mark()

    def added(*, until: int) -> LearnFold:
        found = fold(with_challengers("a", "b"))
        found.restore(kept)
        found.begin(mark, offsets=found.positions(), epoch=2)
        found.resume(mark)
        for start in range(250, until, batch):
            found.step(STREAM.slice(start, min(until, start + batch)))
        return found

    whole = added(until=len(STREAM))
    digests = [each.model.digest() for each in whole.lineup.entrants]
    assert len(set(digests)) == 3
    # Without a checkpoint: all is learned again from the first outcome, and b from where it began.
    again = fold(with_challengers("a", "b"))
    committed = added(until=400).mark()
    again.rebuild(committed)
    again.begin(committed, offsets={"outcomes": 0}, epoch=3)
    again.step(STREAM.slice(0, 400))
    again.resume(committed)
    again.step(STREAM.slice(400, len(STREAM)))
    assert [each.model.digest() for each in again.lineup.entrants] == digests
    assert again.snapshot() == whole.snapshot()
    # One that is taken out and comes back with other settings begins anew.
    last = fold(with_challengers("a"))
    last.restore(whole.snapshot())
    assert [each.name for each in last.lineup.entrants] == ["ctr", "ctr.a"]
    assert last.lineup.entrants[1].model.digest() == digests[1]


def test_mark_of_the_most_challengers_fits_a_commit() -> None:
    names = [f"{number:032}" for number in range(40)]
    found = fold(with_challengers(*names))
    found.begin(None, offsets={"outcomes": 10**12}, epoch=1)
    assert len(found.mark()) < 4_000

"""Late records name the record that made them late, and many of them are said once."""

from __future__ import annotations

from schemas.codec import decode
from schemas.rejects import Rejected
from streams.join.fold import JoinFold
from streams.worker.late import LateWatch
from tests.factories import impression, numbered
from tests.simulation.disk import SimulatedDisk
from tests.strategies import BOUNDS, T0, columns


def test_the_dead_letter_of_a_late_record_names_the_record_that_made_it_late() -> None:
    fold = JoinFold(BOUNDS, SimulatedDisk(), shown=False)
    log = numbered([impression("a", T0), impression("b", T0 + 500), impression("c", T0 + 499), impression("d", T0)])
    letters = [decode(out.value or b"", Rejected) for out in fold.step(columns("impressions", log))]
    assert [letter.offset for letter in letters] == [3]
    assert f"the record at offset 1, with ts {T0 + 500}, is 500 ms ahead of it" in letters[0].detail
    later = impression("e", T0, offset=4)
    (out,) = fold.step(columns("impressions", [later]))
    assert "the record at offset 1" in decode(out.value or b"", Rejected).detail
    fold.close()


def test_a_record_directly_behind_the_one_that_made_it_late_names_it() -> None:
    for log, ahead in ([("a", 0), ("b", 500), ("c", 0)], 1), ([("b", 500), ("c", 0)], 0):
        fold = JoinFold(BOUNDS, SimulatedDisk(), shown=False)
        shown = numbered([impression(name, T0 + step_ms) for name, step_ms in log])
        (out,) = fold.step(columns("impressions", shown))
        detail = decode(out.value or b"", Rejected).detail
        assert f"the record at offset {ahead}, with ts {T0 + 500}, is 500 ms ahead of it" in detail
        fold.close()


def test_many_late_records_are_said_once_with_their_cause() -> None:
    said: list[str] = []
    watch, fold = LateWatch(said.append), JoinFold(BOUNDS, SimulatedDisk())
    log = numbered([impression("lead", T0 + 900_000), *(impression(f"i{n}", T0) for n in range(90))])
    fold.step(columns("impressions", log[:60]))
    watch.look({3: fold})
    fold.step(columns("impressions", log[60:]))
    watch.look({3: fold})
    watch.look({3: fold})
    (text,) = said
    assert text.startswith("59 of 60 records of impressions[3] are late: the record at offset 0 has ts ")
    fold.close()


def test_a_few_late_records_are_not_worth_a_line() -> None:
    said: list[str] = []
    watch, fold = LateWatch(said.append), JoinFold(BOUNDS, SimulatedDisk())
    good = [impression(f"i{n}", T0 + 100 + n % 7) for n in range(960)]
    fold.step(columns("impressions", numbered([*good, *(impression(f"l{n}", T0 - 900) for n in range(25))])))
    watch.look({0: fold})
    assert said == []
    fold.close()

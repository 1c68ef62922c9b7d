"""How far the join has counted: a join that is behind is told from one that has nothing to do."""

from __future__ import annotations

from streams.pacing.join_progress import Marks

IMPRESSIONS, CLICKS = ("impressions", 0), ("clicks", 0)


def test_without_traffic_time_goes_on_whether_or_not_the_join_runs() -> None:
    marks = Marks()
    marks.counted(IMPRESSIONS, 10)
    for at_ms in (1_000, 2_000, 3_000):
        marks.ends(at_ms, {IMPRESSIONS: 10, CLICKS: 0})
        assert marks.passed_ms() == at_ms


def test_a_join_that_stopped_is_at_the_last_moment_whose_records_it_counted() -> None:
    marks = Marks()
    marks.counted(IMPRESSIONS, 10)
    for at_ms, end in ((1_000, 10), (2_000, 11), (3_000, 12)):
        marks.ends(at_ms, {IMPRESSIONS: end, CLICKS: 0})
    assert marks.passed_ms() == 1_000
    assert marks.passed_ms() is None
    marks.counted(IMPRESSIONS, 11)
    assert marks.passed_ms() == 2_000
    marks.counted(IMPRESSIONS, 50)
    assert marks.passed_ms() == 3_000


def test_all_inputs_and_partitions_must_be_counted() -> None:
    marks = Marks()
    marks.ends(1_000, {IMPRESSIONS: 5, ("impressions", 1): 5, CLICKS: 2})
    for place, end in ((IMPRESSIONS, 5), (("impressions", 1), 5)):
        marks.counted(place, end)
        assert marks.passed_ms() is None
    marks.counted(CLICKS, 2)
    assert marks.passed_ms() == 1_000


def test_what_a_mark_waits_for_is_named_once_it_is_old() -> None:
    marks = Marks()
    marks.counted(CLICKS, 4)
    marks.ends(1_000, {IMPRESSIONS: 0, CLICKS: 5})
    assert marks.waiting(before_ms=1_000) == {}
    assert marks.waiting(before_ms=1_001) == {CLICKS: (4, 5)}
    # Between them is only the marker of a transaction.
    marks.counted(CLICKS, 5)
    assert marks.passed_ms() == 1_000


def test_hours_of_waiting_take_bounded_memory_and_lose_no_end() -> None:
    marks = Marks()
    for second in range(10_000):
        marks.ends(second, {IMPRESSIONS: second, CLICKS: 0})
    assert len(marks._marks) <= 3_601
    marks.counted(IMPRESSIONS, 9_999)
    assert marks.passed_ms() == 9_999

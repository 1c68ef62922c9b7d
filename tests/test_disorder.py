"""How far event time is behind: within a source, and across sources in the order of arrival."""

from __future__ import annotations

from streams.inputs.disorder import Disorder


def disorder(*records: tuple[str, int, int]) -> tuple[int, int, int]:
    """Sources, within and across of records, each with its source, arrival and event time."""
    found = Disorder()
    for record in records:
        found.add(*record)
    return found.sources, found.within_ms(), found.across_ms()


def test_a_source_that_delivers_later_is_behind_across_and_not_within() -> None:
    assert disorder(("a", 10, 100), ("a", 20, 200), ("b", 30, 110), ("b", 40, 210)) == (2, 0, 90)


def test_what_is_out_of_order_within_a_source_counts_across_too() -> None:
    assert disorder(("a", 10, 100), ("a", 10, 60), ("b", 20, 120)) == (2, 40, 40)


def test_sources_that_arrive_in_the_same_millisecond_are_in_order() -> None:
    assert disorder(("a", 10, 100), ("a", 10, 200), ("b", 10, 150)) == (2, 0, 0)


def test_files_are_taken_in_the_order_in_which_they_are_read() -> None:
    assert disorder(("a", -1, 100), ("a", -1, 200), ("b", -1, 120)) == (2, 0, 80)


def test_nothing_is_behind_where_nothing_is_read() -> None:
    assert disorder() == (0, 0, 0)

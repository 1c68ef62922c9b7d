"""A wait ends with the state waited for, or says what it saw in its place."""

import pytest

from tests.waiting import eventually


def test_what_is_waited_for_is_returned_when_it_comes() -> None:
    numbers = iter(range(10))
    assert eventually(lambda: next(numbers), lambda number: number > 2) == 3
    assert eventually(lambda: next(numbers), equals=6) == 6
    assert eventually(lambda: next(numbers)) == 7


def test_a_state_that_does_not_come_is_told_with_what_was_seen_last() -> None:
    numbers = iter(range(10))
    with pytest.raises(AssertionError, match=r"^it did not come within 0 s; seen last: 0$"):
        eventually(lambda: next(numbers), within_s=0.0)
    with pytest.raises(AssertionError, match=r"^the end did not .* seen last: 1, wanted: 0; a log$"):
        eventually(lambda: next(numbers), equals=0, what="the end", about=lambda: "a log", within_s=0.0)


def test_what_looking_raises_is_not_waited_out() -> None:
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 / 0)

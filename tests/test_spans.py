"""Spans of minutes against sets of minutes."""

from hypothesis import given
from hypothesis import strategies as st

from streams.runs.minutes import DAY_MS, Span, common, days_of, minutes_in, spans_text, united, without
from streams.runs.record import MINUTE_MS

_edges = st.integers(0, 12)
some_spans = st.lists(st.builds(lambda a, b: Span(a * MINUTE_MS, b * MINUTE_MS), _edges, _edges), max_size=5)


def minutes_of(spans: list[Span]) -> set[int]:
    return {at_ms for span in spans for at_ms in range(span.from_ms, span.to_ms, MINUTE_MS)}


def in_order_and_apart(spans: list[Span]) -> bool:
    edges = [edge for span in spans for edge in span]
    return edges == sorted(set(edges))


@given(some_spans, some_spans)
def test_spans_are_sets_of_minutes(some: list[Span], others: list[Span]) -> None:
    for found, expected in (
        (united(some), minutes_of(some)),
        (common(some, others), minutes_of(some) & minutes_of(others)),
        (without(some, others), minutes_of(some) - minutes_of(others)),
    ):
        assert (minutes_of(found), minutes_in(found)) == (expected, len(expected))
    assert in_order_and_apart(united(some))
    assert in_order_and_apart(without(some, others))


def test_days_are_those_wholly_inside() -> None:
    day = Span(3 * DAY_MS, 4 * DAY_MS)
    later = Span(4 * DAY_MS, 5 * DAY_MS)
    assert days_of([day]) == [day]
    assert days_of([Span(day.from_ms - MINUTE_MS, later.to_ms + MINUTE_MS)]) == [day, later]
    assert days_of([Span(day.from_ms, day.to_ms - MINUTE_MS)]) == []
    assert days_of([Span(day.from_ms + MINUTE_MS, later.to_ms)]) == [later]
    # A day in two spans that touch is whole.
    assert days_of(
        [Span(day.from_ms, day.from_ms + 60 * MINUTE_MS), Span(day.from_ms + 60 * MINUTE_MS, day.to_ms)]
    ) == [day]


def test_many_spans_are_named_by_the_first() -> None:
    spans = [Span(at * DAY_MS, at * DAY_MS + MINUTE_MS) for at in range(5)]
    assert spans_text(spans[:1]) == "1970-01-01 00:00 to 1970-01-01 00:01"
    assert spans_text(spans).endswith("1970-01-03 00:00 to 1970-01-03 00:01 and 2 more")

"""Batches keep the order of each log, lose and double nothing, and know where a partition is done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sink.batches import Batches, LogPartition, RecordColumns

TOPICS = ("totals", "outcomes")
places = st.tuples(st.sampled_from(TOPICS), st.integers(0, 2))


def piece(first: int, count: int) -> RecordColumns:
    """Records at consecutive offsets, each holding its own offset."""
    offsets = list(range(first, first + count))
    return RecordColumns(offsets, [-1] * count, [b"%d" % offset for offset in offsets])


@given(st.lists(st.tuples(places, st.integers(1, 9), st.booleans())), st.integers(1, 7), st.integers(1, 9))
def test_every_record_is_taken_once_in_the_order_of_its_log(
    steps: list[tuple[LogPartition, int, bool]], full_rows: int, full_bytes: int
) -> None:
    batches = Batches(full_rows=full_rows, full_bytes=full_bytes, oldest_s=1.0)
    added: dict[LogPartition, int] = {}
    taken: dict[LogPartition, int] = {}

    def take(topic: str) -> None:
        batch = batches.take(topic, now_s=0.0)
        assert 1 <= len(batch) <= full_rows
        assert batch.size_bytes == sum(len(value or b"") for value in batch.values())
        assert batch.size_bytes <= full_bytes or len(batch) == 1
        for index, value in enumerate(batch.values()):
            partition, offset, _, same_value = batch.record(index)
            assert value == same_value == b"%d" % offset
            assert offset == taken.get((topic, partition), 0)
            taken[topic, partition] = offset + 1
        assert all(taken[place] == next_offset for place, next_offset in batch.next_offsets())

    for place, count, then_take in steps:
        batches.add(place, piece(added.get(place, 0), count), now_s=0.0)
        added[place] = added.get(place, 0) + count
        topic = batches.due(0.0)
        if then_take and topic is not None:
            take(topic)
        assert batches.rows == sum(added.values()) - sum(taken.values())
        assert (batches.size_bytes > 0) == (batches.rows > 0)
    while batches.topics():
        take(batches.topics()[0])
    assert taken == added


# Each record is one byte.
@pytest.mark.parametrize(
    ("rows", "full_bytes", "age_s", "due"),
    [(4, 5, 0.9, None), (5, 9, 0.0, "totals"), (4, 4, 0.0, "totals"), (4, 5, 1.0, "totals")],
)
def test_a_topic_is_due_when_full_or_old(rows: int, full_bytes: int, age_s: float, due: str | None) -> None:
    batches = Batches(full_rows=5, full_bytes=full_bytes, oldest_s=1.0)
    batches.add(("totals", 0), piece(0, rows), now_s=100.0)
    assert batches.due(100.0 + age_s) == due


def test_a_busy_topic_does_not_starve_a_slow_one() -> None:
    batches = Batches(full_rows=5, full_bytes=1_000, oldest_s=1.0)
    batches.add(("outcomes", 0), piece(0, 1), now_s=0.0)
    batches.add(("totals", 0), piece(0, 100), now_s=0.1)
    assert batches.due(0.5) == "totals"
    assert batches.due(1.0) == "outcomes"


def test_a_forgotten_partition_leaves_the_others() -> None:
    batches = Batches(full_rows=5, full_bytes=1_000, oldest_s=1.0)
    batches.add(("totals", 0), piece(0, 3), now_s=0.0)
    batches.add(("totals", 1), piece(7, 1), now_s=0.0)
    batches.forget(("totals", 0))
    batch = batches.take("totals", now_s=0.0)
    assert list(batch.next_offsets()) == [(("totals", 1), 8)]
    assert batch.touches(("totals", 1))
    assert not batch.touches(("totals", 0))


def test_forgetting_all_leaves_nothing_due() -> None:
    batches = Batches(full_rows=1, full_bytes=1_000, oldest_s=0.0)
    batches.add(("totals", 0), piece(0, 3), now_s=0.0)
    batches.forget(("totals", 0))
    batches.forget(("totals", 5))
    assert (batches.due(9.0), batches.topics(), batches.rows) == (None, [], 0)


def test_a_byte_of_packed_records_counts_as_the_memory_it_becomes() -> None:
    packed = RecordColumns([0, 1, 2], [-1] * 3, [b"12345"] * 3, weight=3)
    assert packed.size_bytes == 45
    assert packed.fitting(rows=10, size_bytes=44) == 2
    batches = Batches(full_rows=100, full_bytes=30, oldest_s=9.0)
    batches.add(("totals", 0), packed, now_s=0.0)
    assert batches.due(0.0) == "totals"
    assert batches.take("totals", now_s=0.0).size_bytes == 30
    assert batches.size_bytes == 15

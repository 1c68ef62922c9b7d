"""What is fetched ahead is read in order, once, within its bounds, whatever is paused and dropped meanwhile."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaError, TopicPartition

from schemas.errors import Transient
from streams.kafka import read_ahead
from streams.kafka.buffers import Buffers
from streams.kafka.read_ahead import Place, ReadAhead, Ready
from streams.kafka.record_sets import Columns, Unpacker, batches_of
from tests.batches import Rec, batch
from tests.waiting import PATIENCE_S

A, B = TopicPartition("a", 0, 10), TopicPartition("b", 1, 20)


def columns(first: int, count: int) -> Columns:
    """Records from an offset on, each with 100 bytes."""
    data = memoryview(batch(first, [Rec(number, 0, None, bytes(100)) for number in range(count)]))
    found, _ = batches_of(data, wanted=0, aborted=(), where="a[0]")
    (made,) = Unpacker(Buffers(1 << 20, 1)).columns(data, found, wanted=0, where="a[0]")
    return made


def opened(*places: TopicPartition) -> tuple[ReadAhead, list[Place]]:
    ahead = ReadAhead()
    ahead.place(places)
    ahead.set_paused(places, paused=False)
    found = [ahead.find(each.topic, each.partition) for each in places]
    return ahead, [each for each in found if each is not None]


def offsets(taken: list[Ready]) -> list[list[int]]:
    return [[] if each.columns is None else list(each.columns.offsets) for each in taken]


def test_records_come_in_order_up_to_the_limit_and_each_once() -> None:
    ahead, (a, b) = opened(A, B)
    for ready in (Ready(a, columns(10, 3)), Ready(b, columns(20, 2)), Ready(a, columns(13, 1))):
        ahead.put(ready)
    assert offsets(ahead.take(2, 0.0)) == [[10, 11]]
    # The next piece is not cut for the one record that would be left.
    assert offsets(ahead.take(2, 0.0)) == [[12]]
    assert offsets(ahead.take(3, 0.0)) == [[20, 21], [13]]
    assert ahead.take(9, 0.0) == []
    assert (a.ahead_bytes, b.ahead_bytes) == (0, 0)


def test_the_end_of_a_log_and_an_error_keep_their_place_among_records() -> None:
    ahead, (a, _) = opened(A, B)
    end = Ready(a, offset=13, error=KafkaError(KafkaError._PARTITION_EOF))
    ahead.put(Ready(a, columns(10, 3)))
    ahead.put(end)
    ahead.put(Ready(a, columns(13, 1)))
    # It does not overtake records that the limit leaves.
    assert offsets(ahead.take(2, 0.0)) == [[10, 11]]
    taken = ahead.take(9, 0.0)
    assert offsets(taken) == [[12], [], [13]]
    assert (taken[1].offset, taken[1].error) == (13, end.error)


def test_what_is_ready_of_a_paused_partition_waits_and_lets_others_pass() -> None:
    ahead, (a, b) = opened(A, B)
    ahead.put(Ready(a, columns(10, 2)))
    ahead.put(Ready(b, columns(20, 2)))
    ahead.set_paused([A], paused=True)
    assert [place.topic for place in ahead.open_places()] == ["b"]
    assert offsets(ahead.take(9, 0.0)) == [[20, 21]]
    assert ahead.take(9, 0.0) == []
    ahead.set_paused([A, TopicPartition("none", 0)], paused=False)
    assert offsets(ahead.take(9, 0.0)) == [[10, 11]]


def test_nothing_comes_of_a_dropped_place_even_if_it_is_placed_again() -> None:
    ahead, (a, _) = opened(A, B)
    ahead.put(Ready(a, columns(10, 2)))
    ahead.drop([A])
    assert ahead.find("a", 0) is None
    ahead.put(Ready(a, columns(12, 2)))
    ahead.place([A])
    ahead.set_paused([A], paused=False)
    ahead.put(Ready(a, columns(14, 2)))
    assert ahead.take(9, 0.0) == []
    again = ahead.find("a", 0)
    assert again is not None
    ahead.put(Ready(again, columns(10, 1)))
    # Placed once more without a drop between them: the same.
    ahead.place([A])
    ahead.set_paused([A], paused=False)
    assert ahead.take(9, 0.0) == []


def test_a_set_of_which_compaction_left_no_record_is_not_handed_over() -> None:
    ahead, (a,) = opened(A)
    ahead.put(Ready(a, columns(10, 2).split(2)[1]))
    assert (ahead.take(9, 0.0), a.ahead_bytes) == ([], 0)


def test_a_partition_has_room_up_to_its_share_and_always_for_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead, (a, b) = opened(A, B)
    made = columns(10, 2)
    monkeypatch.setattr(read_ahead, "_AHEAD_BYTES", 2 * made.size + 2)
    ahead.put(Ready(a, made))
    assert ahead.has_room(a)
    monkeypatch.setattr(read_ahead, "_AHEAD_BYTES", 2 * made.size)
    assert not ahead.has_room(a)
    monkeypatch.setattr(read_ahead, "_AHEAD_BYTES", 0)
    assert ahead.has_room(b)
    # The buffer is held until the last of its records is read.
    ahead.take(1, 0.0)
    assert not ahead.has_room(a)
    ahead.take(1, 0.0)
    assert ahead.has_room(a)


def test_those_that_wait_longest_are_served_first_and_a_failed_one_not_at_all() -> None:
    ahead, (a, b) = opened(A, B)
    a.served = 2
    assert ahead.open_places() == [b, a]
    b.failed = True
    assert ahead.open_places() == [a]


def test_a_reader_that_waits_is_woken_by_records_and_by_a_failure() -> None:
    ahead, (a,) = opened(A)
    found: list[list[Ready]] = []
    reading = threading.Thread(target=lambda: found.append(ahead.take(9, PATIENCE_S)))
    reading.start()
    ahead.put(Ready(a, columns(10, 1)))
    reading.join(PATIENCE_S / 2)
    assert offsets(found[0]) == [[10]]
    failing = threading.Timer(0.0, ahead.fail, (Transient("gone"),))
    failing.start()
    with pytest.raises(Transient, match="gone"):
        ahead.take(9, PATIENCE_S)
    ahead.put(Ready(a, columns(11, 1)))
    with pytest.raises(Transient, match="gone"):
        ahead.take(9, 0.0)

"""The store of open impressions keeps what a later record may need, and not much more, at any rate of arrival."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

import streams.join.store
from schemas.errors import DamagedState
from streams.join.impressions import stored_impressions
from streams.join.index import SMALLEST_ROWS
from streams.join.store import ROW_BITS, Store
from streams.kernels.slices import Slices
from tests.factories import T0, impression_json
from tests.simulation.disk import SimulatedDisk

# Rows are needed for so long; one arrives each second.
SPAN_S = 300


def none_sampled(hashes: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.zeros(len(hashes), np.bool_)


def arrivals(store: Store, *, from_s: int, to_s: int) -> Iterator[int]:
    """One impression a second, and after each what is no longer needed is dropped."""
    for at_s in range(from_s, to_s):
        one = np.array([at_s * 1_000])
        store.append(one, one.astype(np.uint64), Slices.of([b"payload"]))
        store.drop_below((at_s - SPAN_S) * 1_000)
        yield at_s


def test_slow_join_keeps_at_most_seven_thirds_of_the_span_it_needs() -> None:
    disk = SimulatedDisk()
    store = Store(disk, none_sampled)
    most = 0
    for at_s in arrivals(store, from_s=0, to_s=10 * SPAN_S):
        most = max(most, len(store))
        if at_s % 10 == 0:
            store.snapshot()
            store.snapshot_kept()
            # Two files a segment; those of the last one dropped wait for the next snapshot.
            assert len(disk.names()) <= 2 * 3
    assert 2 * SPAN_S < most <= 7 / 3 * SPAN_S + 2


def test_rows_still_needed_are_found_and_a_finished_segment_has_memory_for_its_rows_only() -> None:
    store = Store(SimulatedDisk(), none_sampled)
    for at_s in arrivals(store, from_s=0, to_s=2 * SPAN_S):
        needed = np.arange(max(0, at_s - SPAN_S), at_s + 1, dtype=np.uint64) * np.uint64(1_000)
        found, _ = store.find(needed)
        assert len(found) == len(needed)
    # One finished segment of 4/3 of the span, one that takes rows, and the smallest table of the index.
    assert store.nbytes < (1 << ROW_BITS) * 22 + 100 * SPAN_S + SMALLEST_ROWS * 16


@pytest.mark.parametrize("restarts_at_s", [SPAN_S, 2 * SPAN_S])
def test_restored_store_drops_as_the_one_before_it_would(restarts_at_s: int) -> None:
    disk = SimulatedDisk()
    store = Store(disk, none_sampled)
    for _ in arrivals(store, from_s=0, to_s=restarts_at_s):
        pass
    states = store.snapshot()
    restored = Store(disk, none_sampled)
    restored.restore(states)
    assert len(restored) == len(store)
    most = max(len(restored) for _ in arrivals(restored, from_s=restarts_at_s, to_s=6 * SPAN_S))
    assert most <= 7 / 3 * SPAN_S + 2


def test_one_old_row_does_not_finish_a_segment() -> None:
    """Otherwise records at the edge of the lateness would make a segment, two files, of each sweep."""
    disk = SimulatedDisk()
    store = Store(disk, none_sampled)
    rows = np.array([0, *range(5_000, 15_000, 1_000)])
    store.append(rows, rows.astype(np.uint64), Slices.of([b"payload"] * len(rows)))
    store.drop_below(1_000)
    store.append(np.array([16_000]), np.array([16_000], np.uint64), Slices.of([b"payload"]))
    store.snapshot()
    assert len(disk.names()) == 2


class CountingDisk(SimulatedDisk):
    """Counts its reads and their bytes."""

    reads = read_bytes = 0

    def read(self, name: str, start: int, length: int) -> bytes:
        self.reads += 1
        self.read_bytes += length
        return super().read(name, start, length)


def test_payloads_are_read_in_long_pieces_and_only_from_the_first_to_the_last() -> None:
    disk = CountingDisk()
    store = Store(disk, none_sampled)
    rows = np.arange(1_000)
    positions = store.append(rows, rows.astype(np.uint64), Slices.of([b"payload"] * len(rows)))
    assert sum(map(len, store.payloads(positions[100:200:3]))) == 34
    assert (disk.reads, disk.read_bytes) == (1, 100 * len(b"payload"))


def test_files_that_a_snapshot_does_not_name_are_deleted_when_it_is_restored() -> None:
    disk = SimulatedDisk()
    store = Store(disk, none_sampled)
    one = np.array([5])
    store.append(one, one.astype(np.uint64), Slices.of([b"payload"]))
    states = store.snapshot()
    disk.append("seg-0000000009.rows", b"of a later snapshot")
    Store(disk, none_sampled).restore(states)
    assert disk.names() == ["seg-0000000000.payload", "seg-0000000000.rows"]


def test_payloads_that_are_read_together_are_those_of_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.join.store, "_READ_BYTES", 100)
    store = Store(SimulatedDisk(), none_sampled)
    payloads = [b"%d" % number * (number % 50 + 1) for number in range(500)]
    rows = np.arange(len(payloads))
    positions = store.append(rows, rows.astype(np.uint64), Slices.of(payloads))
    for step in (1, 7, 300):
        assert [payload for piece in store.payloads(positions[::step]) for payload in piece] == payloads[::step]
    assert [store.payload(position) for position in positions.tolist()] == payloads


class KeepingDisk(SimulatedDisk):
    """Holds what it is given, as a disk does whose thread has not written it yet."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[bytes | memoryview] = []

    def append(self, name: str, data: bytes | memoryview) -> None:
        self.given.append(data)
        super().append(name, data)


@pytest.mark.parametrize("chosen", [[0, 1, 2], [0, 2], [2, 0]])
def test_payloads_are_on_disk_in_the_order_of_their_rows_whether_copied_or_not(chosen: list[int]) -> None:
    store = Store(SimulatedDisk(), none_sampled)
    payloads = Slices.of([b"one", b"second", b"3"])
    places = np.array(chosen)
    positions = store.append(places, places.astype(np.uint64), payloads.at(places))
    assert [store.payload(int(position)) for position in positions] == [payloads[place] for place in chosen]


def test_a_readers_buffer_is_in_use_as_long_as_its_payloads_are_not_written() -> None:
    """The reader uses a buffer again when nothing refers to it."""
    disk, buffer = KeepingDisk(), np.zeros(128, np.uint8)
    before = sys.getrefcount(buffer)
    Store(disk, none_sampled).append(
        np.arange(2), np.arange(2, dtype=np.uint64), Slices(buffer, np.array([[0, 3], [3, 4]]))
    )
    assert sys.getrefcount(buffer) > before
    disk.given.clear()
    assert sys.getrefcount(buffer) == before


def damaged_store() -> tuple[SimulatedDisk, Store, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Three payloads, of which the last does not decode."""
    disk = SimulatedDisk()
    store = Store(disk, none_sampled)
    rows = np.arange(3)
    payloads = Slices.of([impression_json("a", T0), impression_json("b", T0), b"{}"])
    return disk, store, store.append(rows, rows.astype(np.uint64), payloads)


def test_of_payloads_that_are_read_together_one_that_changed_on_disk_is_an_error() -> None:
    disk, store, positions = damaged_store()
    disk.files["seg-0000000000.payload"][20] ^= 1
    with pytest.raises(DamagedState, match=r"row 0 of seg-0000000000\.payload"):
        list(store.payloads(positions))
    assert [len(piece) for piece in store.payloads(positions[1:])] == [2]


def test_of_payloads_that_are_read_together_one_that_was_cut_off_is_an_error() -> None:
    disk, store, positions = damaged_store()
    del disk.files["seg-0000000000.payload"][-1:]
    with pytest.raises(DamagedState, match=r"row 2 of seg-0000000000\.payload"):
        list(store.payloads(positions))


def test_a_stored_impression_that_does_not_decode_is_an_error() -> None:
    _, store, positions = damaged_store()
    (read,) = stored_impressions(store, positions[:2])
    assert [event.impression_id for event in read] == ["a", "b"]
    with pytest.raises(DamagedState, match="a stored impression is damaged"):
        list(stored_impressions(store, positions))

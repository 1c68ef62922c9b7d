"""The index of open impressions beside a dictionary that holds the same."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from unittest.mock import patch

import numpy as np
import pytest

from streams.join import index as index_module
from streams.join.index import Index
from streams.kernels import index as kernels


def added(index: Index, hashes: list[int], positions: list[int], *, base: int = 0) -> None:
    index.add(np.array(hashes, np.uint64), np.array(positions, np.int64), base=base)


def found(index: Index, hashes: list[int], *, base: int = 0) -> set[tuple[int, int]]:
    places, positions = index.find(np.array(hashes, np.uint64), base=base)
    assert len(places) == len(positions)
    return set(zip(places.tolist(), positions.tolist(), strict=True))


def test_tables_that_are_forgotten_whole_leave_an_index_that_can_be_searched() -> None:
    index = Index()
    added(index, [1 << 40, 2 << 40], [0, 1])
    # A gap in event time: everything before is dropped.
    added(index, [3 << 40], [2], base=3)
    assert found(index, [1 << 40, 3 << 40], base=3) == set()
    added(index, [4 << 40], [3], base=3)
    assert found(index, [4 << 40], base=3) == {(0, 3)}
    assert found(Index(), [1]) == set()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_added_and_dropped_every_position_in_use_is_found(seed: int) -> None:
    random = Random(seed)
    # Small tables, few hashes with equal low bits and equal high bits, and gaps between positions.
    hashes = [random.choice([0, 1, 5, 2**63, 2**64 - 1]) ^ random.choice([0, 1 << 26, 1 << 40]) for _ in range(9)]
    expected: dict[int, set[int]] = defaultdict(set)
    index, position, base = Index(), 0, 0
    with patch.object(index_module, "SMALLEST_ROWS", 3), patch.object(index_module, "TABLE_POSITIONS", 40):
        for _ in range(60):
            batch = [random.choice(hashes) for _ in range(random.randrange(12))]
            steps = [random.choice([1, 1, 1, 7]) for _ in batch]
            positions = [position + sum(steps[: number + 1]) for number in range(len(batch))]
            position = max([position, *positions])
            base = random.choice([base, base, max(base, position - 30)])
            added(index, batch, positions, base=base)
            for hash_, each in zip(batch, positions, strict=True):
                expected[hash_].add(each)
            asked = random.sample(hashes, 4)
            hits = found(index, asked, base=base)
            assert hits >= {
                (place, each) for place, hash_ in enumerate(asked) for each in expected[hash_] if each >= base
            }
            # A hash with the same upper bits may be taken for the one that is asked.
            assert all(
                each >= base and any(each in expected[other] for other in hashes if other >> 26 == asked[place] >> 26)
                for place, each in hits
            )


def test_a_table_takes_the_rows_that_it_is_made_for_and_no_more() -> None:
    slot_bytes = np.dtype(np.uint64).itemsize
    with patch.object(index_module, "SMALLEST_ROWS", 6):
        index = Index()
        added(index, [number << 40 for number in range(1, 7)], [*range(6)])
        assert index.nbytes == 8 * slot_bytes
        added(index, [7 << 40], [6])
        assert index.nbytes == 2 * 8 * slot_bytes


def test_memory_follows_what_is_held() -> None:
    index = Index()
    for start in range(0, 400_000, 1_000):
        positions = np.arange(start, start + 1_000)
        index.add(positions.astype(np.uint64) << np.uint64(30), positions, base=max(0, start - 50_000))
    assert index.nbytes < 100 * 50_000


def test_a_position_outside_its_table_and_a_full_table_are_errors() -> None:
    slots, one = np.zeros(4, np.uint64), np.array([1], np.int64)
    with pytest.raises(IndexError, match="not within the table"):
        kernels.insert(slots, 2, np.array([1], np.uint64), one)
    with pytest.raises(IndexError, match="not a power of two"):
        kernels.insert(slots[:3], 0, np.array([1], np.uint64), one)
    with pytest.raises(IndexError, match="full"):
        kernels.insert(slots, 0, np.arange(5).astype(np.uint64), np.arange(5))

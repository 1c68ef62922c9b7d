"""The index of open impressions, in the corners the join seldom comes to."""

from __future__ import annotations

import numpy as np

from streams.join.index import Index, Positions


def test_runs_that_are_forgotten_whole_leave_an_index_that_can_be_searched() -> None:
    def added(*hashes: int, at: int, base: int) -> None:
        index.add(np.array(hashes, np.uint64), np.arange(at, at + len(hashes), dtype=np.int64), base=base)

    index = Index()
    added(1, 2, at=0, base=0)
    # A gap in event time: everything before is dropped, and the merge of both runs finds nothing to keep.
    added(3, at=2, base=3)
    asked, positions = index.find(np.array([1, 3], np.uint64))
    assert len(asked) == len(positions) == 0
    added(4, at=3, base=3)
    found: Positions = index.find(np.array([4], np.uint64))[1]
    assert found.tolist() == [3]
    index.close()

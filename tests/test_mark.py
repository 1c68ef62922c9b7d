"""The mark of a join, in the metadata of its committed offsets."""

from __future__ import annotations

from schemas.codec import encode
from streams.join.mark import JoinMark, LogMark, read_mark
from streams.join.state import DecisionCounts, FateCounts, Reached


def test_mark_that_names_held_records_is_read() -> None:
    """Marks named them until 2026-11-29, and nobody read it."""
    log = LogMark(FateCounts(), 7, 1_000)
    mark = JoinMark(1, 2, "digest", Reached(), log, log, DecisionCounts())
    former = encode(mark).replace(b'"rebuild_offset":7', b'"rebuild_offset":7,"held":3')
    assert former.count(b'"held":3') == 2
    assert read_mark(former) == mark

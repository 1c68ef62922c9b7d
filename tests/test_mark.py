"""The mark of a join, in the metadata of its committed offsets."""

from __future__ import annotations

import pytest

from schemas.codec import encode
from schemas.totals import MINUTE_MS, QUARTER_MS
from streams.join.fold import JoinFold
from streams.join.mark import JoinMark, LogMark, read_mark
from streams.join.state import DecisionCounts, FateCounts, Reached
from tests.factories import click, impression, numbered
from tests.simulation.disk import SimulatedDisk
from tests.sizes import small_sizes
from tests.strategies import BOUNDS, T0, columns


def test_mark_that_names_held_records_is_read() -> None:
    """Marks named them until 2026-11-29, and nobody read it."""
    log = LogMark(FateCounts(), 7, 1_000)
    mark = JoinMark(1, 2, "digest", Reached(), log, log, DecisionCounts())
    former = encode(mark).replace(b'"rebuild_offset":7', b'"rebuild_offset":7,"held":3')
    assert former.count(b'"held":3') == 2
    assert read_mark(former) == mark


@pytest.mark.parametrize(("early_ms", "offset"), [(0, 3), (1, 6)])
def test_a_rebuild_begins_one_window_before_the_oldest_quarter_that_is_not_final(early_ms: int, offset: int) -> None:
    """A click in that quarter may belong to an impression of the window before, and a total of its last minute.

    Three records are a block. The block before the first that matters may hold twins of its records.
    """
    quarter_ms = T0 - T0 % QUARTER_MS + QUARTER_MS
    matters_ms, new_ms = quarter_ms - MINUTE_MS - BOUNDS.window_ms, quarter_ms + 5 * MINUTE_MS
    times = [matters_ms - 1_000] * 3 + [matters_ms - 300] * 3 + [matters_ms - early_ms] * 3 + [new_ms] * 6
    with small_sizes():
        fold = JoinFold(BOUNDS, SimulatedDisk())
        for record in numbered([impression(f"i{number}", ts_ms) for number, ts_ms in enumerate(times)]):
            fold.step(columns("impressions", [record]))
        fold.step(columns("clicks", numbered([click("k", "i12", new_ms)])))
        while fold.can_sweep():
            fold.sweep(100)
        fold.report(100)
        assert quarter_ms < fold.final_ms < quarter_ms + QUARTER_MS
        assert read_mark(fold.mark()).impressions.rebuild_offset == offset
        fold.close()

"""What the state of a join takes, by its own account: each part counts, and what no record can need is gone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from schemas.records import Record
from schemas.totals import DIMENSIONS
from streams.join.fold import JoinFold
from streams.join.totals import measures
from streams.join.totals.names import code_columns
from streams.join.totals.quarter import Quarter
from streams.join.totals.tables import Table
from tests.factories import click, impression, numbered
from tests.simulation.disk import SimulatedDisk
from tests.sizes import small_sizes
from tests.strategies import BOUNDS, T0, columns


def table(rows: int) -> Table:
    made = Table()
    codes = np.zeros((rows, WIDE), np.int32)
    codes[:, 0] = np.arange(rows)
    made.rows_of(codes)
    return made


def test_a_table_counts_the_bytes_of_its_rows_of_its_clicks_and_of_its_slots() -> None:
    made = table(300)
    made.clicked_for(np.arange(7, dtype=np.int32))
    rows = (made.codes, made.clicked_column, made.dirty, made.unsaved, made.shown.T)
    row_bytes = sum(array.itemsize * int(np.prod(array.shape[1:])) for array in rows)
    assert made.nbytes == 300 * row_bytes + made.clicked.nbytes + made._slots.nbytes


def test_no_more_than_half_of_the_slots_of_a_table_are_taken() -> None:
    """A look-up would read several of them."""
    for rows in (1, 128, 129, 1_000, 1_024, 1_025):
        slots = len(table(rows)._slots)
        assert max(256, 2 * rows) <= slots <= max(256, 4 * rows)


def test_a_total_is_reported_once_it_changed_and_all_of_them_when_they_are_final() -> None:
    made = table(3)
    made.add(made.codes[1:2].astype(np.int32), np.ones((len(measures.SHOWN), 1), np.int64), measures.SHOWN)
    assert made.take_dirty(final=False).tolist() == [1]
    assert made.take_dirty(final=False).tolist() == []
    assert made.take_dirty(final=True).tolist() == [0, 1, 2]


def test_a_campaigns_total_is_reported_once_it_changed_and_all_that_were_counted_when_they_are_final() -> None:
    campaigns = Quarter().campaigns
    campaigns.fit(4)
    campaigns.measures[0, [1, 2]] = 1
    campaigns.dirty[2] = True
    assert campaigns.take_dirty(final=False).tolist() == [2]
    assert campaigns.take_dirty(final=False).tolist() == []
    assert campaigns.take_dirty(final=True).tolist() == [1, 2]


def test_a_quarter_counts_its_minutes_and_its_campaigns() -> None:
    quarter = Quarter()
    quarter.campaigns.fit(100)
    of_campaigns = quarter.nbytes
    assert of_campaigns == quarter.campaigns.measures.nbytes > 0
    minute = quarter.table(T0)
    minute.rows_of(np.zeros((1, WIDE), np.int32))
    assert quarter.nbytes == of_campaigns + minute.nbytes


def folded(*records: tuple[str, Record]) -> JoinFold:
    fold = JoinFold(BOUNDS, SimulatedDisk())
    for offset, (log, record) in enumerate(records):
        fold.step(columns(log, [Record(offset, record.record_ts_ms, record.key, record.value)]))
    return fold


WIDE = code_columns(len(DIMENSIONS))
SHOWN = ("impressions", impression("a", T0))
PENDING = ("clicks", click("k", "z", T0))


@pytest.mark.parametrize("more", [("impressions", impression("a", T0, country="x")), PENDING, SHOWN])
def test_what_is_kept_of_a_further_record_counts_but_a_duplicate_takes_nothing(more: tuple[str, Record]) -> None:
    one, two = folded(SHOWN), folded(SHOWN, more)
    assert (two.state.nbytes() > one.state.nbytes()) == (more is not SHOWN)
    one.close()
    two.close()


def test_open_impressions_and_totals_count() -> None:
    nothing = folded()
    shown = folded(SHOWN)
    parts: list[Callable[[JoinFold], int]] = [
        lambda fold: fold.state.store.nbytes,
        lambda fold: fold.state.counting.nbytes,
    ]
    assert all(part(shown) > part(nothing) for part in parts)
    assert shown.state.nbytes() == sum(part(shown) for part in parts)
    nothing.close()
    shown.close()


def test_no_impression_is_looked_up_for_clicks_that_no_longer_wait() -> None:
    """A filter by hash answers for nearly all impressions; what has left it must not stay marked."""
    fold = folded(PENDING, ("clicks", click("l", "z", T0)), ("clicks", click("m", "y", T0)))
    clicks = fold.state.accepted_clicks
    assert clicks._waited.sum() == 2
    fold.step(columns("impressions", numbered([impression("z", T0), impression("y", T0)])))
    assert clicks.pending == 0
    assert not clicks._waited.any()
    fold.close()


def test_impressions_that_no_record_can_need_leave_memory_and_disk() -> None:
    disk = SimulatedDisk()
    with small_sizes():
        fold = JoinFold(BOUNDS, disk)
        log = numbered([impression(f"i{number}", T0 + 10 * number) for number in range(400)])
        clicks = numbered([click(f"k{number}", "z", T0 + 10 * number) for number in range(400)])
        most = 0
        for shown, clicked in zip(log, clicks, strict=True):
            fold.step(columns("impressions", [shown]))
            fold.step(columns("clicks", [clicked]))
            while fold.can_sweep():
                fold.sweep(100)
            fold.report(100)
            fold.committed()
            fold.snapshot()
            fold.snapshot_kept()
            most = max(most, len(fold.state.store))
            # Rows and payloads of each segment, and the journals of the quarters that are not final.
            assert len(disk.names()) <= 2 * most // 4 + 6
    # Those of the dedupe horizon and the lateness, and a segment of four that is not dropped yet.
    assert most <= (BOUNDS.dedupe_ms + BOUNDS.lateness_ms) // 10 + 2 * 4
    # The same of ids of clicks, and clicks that are not orphans yet.
    waiting_ms = BOUNDS.lateness_ms + BOUNDS.skew_ms
    assert len(fold.state.accepted_clicks) <= (BOUNDS.dedupe_ms + BOUNDS.lateness_ms + waiting_ms) // 10 + 2
    fold.close()

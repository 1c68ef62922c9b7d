"""The law goes on after a restart: with what it remembered, and what counters say of impressions in flight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import numpy as np

from schemas.topics import DAY_MS
from schemas.totals import QUARTER_MS
from streams.kernels.pacing_columns import EXPECTED_SPEND, IMPRESSIONS, QUARTERS_KEPT
from streams.pacing.changelog import Memory
from streams.pacing.counters import PacedMeasures
from streams.pacing.law.memory import (
    SHAPE_BYTES,
    WIDTH,
    learnt_attributed,
    price_guess,
    remember_campaigns,
    remember_learnt,
    remember_shapes,
    reserve,
    resume,
    show,
)
from streams.pacing.law.pacer import UNPREDICTED_RATE
from streams.pacing.paced import Paced, rows_in_use


def resume_law(
    paced: Paced,
    memories: Collection[Memory],
    quarters: Callable[..., Iterator[tuple[int, PacedMeasures]]],
    *,
    event_ms: int,
    counted_to_ms: int | None,
    leases: Mapping[str, int],
) -> None:
    """Prepares the pacer for its first tick. The counters hold everything up to now, or to where the join stopped.

    `leases`: see `Shard.tick`.
    """
    last: Memory | None = None
    for memory in memories:
        if memory.width == WIDTH and memory.learnt is not None and (last is None or memory.version > last.version):
            last = memory
    used = rows_in_use(paced.ids)
    for width, size, remember in ((WIDTH, WIDTH * 8, remember_campaigns), (SHAPE_BYTES, SHAPE_BYTES, remember_shapes)):
        newest = _newest((memory for memory in memories if memory.width == width), size)
        known = [(row, newest[campaign_id][1]) for row, campaign_id in used if campaign_id in newest]
        if known:
            remember(paced.pacer, np.array([row for row, _ in known]), b"".join(kept for _, kept in known))
    now_s = before_s = event_ms / 1_000
    if last is not None and last.learnt is not None:
        before_s = last.learnt.now_s
        remember_learnt(paced.pacer, last.learnt)
    counted_s = now_s if counted_to_ms is None else min(counted_to_ms / 1_000, now_s)
    shown = Shown(paced, event_ms)
    for row, campaign_id in used:
        shown.add(row, quarters(campaign_id, from_day=event_ms // DAY_MS - 1))
    shown.show(counted_s)
    resume(paced.pacer, before_s=before_s, now_s=now_s, seen_to_s=counted_s)
    owed = {row: float(leases[campaign_id]) for row, campaign_id in used if campaign_id in leases}
    if owed:
        paced.totals.seen_to_s = counted_s
        reserve(paced.pacer, paced.totals, owed, now_s=now_s)


def _newest(memories: Iterable[Memory], size: int) -> dict[str, tuple[int, memoryview]]:
    """By campaign the version and the bytes of the newest row that has it."""
    newest: dict[str, tuple[int, memoryview]] = {}
    for memory in memories:
        kept = memoryview(memory.states)
        for number, campaign_id in enumerate(memory.campaigns):
            before = newest.get(campaign_id)
            if before is None or memory.version > before[0]:
                newest[campaign_id] = memory.version, kept[number * size : (number + 1) * size]
    return newest


class Shown:
    """Impressions of campaigns whose clicks may still come, counted before the campaigns had their rows."""

    def __init__(self, paced: Paced, event_ms: int) -> None:
        self._paced, self._event_ms = paced, event_ms
        self._first_ms = (event_ms // QUARTER_MS - QUARTERS_KEPT + 1) * QUARTER_MS
        self._by_quarter: defaultdict[int, list[tuple[int, float, float]]] = defaultdict(list)

    def add(self, row: int, quarters: Iterable[tuple[int, PacedMeasures]]) -> None:
        """Takes the quarter-hours of a campaign."""
        paced = self._paced
        # What is counted from now on is new to the law; what was counted is shown to it here.
        paced.totals.table[row, IMPRESSIONS : EXPECTED_SPEND + 1] = 0.0
        for quarter_ms, measures in quarters:
            if not self._first_ms <= quarter_ms <= self._event_ms:
                continue
            paced.attributed.add(row, quarter_ms, measures.attributed_clicks)
            paced.spent.add(row, quarter_ms, measures.spend_micros)
            clicks, spend = measures.expected_clicks_nano / 1e9, float(measures.expected_spend_micros)
            if measures.impressions and not measures.expected_clicks_nano:
                clicks = measures.impressions * UNPREDICTED_RATE
                spend = spend or clicks * price_guess(paced.pacer, row)
            self._by_quarter[quarter_ms].append((row, clicks, spend))
        learnt_attributed(paced.pacer, row, paced.totals.attributed)

    def show(self, counted_s: float) -> None:
        """Shows them to the law."""
        for quarter_ms, shown in self._by_quarter.items():
            rows, clicks, spend = (np.array(column) for column in zip(*shown, strict=True))
            show(
                *(self._paced.pacer, rows),
                quarter_s=quarter_ms // 1_000,
                clicks=clicks,
                spend=spend,
                seen_to_s=counted_s,
            )


def show_recent(
    paced: Paced, row: int, quarters: Iterable[tuple[int, PacedMeasures]], event_ms: int, counted_s: float
) -> None:
    """Shows the law the impressions of one campaign."""
    shown = Shown(paced, event_ms)
    shown.add(row, quarters)
    shown.show(counted_s)

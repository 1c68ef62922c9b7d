"""What is written behind the join: ClickHouse and the pacing counters, as far as they have come."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from schemas.totals import MEASURES, MINUTE_MS
from streams.kafka.cluster import Cluster
from streams.kafka.reads import bounds_consumer, log_bounds
from streams.verify import written
from streams.verify.check import Check, Checks, Pile, compare_piles, hash_of
from streams.verify.cut import Span, committed_offsets, whole
from streams.verify.oracle import Key, Truth
from streams.verify.paced import Paced, Sums, local_days
from streams.verify.sunk import Sunk

_PACED = ("impressions", "clicks", "spend_micros")
paced_measures = itemgetter(*map(MEASURES.index, _PACED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what is written behind the join, and what to do meanwhile.

    In a run that was `ended` what has not arrived by then is a difference; beside live workers it is left out.
    """

    wait_s: float = 0.0
    ended: bool = False
    meanwhile: Callable[[], None] = lambda: None

    def until(self, done: Callable[[], bool]) -> None:
        """Returns when `done`, or when time is up."""
        until = time.monotonic() + self.wait_s
        while time.monotonic() < until and not done():
            self.meanwhile()
            time.sleep(0.5)

    def late(self, check: Check, text: str) -> None:
        """Something has not arrived."""
        if self.ended:
            check.differ(text)
        else:
            check.notes.append(text)


class Sinking:
    """A database, and how far the sink has come with it."""

    def __init__(self, cluster: Cluster, group: str, counts: Mapping[str, int], sunk: Sunk, patience: Patience) -> None:
        """`counts`: partitions by role. Waits for the sink as `patience` says, then notes where it is."""
        self._cluster = cluster
        self._group = group
        self._counts = counts
        self._sunk = sunk
        self._patience = patience
        patience.until(lambda: self._lag() == 0)
        # Noted before anything is read from Kafka: what is written later is behind it.
        self.offsets = self._committed()

    def _committed(self) -> dict[str, dict[int, int]]:
        return {
            role: committed_offsets(self._cluster, self._group, self._cluster.topic(role), count)
            for role, count in self._counts.items()
        }

    def _lag(self) -> int:
        asked = bounds_consumer(self._cluster)
        try:
            return sum(
                log_bounds(asked, self._cluster.topic(role), partition)[1] - max(0, offset)
                for role, places in self._committed().items()
                for partition, offset in places.items()
            )
        finally:
            asked.close()

    def compare_totals(
        self, checks: Checks, totals: written.Totals, wanted: Mapping[Key, Any], partition: int, span: Span
    ) -> None:
        """Whole settled minutes of one join partition that the sink has written."""
        check = checks.named("minute totals in ClickHouse")

        def left_out(minute: int) -> bool:
            return minute in totals.not_sunk or self._sunk.promoted(minute)

        found = self._sunk.totals(partition)
        sides = [whole(side, span, MINUTE_MS, at=0, but=left_out) for side in (found, wanted)]
        check.compare(*sides, names=MEASURES)
        if totals.behind:
            self._patience.late(check, f"partition {partition}: the sink has {totals.behind} records yet to write")

    def compare_outcomes(
        self, checks: Checks, judged: Truth, not_sunk: Collection[int], partition: int, span: Span
    ) -> None:
        """Settled outcomes of one join partition that the sink has written; `not_sunk`: hashes of the others."""
        check = checks.named("outcomes in ClickHouse")
        found, wanted, named = Pile(), Pile(), dict[int, Key]()
        for event_ms, row in self._sunk.outcomes(partition):
            if span.holds(event_ms) and hash_of(row) not in not_sunk:
                found.add(row)
                named[hash_of(row)] = row
        for one in judged.outcomes:
            at_ms, row = written.event_ms(one), written.row_of(one)
            if span.holds(at_ms) and not self._sunk.promoted(at_ms) and hash_of(row) not in not_sunk:
                wanted.add(row)
                named[hash_of(row)] = row
        compare_piles(check, found, wanted, values=lambda hashes: ((one, named[one]) for one in hashes))
        if not_sunk:
            self._patience.late(check, f"partition {partition}: the sink has {len(not_sunk)} outcomes yet to write")


def compare_paced(
    check: Check,
    paced: Paced,
    quarters: Iterable[tuple[str, int, Sums]],
    last: Mapping[str, tuple[int, int]],
    zones: Mapping[str, str],
    span: Span,
    patience: Patience,
) -> None:
    """Whole settled local days of the campaigns whose totals are all counted.

    `quarters` are (campaign, quarter-hour, sums) by the truth; `last` gives the place of each campaign's last total.
    """
    next_offsets: dict[int, int] = {}

    def uncounted() -> set[str]:
        next_offsets.update(paced.next_offsets())
        return {name for name, (partition, offset) in last.items() if next_offsets.get(partition, -1) <= offset}

    patience.until(lambda: not uncounted())
    waiting = uncounted()
    if waiting:
        patience.late(check, f"{len(waiting)} campaigns have totals that are not counted yet, such as {min(waiting)}")
    days = local_days(quarters, zones)
    settled = {key for key, (end_ms, _) in days.items() if span.holds_whole(key[1], end_ms - key[1])}
    names = {key[0] for key in days} - waiting
    found = {(name, day): sums for name in names for day, sums in paced.days(name).items()}
    check.compare(
        {key: sums for key, sums in found.items() if key in settled or key not in days},
        {key: days[key][1] for key in settled if key[0] in names},
        names=_PACED,
    )

"""Compares what comes after the join, ClickHouse and the pacing counters, as far as they have got."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from schemas.topics import DAY_MS
from schemas.totals import MEASURES, MINUTE_MS
from streams.kafka.cluster import Cluster
from streams.kafka.reads import bounds_consumer, log_bounds
from streams.pacing.counters import utc_day
from streams.pacing.shard import DAYS_KEPT
from streams.verify import written
from streams.verify.check import Check, Checks, HashedValues, compare_hashed, hash_of
from streams.verify.clickhouse_rows import ClickHouseRows
from streams.verify.oracle import Key, Truth
from streams.verify.pacing_counters import CampaignSums, PacingCounters, local_days
from streams.verify.settled import SettledTime, committed_offsets, settled_totals
from streams.warehouse.forgotten import user_hash

_PACED_MEASURES = ("impressions", "clicks", "spend_micros")
paced_measures = itemgetter(*map(MEASURES.index, _PACED_MEASURES))


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPolicy:
    """How long to wait for the sink and pacing, and what a record means that they do not have by then.

    In a run that was `ended` it is a difference. Beside live workers it is left out, with a note.
    """

    wait_s: float = 0.0
    ended: bool = False
    # Called again and again during the wait.
    meanwhile: Callable[[], None] = lambda: None

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Returns once `done` is true, or after `wait_s`."""
        deadline_s = time.monotonic() + self.wait_s
        while time.monotonic() < deadline_s and not done():
            self.meanwhile()
            time.sleep(0.5)

    def not_there(self, check: Check, text: str) -> None:
        """Records something that is still missing after the wait."""
        if self.ended:
            check.differ(text)
        else:
            check.notes.append(text)


class SinkChecks:
    """Compares ClickHouse with the truth, as far as the sink has committed."""

    def __init__(
        self, cluster: Cluster, group: str, counts: Mapping[str, int], rows: ClickHouseRows, wait: WaitPolicy
    ) -> None:
        """Waits for the sink, then reads its offsets. `counts`: partitions by role of topic."""
        self._cluster = cluster
        self._group = group
        self._counts = counts
        self.rows = rows
        self._wait = wait
        wait.wait_until(lambda: self._lag() == 0)
        # Read before any topic: records written later are above these offsets.
        self.offsets = self._committed()

    def _committed(self) -> dict[str, dict[int, int]]:
        return {
            role: committed_offsets(self._cluster, self._group, self._cluster.topic(role), count)
            for role, count in self._counts.items()
        }

    def _lag(self) -> int:
        consumer = bounds_consumer(self._cluster)
        try:
            return sum(
                log_bounds(consumer, self._cluster.topic(role), partition)[1] - max(0, offset)
                for role, offsets in self._committed().items()
                for partition, offset in offsets.items()
            )
        finally:
            consumer.close()

    def compare_totals(
        self,
        checks: Checks,
        totals: written.Totals,
        wanted: Mapping[Key, Any],
        partition: int,
        settled: SettledTime,
    ) -> None:
        """Compares the settled minutes of one join partition that the sink has written."""
        check = checks.named("minute totals in ClickHouse")

        def left_out(minute: int) -> bool:
            return minute in totals.minutes_to_sink or self.rows.promoted(minute)

        found = self.rows.totals(partition)
        check.compare(
            *(settled_totals(side, settled, MINUTE_MS, time_index=0, left_out=left_out) for side in (found, wanted)),
            names=MEASURES,
        )
        if totals.records_to_sink:
            self._wait.not_there(
                check, f"partition {partition}: the sink has yet to write {totals.records_to_sink} records"
            )

    def compare_outcomes(
        self, checks: Checks, judged: Truth, hashes_to_sink: Collection[int], partition: int, settled: SettledTime
    ) -> None:
        """Compares the settled outcomes of one join partition that the sink has written.

        `hashes_to_sink`: hashes of the outcomes it has not written yet.
        """
        check = checks.named("outcomes in ClickHouse")
        found, wanted, row_of = HashedValues(), HashedValues(), dict[int, Key]()
        forgotten = 0
        for event_ms, row in self.rows.outcomes(partition):
            if settled.has_outcomes_at(event_ms) and hash_of(row) not in hashes_to_sink:
                found.add(row)
                row_of[hash_of(row)] = row
        for outcome in judged.decided():
            event_ms, row = written.event_ms(outcome), written.row_of(outcome)
            if (
                settled.has_outcomes_at(event_ms)
                and not self.rows.promoted(event_ms)
                and hash_of(row) not in hashes_to_sink
            ):
                wanted.add(row)
                row_of[hash_of(row)] = row
                forgotten += user_hash(outcome.user_id) in self.rows.forgotten
        self._note_forgotten(check, partition, forgotten)
        compare_hashed(check, found, wanted, values=lambda hashes: ((hash_, row_of[hash_]) for hash_ in hashes))
        if hashes_to_sink:
            self._wait.not_there(
                check, f"partition {partition}: the sink has yet to write {len(hashes_to_sink)} outcomes"
            )

    def note_tombstones(self, check: Check) -> None:
        """Says of how many dead letters ClickHouse has no detail any more, which is no difference."""
        if found := self.rows.tombstoned():
            check.notes.append(
                f"{found:,} dead letters have a tombstone for their detail in ClickHouse: it named, or may have named, "
                "a user who was forgotten"
            )

    def _note_forgotten(self, check: Check, partition: int, outcomes: int) -> None:
        """Says how many outcomes ClickHouse has without their user, which is no difference."""
        if outcomes:
            check.notes.append(
                f"partition {partition}: {outcomes:,} outcomes are of users who were forgotten; ClickHouse has them "
                "without the user"
            )
        text = (
            f"{self.rows.still_stored:,} rows still store the hash of such a user, which views hide; "
            "`clickfold forget` takes it out"
        )
        if self.rows.still_stored and text not in check.notes:
            check.notes.append(text)


def compare_paced(
    check: Check,
    counters: PacingCounters,
    quarters: Iterable[tuple[str, int, CampaignSums]],
    last: Mapping[str, tuple[int, int]],
    zones: Mapping[str, str],
    settled: SettledTime,
    wait: WaitPolicy,
) -> None:
    """Compares the settled local days of the campaigns whose totals are all counted.

    `quarters`: (campaign, quarter-hour, sums) of the truth. `last`: partition and offset of each campaign's last total.
    """
    next_offsets: dict[int, int] = {}

    def uncounted() -> set[str]:
        next_offsets.update(counters.next_offsets())
        return {name for name, (partition, offset) in last.items() if next_offsets.get(partition, -1) <= offset}

    wait.wait_until(lambda: not uncounted())
    missing = uncounted()
    if missing:
        wait.not_there(check, f"pacing has yet to count totals of {len(missing)} campaigns, such as {min(missing)}")
    quarters = list(quarters)
    kept_from_ms = _kept_from_ms(quarters)
    days = local_days(quarters, zones)
    forgotten = {key for key in days if key[1] < kept_from_ms[key[0]]}
    if forgotten:
        check.notes.append(
            f"{len(forgotten)} days not compared: pacing keeps the last {DAYS_KEPT} days of a campaign, as in "
            f"{min(forgotten)[0]}"
        )
    compared = {
        key
        for key, (end_ms, _) in days.items()
        if key not in forgotten and settled.has_totals_of(key[1], end_ms - key[1])
    }
    names = {key[0] for key in days} - missing
    found = {(name, day): sums for name in names for day, sums in counters.days(name).items()}
    check.compare(
        # Days that the truth does not have at all are differences too.
        {key: sums for key, sums in found.items() if key in compared or key not in days},
        {key: days[key][1] for key in compared if key[0] in names},
        names=_PACED_MEASURES,
    )


def _kept_from_ms(quarters: Iterable[tuple[str, int, CampaignSums]]) -> dict[str, int]:
    """By campaign, the first moment of the days that pacing keeps whole."""
    newest: dict[str, int] = {}
    for campaign_id, quarter_ms, _ in quarters:
        newest[campaign_id] = max(newest.get(campaign_id, 0), utc_day(quarter_ms))
    return {campaign_id: (day - DAYS_KEPT + 1) * DAY_MS for campaign_id, day in newest.items()}

"""The counters of the campaigns of a partition, by UTC day."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.topics import DAY_MS
from schemas.totals import QUARTER_MS, CampaignTotal
from streams.pacing.counters import NOTHING, Merged, PacedMeasures, utc_day
from streams.pacing.kept_day import Change, KeptDay
from streams.pacing.local_day import LocalDay, day_of


class DaySpend(NamedTuple):
    """The counters of one local day of a campaign."""

    day: date
    start_ms: int
    measures: PacedMeasures


class CampaignDays:
    """Days are kept by the number of the UTC day, `days_kept` of them. `anomalies`: see `Shard`."""

    def __init__(self, days_kept: int, anomalies: Counter[str]) -> None:
        self._days_kept = days_kept
        self._anomalies = anomalies
        self._days: defaultdict[str, dict[int, KeptDay]] = defaultdict(dict)

    def restore(self, campaign_id: str, day: int, body: memoryview | bytes | None) -> None:
        """Takes a row of the changelog; None where it was deleted."""
        if body is None:
            self._days[campaign_id].pop(day, None)
        else:
            self._days[campaign_id][day] = KeptDay(body)

    def merge(self, campaign_id: str, day: int, totals: list[CampaignTotal]) -> tuple[list[Change], list[int]]:
        """What totals of a day changed, and the days whose rows are others now: its own, and those that are dropped."""
        days = self._days[campaign_id]
        kept = days.get(day)
        if kept is None:
            newest = max(days, default=day)
            if day <= newest - self._days_kept:
                self._anomalies["expired"] += len(totals)
                return [], []
            kept = KeptDay()
        changes = kept.merge(totals)
        self._anomalies.update(change.merged.value for change in changes if change.merged is Merged.FOLDED)
        changes = [change for change in changes if change.merged is Merged.CHANGED]
        if not changes:
            return [], []
        expired: list[int] = []
        if day not in days:
            days[day] = kept
            expired = [number for number in days if number <= day - self._days_kept]
            for number in expired:
                del days[number]
        return changes, [day, *expired]

    def body(self, campaign_id: str, day: int) -> bytes | None:
        """The row of a day for the changelog; None for one that is not kept."""
        kept = self._days[campaign_id].get(day)
        return None if kept is None else kept.body

    def newest(self, campaign_id: str) -> int | None:
        """The newest UTC day with counters."""
        return max(self._days.get(campaign_id, ()), default=None)

    def quarters(self, campaign_id: str, *, from_day: int = 0) -> Iterator[tuple[int, PacedMeasures]]:
        """Start (ms UTC) and sums of each quarter-hour of a campaign, ascending, from a UTC day on."""
        for day, kept in sorted(self._days.get(campaign_id, {}).items()):
            if day >= from_day:
                for index, measures in kept.counters().quarters():
                    yield day * DAY_MS + index * QUARTER_MS, measures

    def between(self, campaign_id: str, start_ms: int, end_ms: int) -> PacedMeasures:
        """The sums of the quarter-hours that begin from the first moment on and before the second."""
        measures = NOTHING
        for quarter_ms, of_quarter in self.quarters(campaign_id, from_day=utc_day(start_ms)):
            if start_ms <= quarter_ms < end_ms:
                measures += of_quarter
        return measures

    def local_days(self, campaign_id: str, local: ZoneInfo) -> list[DaySpend]:
        """The counters of every local day of a campaign, ascending."""
        sums: dict[LocalDay, PacedMeasures] = {}
        today: LocalDay | None = None
        for quarter_ms, measures in self.quarters(campaign_id):
            if today is None or quarter_ms >= today.end_ms:
                today = day_of(local, quarter_ms)
            sums[today] = sums.get(today, NOTHING) + measures
        return [DaySpend(day.day, day.start_ms, measures) for day, measures in sums.items()]

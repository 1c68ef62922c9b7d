"""All campaigns of one Kafka partition: counters, budgets, decisions. Deterministic, no Kafka, no clock.

Its owner feeds it records and sends the rows it returns to the changelog in order; see `changelog` for the rules that
make a crash at any moment harmless.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from schemas.events import Campaign
from schemas.pacing import PacingDecision
from schemas.topics import DAY_MS
from schemas.totals import QUARTER_MS, CampaignTotal
from streams.pacing.changelog import (
    BEGINNING,
    Head,
    Origin,
    day_key,
    decode_row,
    encode_row,
    head_key,
    is_owner_key,
    owner_key,
    parse_key,
)
from streams.pacing.clock import Anchor
from streams.pacing.controller import Spent, decide, differs
from streams.pacing.counters import NOTHING, DayCounters, Measures, Merged, quarter_index, utc_day
from streams.pacing.local_day import LocalDay, day_of, zone

# Totals are kept 7 days in Kafka; a replay may bring older ones while join partitions are weeks apart in event time.
DAYS_KEPT: Final = 62
# The default attribution window and a quarter-hour: for so long the clicks of an impression may still be on their way.
IN_FLIGHT_MS: Final = 45 * 60_000
# A version is the owner's epoch (seconds), then a sequence: a zombie's decision is never newer than its successor's.
_EPOCH_SHIFT: Final = 20
_UTC: Final = "UTC"


class Write(NamedTuple):
    """One changelog record; `value` None deletes the row."""

    key: bytes
    value: bytes | None


class DaySpend(NamedTuple):
    """The counters of one local day of a campaign."""

    day: date
    start_ms: int
    measures: Measures


class _Kept:
    """A campaign in memory: days stay encoded (2 KB instead of 20), the sum of today is kept while nothing changes."""

    __slots__ = ("days", "head", "today", "unsent")

    def __init__(self) -> None:
        self.head = Head()
        self.days: dict[int, bytes] = {}
        self.today: tuple[LocalDay, int, Spent] | None = None
        self.unsent = True


class Shard:
    """The state of one partition. Restore it from the changelog, `open` it, then feed it.

    `position` is the next offset of `campaign_totals`, or BEGINNING. `anomalies` counts by name what was
    passed over: 'folded' (see counters.Merged), 'expired' (older than the days kept), 'off_grid' (no quarter-hour).
    """

    def __init__(self, *, days_kept: int = DAYS_KEPT) -> None:
        self.position = BEGINNING
        self.epoch = 0
        self._owner = 0
        self._owner_keys: set[bytes] = set()
        self.anomalies: Counter[str] = Counter()
        self._days_kept = days_kept
        self._origin = Origin()
        self._kept: defaultdict[str, _Kept] = defaultdict(_Kept)
        self._written_position = BEGINNING

    def restore(self, key: bytes, value: bytes | None) -> None:
        """The next record of the changelog. Raises StateMismatch."""
        row = decode_row(value) if value is not None else None
        if row is not None:
            self._origin.read(row)
        if is_owner_key(key):
            (self._owner_keys.discard if row is None else self._owner_keys.add)(key)
            return
        campaign_id, day = parse_key(key)
        kept = self._kept[campaign_id]
        kept.today = None
        if row is None:
            if day is not None:
                kept.days.pop(day, None)
        elif day is None:
            kept.head = _heads.decode(row.body)
        else:
            kept.days[day] = bytes(row.body)

    def open(self, *, epoch_s: int, owner: int) -> list[Write]:
        """Takes ownership: the changelog is read, records from `position` on may be fed. Every decision is due again.

        `epoch_s` is the wall clock in seconds; the epoch is higher than any in the changelog whatever it says. `owner`
        is a random number, see `changelog`.
        """
        self._owner = owner
        self.epoch = max(epoch_s, self._origin.epoch + 1, self.epoch + 1)
        self.position = self._origin.position
        for kept in self._kept.values():
            kept.unsent = True
        begun = self._owner_row()
        former = sorted(self._owner_keys - {begun.key})
        self._owner_keys = {begun.key}
        return [begun, *(Write(key, None) for key in former)]

    def count(self, totals: Iterable[CampaignTotal]) -> list[Write]:
        """Merges a batch of totals; the rows it changed, one a campaign and UTC day."""
        by_day: defaultdict[tuple[str, int], list[CampaignTotal]] = defaultdict(list)
        for total in totals:
            if total.quarter % QUARTER_MS:
                self.anomalies["off_grid"] += 1
                continue
            by_day[total.campaign_id, utc_day(total.quarter)].append(total)
        return [write for (campaign_id, day), some in by_day.items() for write in self._merge(campaign_id, day, some)]

    def advance(self, next_offset: int, *, epoch: int) -> None:
        """All rows of the batch counted in that epoch are acknowledged; totals below this offset are counted.

        Nothing when the shard was restored meanwhile: what it counted before may not be in it any more.
        """
        if epoch == self.epoch:
            self.position = max(self.position, next_offset)

    def announce(self, campaign: Campaign) -> list[Write]:
        """Takes a campaign; of two with the same id the higher version holds."""
        kept = self._kept[campaign.campaign_id]
        known = kept.head.campaign
        if known is not None and known.version >= campaign.version:
            return []
        kept.head.campaign, kept.today = campaign, None
        return [self._head_row(campaign.campaign_id, kept)]

    def withdraw(self, campaign_id: str) -> list[Write]:
        """The campaign's record was deleted: it is unknown from now on, its counters stay."""
        kept = self._kept.get(campaign_id)
        if kept is None or kept.head.campaign is None:
            return []
        kept.head.campaign, kept.today = None, None
        return [self._head_row(campaign_id, kept)]

    def tick(self, *, event_ms: int, anchor: Anchor | None = None) -> tuple[list[Write], list[PacingDecision]]:
        """The decisions that changed since they were last sent, and the rows that remember them: send rows first."""
        writes, decisions = [], []
        for campaign_id, kept in self._kept.items():
            decision = self._decide(campaign_id, kept, event_ms)
            if kept.unsent or differs(kept.head.decision, decision):
                kept.head.decision, kept.head.anchor, kept.unsent = decision, anchor, False
                writes.append(self._head_row(campaign_id, kept))
                decisions.append(decision)
        if self._written_position != self.position:
            # Only totals counted before came in: without a row, a restart would read them all again.
            writes.append(self._owner_row())
        return writes, decisions

    def campaigns(self) -> Iterator[tuple[str, Head]]:
        """Every campaign anything is known of."""
        for campaign_id, kept in self._kept.items():
            yield campaign_id, kept.head

    def head(self, campaign_id: str) -> Head | None:
        """What is known of a campaign beside its counters; None when it was never heard of."""
        kept = self._kept.get(campaign_id)
        return kept.head if kept else None

    def quarters(self, campaign_id: str) -> Iterator[tuple[int, Measures]]:
        """Start and sums of each UTC quarter-hour of a campaign, ascending; none for a campaign never heard of."""
        kept = self._kept.get(campaign_id)
        for day, body in sorted(kept.days.items()) if kept else ():
            for index, measures in _days.decode(body).quarters():
                yield day * DAY_MS + index * QUARTER_MS, measures

    def days(self, campaign_id: str) -> list[DaySpend]:
        """The counters of every local day of a campaign, ascending, in its present time zone (UTC while unknown)."""
        sums: dict[LocalDay, Measures] = {}
        today: LocalDay | None = None
        local = self._zone(campaign_id)
        for quarter, measures in self.quarters(campaign_id):
            if today is None or quarter >= today.end_ms:
                today = day_of(local, quarter)
            sums[today] = sums.get(today, NOTHING) + measures
        return [DaySpend(day.day, day.start_ms, measures) for day, measures in sums.items()]

    def _merge(self, campaign_id: str, day: int, totals: list[CampaignTotal]) -> list[Write]:
        kept = self._kept[campaign_id]
        newest = max(kept.days, default=day)
        if day <= newest - self._days_kept:
            self.anomalies["expired"] += len(totals)
            return []
        body = kept.days.get(day)
        counters = _days.decode(body) if body else DayCounters()
        merged = [counters.merge(total) for total in totals]
        self.anomalies.update(one.value for one in merged if one is Merged.FOLDED)
        if Merged.CHANGED not in merged:
            return []
        kept.today = None
        kept.days[day] = msgspec.msgpack.encode(counters)
        writes = [Write(day_key(campaign_id, day), self._row(counters))]
        for old in [old for old in kept.days if old <= day - self._days_kept]:
            del kept.days[old]
            writes.append(Write(day_key(campaign_id, old), None))
        return writes

    def _decide(self, campaign_id: str, kept: _Kept, event_ms: int) -> PacingDecision:
        quarter = event_ms // QUARTER_MS
        if kept.today is None or kept.today[1] != quarter:
            day = day_of(self._zone(campaign_id), event_ms)
            kept.today = (day, quarter, _spent(kept.days, day, event_ms))
        day, _, spent = kept.today
        before = kept.head.decision
        version = max(before.version + 1 if before else 0, self.epoch << _EPOCH_SHIFT)
        campaign = kept.head.campaign
        return decide(campaign, campaign_id, day=day, spent=spent, event_ms=event_ms, version=version)

    def _zone(self, campaign_id: str) -> ZoneInfo:
        kept = self._kept.get(campaign_id)
        campaign = kept.head.campaign if kept else None
        found = zone(campaign.timezone if campaign else _UTC)
        assert found is not None, "campaigns of unknown zones are refused on arrival"
        return found

    def _head_row(self, campaign_id: str, kept: _Kept) -> Write:
        return Write(head_key(campaign_id), self._row(kept.head))

    def _owner_row(self) -> Write:
        return Write(owner_key(epoch=self.epoch, owner=self._owner), self._row(None))

    def _row(self, body: object) -> bytes:
        self._written_position = self.position
        return encode_row(body, epoch=self.epoch, owner=self._owner, position=self.position)


def _spent(days: dict[int, bytes], day: LocalDay, event_ms: int) -> Spent:
    measures, in_flight_micros = NOTHING, 0
    for number in range(utc_day(day.start_ms), utc_day(day.end_ms - 1) + 1):
        if number in days:
            counters = _days.decode(days[number])
            for index, of_quarter in counters.quarters():
                if day.start_ms <= number * DAY_MS + index * QUARTER_MS < day.end_ms:
                    measures += of_quarter
    # Clicks of impressions before midnight are spend of the day they come in, so yesterday's last quarters count too.
    first = (event_ms - IN_FLIGHT_MS) // QUARTER_MS * QUARTER_MS
    for quarter in range(first, event_ms + 1, QUARTER_MS):
        if utc_day(quarter) in days:
            in_flight_micros += _days.decode(days[utc_day(quarter)]).in_flight_micros(quarter_index(quarter))
    return Spent(measures, in_flight_micros)


_heads: Final = msgspec.msgpack.Decoder(Head)
_days: Final = msgspec.msgpack.Decoder(DayCounters)

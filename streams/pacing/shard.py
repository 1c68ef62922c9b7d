"""All campaigns of one Kafka partition: counters, budgets, decisions. Deterministic, without Kafka and clock.

The owner of the partition gives it records, and sends the rows that it returns to the changelog in order. `changelog`
has the rules that make a crash at any moment harmless.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from schemas.campaigns import CampaignChange
from schemas.pacing import PacingDecision
from schemas.topics import DAY_MS
from schemas.totals import QUARTER_MS, CampaignTotal
from schemas.zones import zone
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
from streams.pacing.counters import NOTHING, DayCounters, Merged, PacedMeasures, Spent, quarter_index, utc_day
from streams.pacing.decisions import decide, differs, next_version
from streams.pacing.local_day import LocalDay, day_of

# Kafka keeps totals for 7 days. In a replay, join partitions may be weeks apart in event time, so two months are kept.
DAYS_KEPT: Final = 62
# The default attribution window (30 min) and one quarter-hour: for so long clicks on an impression may still come.
IN_FLIGHT_MS: Final = 45 * 60_000
_UTC: Final = "UTC"


class Write(NamedTuple):
    """One changelog record; `value` None deletes the row."""

    key: bytes
    value: bytes | None


class DaySpend(NamedTuple):
    """The counters of one local day of a campaign."""

    day: date
    start_ms: int
    measures: PacedMeasures


class _CampaignState:
    """A campaign in memory. Days stay encoded: 2 KB each instead of 20."""

    __slots__ = ("days", "head", "today", "unsent")

    def __init__(self) -> None:
        self.head = Head()
        # By number of the UTC day.
        self.days: dict[int, bytes] = {}
        # The local day, the number of the quarter-hour (since 1970) and what is spent in the day by then. None when
        # counters or campaign have changed.
        self.today: tuple[LocalDay, int, Spent] | None = None
        self.unsent = True


class Shard:
    """The state of one partition. `restore` it from the changelog, `open` it, then give it records.

    `position` is the next offset of `campaign_totals`, or BEGINNING. `anomalies` counts ignored totals by reason:
    'folded' (see counters.Merged), 'expired' (older than the days kept), 'off_grid' (does not start a quarter-hour).
    """

    def __init__(self, *, days_kept: int = DAYS_KEPT) -> None:
        self.position = BEGINNING
        self.epoch = 0
        self._owner = 0
        self._owner_keys: set[bytes] = set()
        self.anomalies: Counter[str] = Counter()
        self._days_kept = days_kept
        self._origin = Origin()
        self._campaigns: defaultdict[str, _CampaignState] = defaultdict(_CampaignState)
        self._written_position = BEGINNING

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Takes the next record of the changelog. Raises StateMismatch."""
        row = decode_row(value) if value is not None else None
        if row is not None:
            self._origin.read(row)
        if is_owner_key(key):
            (self._owner_keys.discard if row is None else self._owner_keys.add)(key)
            return
        campaign_id, day = parse_key(key)
        state = self._campaigns[campaign_id]
        state.today = None
        if row is None:
            if day is not None:
                state.days.pop(day, None)
        elif day is None:
            state.head = _heads.decode(row.body)
        else:
            state.days[day] = bytes(row.body)

    def open(self, *, epoch_s: int, owner: int) -> list[Write]:
        """Takes ownership after the changelog was read. Then records from `position` on may come.

        Every decision is published again. `epoch_s` is the wall clock in seconds: the epoch is at least that, and in
        any case higher than all in the changelog. `owner` is a random number, see `changelog`.
        """
        self._owner = owner
        self.epoch = max(epoch_s, self._origin.epoch + 1, self.epoch + 1)
        self.position = self._origin.position
        for state in self._campaigns.values():
            state.unsent = True
        own = self._owner_row()
        former = sorted(self._owner_keys - {own.key})
        self._owner_keys = {own.key}
        return [own, *(Write(key, None) for key in former)]

    def count(self, totals: Iterable[CampaignTotal]) -> list[Write]:
        """Merges a batch of totals. Returns the rows that changed, one for each campaign and UTC day."""
        by_day: defaultdict[tuple[str, int], list[CampaignTotal]] = defaultdict(list)
        for total in totals:
            if total.quarter % QUARTER_MS:
                self.anomalies["off_grid"] += 1
                continue
            by_day[total.campaign_id, utc_day(total.quarter)].append(total)
        return [
            write for (campaign_id, day), of_day in by_day.items() for write in self._merge(campaign_id, day, of_day)
        ]

    def advance(self, next_offset: int, *, epoch: int) -> None:
        """Moves `position`: all rows of the batch up to this offset, counted in that epoch, are acknowledged.

        Does nothing when the shard was restored in between, because it may lack what it had counted before.
        """
        if epoch == self.epoch:
            self.position = max(self.position, next_offset)

    def change(self, change: CampaignChange) -> list[Write]:
        """Takes a change of a campaign that comes after the last one taken.

        A campaign that is withdrawn counts as not announced from then on. Its counters stay.
        """
        state = self._campaigns[change.campaign_id]
        if change.number <= state.head.change:
            return []
        state.head.campaign, state.head.change, state.today = change.campaign, change.number, None
        return [self._head_row(change.campaign_id, state)]

    def tick(self, *, event_ms: int, anchor: Anchor | None = None) -> tuple[list[Write], list[PacingDecision]]:
        """The rows to write, and then the decisions to publish: those that changed since they were last published."""
        writes, decisions = [], []
        for campaign_id, state in self._campaigns.items():
            decision = self._decide(campaign_id, state, event_ms)
            if state.unsent or differs(state.head.decision, decision):
                state.head.decision, state.head.anchor, state.unsent = decision, anchor, False
                writes.append(self._head_row(campaign_id, state))
                decisions.append(decision)
        if self._written_position != self.position:
            # Every total that came was counted before, so no row has the position: a restart would read them again.
            writes.append(self._owner_row())
        return writes, decisions

    def campaigns(self) -> Iterator[tuple[str, Head]]:
        """Every campaign that is announced or has counters."""
        for campaign_id, state in self._campaigns.items():
            yield campaign_id, state.head

    def head(self, campaign_id: str) -> Head | None:
        """What is known of a campaign beside its counters; None for one that is neither announced nor counted."""
        state = self._campaigns.get(campaign_id)
        return state.head if state else None

    def quarters(self, campaign_id: str) -> Iterator[tuple[int, PacedMeasures]]:
        """Start (ms UTC) and sums of each quarter-hour of a campaign, ascending; none for one without counters."""
        state = self._campaigns.get(campaign_id)
        for day, body in sorted(state.days.items()) if state else ():
            for index, measures in _days.decode(body).quarters():
                yield day * DAY_MS + index * QUARTER_MS, measures

    def days(self, campaign_id: str) -> list[DaySpend]:
        """The counters of every local day of a campaign, ascending, in its current time zone (UTC if not announced)."""
        sums: dict[LocalDay, PacedMeasures] = {}
        today: LocalDay | None = None
        local = self._zone(campaign_id)
        for quarter_ms, measures in self.quarters(campaign_id):
            if today is None or quarter_ms >= today.end_ms:
                today = day_of(local, quarter_ms)
            sums[today] = sums.get(today, NOTHING) + measures
        return [DaySpend(day.day, day.start_ms, measures) for day, measures in sums.items()]

    def _merge(self, campaign_id: str, day: int, totals: list[CampaignTotal]) -> list[Write]:
        state = self._campaigns[campaign_id]
        newest = max(state.days, default=day)
        if day <= newest - self._days_kept:
            self.anomalies["expired"] += len(totals)
            return []
        body = state.days.get(day)
        counters = _days.decode(body) if body else DayCounters()
        merged = [counters.merge(total) for total in totals]
        self.anomalies.update(result.value for result in merged if result is Merged.FOLDED)
        if Merged.CHANGED not in merged:
            return []
        state.today = None
        state.days[day] = msgspec.msgpack.encode(counters)
        writes = [Write(day_key(campaign_id, day), self._row(counters))]
        for expired in [kept for kept in state.days if kept <= day - self._days_kept]:
            del state.days[expired]
            writes.append(Write(day_key(campaign_id, expired), None))
        return writes

    def _decide(self, campaign_id: str, state: _CampaignState, event_ms: int) -> PacingDecision:
        quarter_number = event_ms // QUARTER_MS
        if state.today is None or state.today[1] != quarter_number:
            day = day_of(self._zone(campaign_id), event_ms)
            state.today = (day, quarter_number, _spent(state.days, day, event_ms))
        day, _, spent = state.today
        version = next_version(state.head.decision, epoch=self.epoch)
        return decide(state.head.campaign, campaign_id, day=day, spent=spent, event_ms=event_ms, version=version)

    def _zone(self, campaign_id: str) -> ZoneInfo:
        state = self._campaigns.get(campaign_id)
        campaign = state.head.campaign if state else None
        local = zone(campaign.timezone if campaign else _UTC)
        assert local is not None, "campaigns with an unknown time zone are refused when they arrive"
        return local

    def _head_row(self, campaign_id: str, state: _CampaignState) -> Write:
        return Write(head_key(campaign_id), self._row(state.head))

    def _owner_row(self) -> Write:
        return Write(owner_key(epoch=self.epoch, owner=self._owner), self._row(None))

    def _row(self, body: object) -> bytes:
        self._written_position = self.position
        return encode_row(body, epoch=self.epoch, owner=self._owner, position=self.position)


def _spent(days: dict[int, bytes], day: LocalDay, event_ms: int) -> Spent:
    measures, in_flight_micros = NOTHING, 0
    for utc in range(utc_day(day.start_ms), utc_day(day.end_ms - 1) + 1):
        if utc in days:
            for index, of_quarter in _days.decode(days[utc]).quarters():
                if day.start_ms <= utc * DAY_MS + index * QUARTER_MS < day.end_ms:
                    measures += of_quarter
    # A click is spend of the day it comes on, so impressions of yesterday's last quarters are in flight today.
    first_ms = (event_ms - IN_FLIGHT_MS) // QUARTER_MS * QUARTER_MS
    for quarter_ms in range(first_ms, event_ms + 1, QUARTER_MS):
        if utc_day(quarter_ms) in days:
            counters = _days.decode(days[utc_day(quarter_ms)])
            in_flight_micros += counters.in_flight_micros(quarter_index(quarter_ms))
    return Spent(measures, in_flight_micros)


_heads: Final = msgspec.msgpack.Decoder(Head)
_days: Final = msgspec.msgpack.Decoder(DayCounters)

"""All campaigns of one Kafka partition: counters, budgets, decisions. Deterministic, without Kafka and clock.

The owner of the partition gives it records, sends the rows that it returns to the changelog in order, and says when
they are acknowledged. `changelog` has the rules that make a crash at any moment harmless.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from schemas.campaigns import CampaignChange
from schemas.pacing import PacingDecision
from schemas.topics import DAY_MS
from schemas.totals import QUARTER_MS, CampaignTotal
from schemas.zones import campaign_zone
from streams.pacing.campaign_days import CampaignDays, DaySpend
from streams.pacing.changelog import (
    BEGINNING,
    Head,
    Origin,
    day_key,
    decode_row,
    encode_row,
    head_key,
    is_memory_key,
    is_owner_key,
    owner_key,
    parse_key,
)
from streams.pacing.clock import Anchor
from streams.pacing.counters import PacedMeasures, utc_day
from streams.pacing.decisions import epoch_above, first_version
from streams.pacing.flushing import Flushing
from streams.pacing.law import LawSettings
from streams.pacing.law.memory import seen_to_s, tell_anew
from streams.pacing.local_day import day_of
from streams.pacing.paced import BUDGETED, PAUSED, UNKNOWN, WHY_NO_PART, Paced
from streams.pacing.remembering import Remembering
from streams.pacing.resuming import resume_law, show_recent
from streams.pacing.shared_budgets import Member, Part, Why
from streams.pacing.terms import day_terms

# Kafka keeps totals for 7 days. In a replay, join partitions may be weeks apart in event time, so two months are kept.
DAYS_KEPT: Final = 62
# A campaign is paced for so long after its flight, or, where none is in force, after its last totals: clicks come late,
# and people look at what it has spent. Then a tombstone tells ad servers to forget it.
HORIZON_MS: Final = 2 * DAY_MS
_UTC: Final = "UTC"
# Until a shared budget is divided.
_NO_PART: Final = Part(0, Why.OUTRANKED)
_NO_LEASES: Final[Mapping[str, int]] = {}


class Write(NamedTuple):
    """One changelog record; `value` None deletes the row."""

    key: bytes
    value: bytes | None


class Forgotten(NamedTuple):
    """A campaign that ad servers are to forget."""

    campaign_id: str


class Shard:
    """The state of one partition. `restore` it from the changelog, `open` it, then give it records.

    `position` is the next offset of `campaign_totals`, or BEGINNING; `next_row` that of the changelog, which the owner
    of the partition sets. `anomalies` counts ignored totals by reason: 'folded' (see
    counters.Merged), 'expired' (older than the days kept), 'off_grid' (does not start a quarter-hour).
    """

    def __init__(self, settings: LawSettings | None = None, *, days_kept: int = DAYS_KEPT) -> None:
        self.position = self.next_row = BEGINNING
        self.epoch = 0
        self.anchor: Anchor | None = None
        self.anomalies: Counter[str] = Counter()
        self.paced = Paced(settings or LawSettings())
        self._owner = 0
        self._owner_keys: set[bytes] = set()
        self._opened = False
        self._days = CampaignDays(days_kept, self.anomalies)
        self._origin = Origin()
        self._heads: defaultdict[str, Head] = defaultdict(Head)
        self._written_position = BEGINNING
        self._flushing = Flushing()
        self._version = 0
        self._remembering = Remembering(self._flushing)
        # Campaigns of shared budgets, with the budget of the day that they would have alone, and their part of the
        # shared one.
        self._own: dict[str, int] = {}
        self._parts: dict[str, Part] = {}
        # Campaigns whose terms or figures may be others than those of their rows.
        self._stale: set[str] = set()
        self._looked_quarter = -1
        self._begun = False

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Takes the next record of the changelog. Raises StateMismatch."""
        row = decode_row(value) if value is not None else None
        if row is not None:
            self._origin.read(row)
        if is_owner_key(key):
            (self._owner_keys.discard if row is None else self._owner_keys.add)(key)
            return
        if is_memory_key(key):
            self._remembering.restore(key, None if row is None else row.body)
            return
        campaign_id, day = parse_key(key)
        head = self._heads[campaign_id]
        if day is not None:
            self._days.restore(campaign_id, day, None if row is None else row.body)
        elif row is not None:
            head = self._heads[campaign_id] = _heads.decode(row.body)
            if head.decision is not None:
                # Of version 0.1, which kept versions of decisions here.
                self._version = max(self._version, head.decision.version)
            self._anchored(head.anchor)

    def open(self, *, epoch_s: int, owner: int) -> list[Write]:
        """Takes ownership after the changelog was read. Then records from `position` on may come.

        Every decision is made anew. `epoch_s` is the wall clock in seconds: the epoch is at least that, and in any case
        higher than all in the changelog. `owner` is a random number, see `changelog`.
        """
        for memory in self._remembering.rows():
            self._version = max(self._version, memory.version)
            self._anchored(memory.anchor)
        self._owner = owner
        self.epoch = max(epoch_s, self._origin.epoch + 1, self.epoch + 1, epoch_above(self._version))
        self._version = first_version(self.epoch)
        if not self._opened:
            self.position = self._flushing.durable = self._origin.position
            self._opened = True
        else:
            # It was owned all the time: what is counted in memory stays, and rows under way may be lost.
            self.position = self._flushing.durable
        own = self._owner_row()
        former = sorted(self._owner_keys - {own.key})
        self._owner_keys = {own.key}
        return [own, *(Write(key, None) for key in former)]

    def count(self, totals: Iterable[CampaignTotal]) -> None:
        """Merges a batch of totals."""
        by_day: defaultdict[tuple[str, int], list[CampaignTotal]] = defaultdict(list)
        for total in totals:
            if total.quarter % QUARTER_MS:
                self.anomalies["off_grid"] += 1
                continue
            by_day[total.campaign_id, utc_day(total.quarter)].append(total)
        for (campaign_id, day), of_day in by_day.items():
            self._merge(campaign_id, day, of_day)

    def advance(self, next_offset: int, *, epoch: int) -> None:
        """Moves `position`: everything up to this offset was counted in that epoch.

        Does nothing when the shard was restored in between, because it may lack what it had counted before.
        """
        if epoch == self.epoch:
            self.position = max(self.position, next_offset)

    def change(self, change: CampaignChange) -> bool:
        """Takes a change of a campaign that comes after the last one taken; whether it does.

        A campaign that is withdrawn counts as not announced from then on. Its counters stay.
        """
        head = self._heads[change.campaign_id]
        if change.number <= head.change:
            return False
        head.campaign, head.change = change.campaign, change.number
        self._stale.add(change.campaign_id)
        self._flushing.changed(head_key(change.campaign_id))
        return True

    def tick(
        self,
        *,
        event_ms: int,
        counted_to_ms: int | None = None,
        behind_ms: int = 0,
        anchor: Anchor | None = None,
        leases: Mapping[str, int] = _NO_LEASES,
    ) -> list[PacingDecision | Forgotten]:
        """What to publish: decisions that are worth a record, and campaigns that are to be forgotten.

        `counted_to_ms`: everything before this event time is counted; None says that it is not known, and then all
        that the clock shows is taken for counted when the shard begins, and nothing after it. `behind_ms` is how far
        event time is behind the wall clock. `leases`, for the first tick: by campaign the last lease of a former owner,
        in micros, where totals do not show yet what ad servers did with it.
        """
        self._anchored(anchor)
        forgotten: list[PacingDecision | Forgotten] = []
        if event_ms // QUARTER_MS != self._looked_quarter:
            self._looked_quarter = event_ms // QUARTER_MS
            # Flights end and begin, and what is unknown grows old.
            forgotten += self._look_at_all(event_ms)
        forgotten += self._refresh(event_ms)
        if not self._begun:
            # The counters are complete only now.
            known = (self.paced, self._remembering.rows(), self.quarters)
            resume_law(*known, event_ms=event_ms, counted_to_ms=counted_to_ms, leases=leases)
            self._remembering.forget()
            self._begun = True
        self._version += 1
        counted_ms = 0 if counted_to_ms is None else min(counted_to_ms, event_ms)
        decisions = self.paced.tick(
            event_ms=event_ms, counted_to_ms=counted_ms, behind_ms=behind_ms, version=self._version
        )
        self._remembering.mark(event_ms, len(self.paced.ids))
        return [*forgotten, *decisions]

    def flush(self, most: int = 2**31) -> list[Write]:
        """Rows to write now, about so many. Say `flushed` once all of them are acknowledged."""
        writes = [self._write(key) for key in self._flushing.take(most, position=self.position)]
        if not writes and self._written_position != self._flushing.durable:
            # No row has the position: a restart would read these totals again.
            writes.append(self._owner_row())
        return writes

    def flushed(self, *, epoch: int) -> None:
        """The rows of the last `flush`, in that epoch, are acknowledged."""
        if epoch == self.epoch:
            self._flushing.acknowledged()

    @property
    def begun(self) -> bool:
        """Whether it has decided yet."""
        return self._begun

    def unflushed(self) -> int:
        """Rows that are to be written."""
        return len(self._flushing) + (self._written_position != self._flushing.durable)

    def campaigns(self) -> Iterator[tuple[str, Head]]:
        """Every campaign that is announced or has counters."""
        yield from self._heads.items()

    def head(self, campaign_id: str) -> Head | None:
        """What is known of a campaign beside its counters; None for one that is neither announced nor counted."""
        return self._heads.get(campaign_id)

    def quarters(self, campaign_id: str, *, from_day: int = 0) -> Iterator[tuple[int, PacedMeasures]]:
        """See `CampaignDays`."""
        return self._days.quarters(campaign_id, from_day=from_day)

    def days(self, campaign_id: str) -> list[DaySpend]:
        """The counters of every local day of a campaign, ascending, in its current time zone (UTC if not announced)."""
        return self._days.local_days(campaign_id, self._zone(campaign_id))

    # ---- shared budgets ---------------------------------------------------------------------------------------------

    def members(self) -> Iterator[Member]:
        """Campaigns of shared budgets, as they are since the last tick."""
        for campaign_id, own in self._own.items():
            row, campaign = self.paced.row(campaign_id), self._heads[campaign_id].campaign
            assert row is not None, "a campaign with a budget has a row"
            assert campaign is not None, "a campaign with a budget is announced"
            committed, able = self.paced.prospect(row)
            budget = campaign.budget_id or "", campaign.shared_budget_micros or 0, campaign.priority or 0
            yield Member(campaign_id, *budget, campaign.timezone, campaign.currency, own, committed, able)

    def take_parts(self, parts: Mapping[str, Part]) -> None:
        """Campaigns of this shard have these parts of shared budgets from the next tick on; others are left out."""
        for campaign_id in parts.keys() & self._own.keys():
            if self._parts.get(campaign_id) != parts[campaign_id]:
                self._parts[campaign_id] = parts[campaign_id]
                self._stale.add(campaign_id)

    def _leave_budget(self, campaign_id: str) -> None:
        self._own.pop(campaign_id, None)
        self._parts.pop(campaign_id, None)

    # ---- counters ---------------------------------------------------------------------------------------------------

    def _merge(self, campaign_id: str, day: int, totals: list[CampaignTotal]) -> None:
        campaign = self._heads[campaign_id].campaign
        changes, days = self._days.merge(campaign_id, day, totals)
        for changed in days:
            self._flushing.changed(day_key(campaign_id, changed))
        if not changes:
            return
        row = self.paced.row(campaign_id)
        if row is None:
            self._stale.add(campaign_id)
            return
        for change in changes:
            self.paced.count(row, change)
        day_start_ms = self.paced.day_start_ms[row]
        # A local midnight may lie within this UTC day.
        is_earlier = any(change.total.quarter < day_start_ms for change in changes)
        if campaign is not None and campaign.lifetime_budget_micros is not None and is_earlier:
            self._stale.add(campaign_id)

    # ---- who is paced, and by which terms ---------------------------------------------------------------------------

    def _look_at_all(self, event_ms: int) -> list[Forgotten]:
        """Campaigns that were not paced may be from now on, and the other way round."""
        forgotten = []
        for campaign_id, head in self._heads.items():
            row = self.paced.row(campaign_id)
            if self._is_paced(campaign_id, event_ms):
                if row is None:
                    self._stale.add(campaign_id)
            elif row is not None or not head.forgotten:
                forgotten.append(self._forget(campaign_id))
        return forgotten

    def _refresh(self, event_ms: int) -> list[Forgotten]:
        """Gives rows the terms of now, where campaign or day have changed."""
        paced, forgotten = self.paced, []
        over = np.flatnonzero(paced.day_end_ms[: len(paced.ids)] <= event_ms).tolist()
        stale = self._stale | {campaign_id for row in over if (campaign_id := paced.ids[row]) is not None}
        self._stale = set()
        for campaign_id in sorted(stale):
            if self._is_paced(campaign_id, event_ms):
                self._set_terms(campaign_id, event_ms)
            elif paced.row(campaign_id) is not None or not self._heads[campaign_id].forgotten:
                forgotten.append(self._forget(campaign_id))
        return forgotten

    def _is_paced(self, campaign_id: str, event_ms: int) -> bool:
        campaign = self._heads[campaign_id].campaign
        if campaign is not None:
            return campaign.end is None or event_ms < campaign.end + HORIZON_MS
        newest = self._days.newest(campaign_id)
        return newest is not None and event_ms < (newest + 1) * DAY_MS + HORIZON_MS

    def _forget(self, campaign_id: str) -> Forgotten:
        self.paced.drop(campaign_id)
        self._leave_budget(campaign_id)
        self._heads[campaign_id].forgotten = True
        self._flushing.changed(head_key(campaign_id))
        return Forgotten(campaign_id)

    def _set_terms(self, campaign_id: str, event_ms: int) -> None:
        paced, head = self.paced, self._heads[campaign_id]
        row = paced.row(campaign_id)
        day = day_of(self._zone(campaign_id), event_ms)
        is_new = row is None
        if row is None:
            row = paced.add(campaign_id)
            if head.forgotten:
                head.forgotten = False
                self._flushing.changed(head_key(campaign_id))
        if (paced.day_start_ms[row], paced.day_end_ms[row]) != (day.start_ms, day.end_ms):
            paced.begin_day(row, day, self._days.between(campaign_id, day.start_ms, day.end_ms))
        campaign, spent_before_micros = head.campaign, 0
        if campaign is not None and campaign.lifetime_budget_micros is not None:
            spent_before_micros = self._days.between(campaign_id, campaign.start or 0, day.start_ms).spend_micros
        terms = day_terms(campaign, day, spent_before_micros=spent_before_micros)
        why = UNKNOWN if campaign is None else PAUSED if campaign.status == "paused" else BUDGETED
        if campaign is None or campaign.budget_id is None:
            self._leave_budget(campaign_id)
        else:
            part = self._parts.setdefault(campaign_id, _NO_PART)
            self._own[campaign_id] = terms.budget_micros
            why = WHY_NO_PART[part.why] if terms.budget_micros and not part.micros else why
            terms = terms._replace(budget_micros=min(terms.budget_micros, part.micros))
            if terms.budget_micros != paced.pacer.terms.budget_micros[row]:
                # All of the budget are told in one tick, so that what they are told adds up.
                tell_anew(paced.pacer, row)
        paced.set_terms(row, terms)
        paced.why[row] = why
        if is_new and self._begun:
            recent = self.quarters(campaign_id, from_day=utc_day(event_ms) - 1)
            show_recent(paced, row, recent, event_ms, seen_to_s(paced.pacer))

    def _zone(self, campaign_id: str) -> ZoneInfo:
        head = self._heads.get(campaign_id)
        campaign = head.campaign if head else None
        return campaign_zone(campaign.timezone if campaign else _UTC)

    # ---- rows -------------------------------------------------------------------------------------------------------

    def _write(self, key: bytes) -> Write:
        if is_memory_key(key):
            memory = self._remembering.row(key, self.paced, version=self._version, anchor=self.anchor)
            return Write(key, None if memory is None else self._row(memory))
        campaign_id, day = parse_key(key)
        if day is None:
            return Write(key, self._row(self._heads[campaign_id]))
        body = self._days.body(campaign_id, day)
        return Write(key, None if body is None else self._row(msgspec.Raw(body)))

    def _owner_row(self) -> Write:
        return Write(owner_key(epoch=self.epoch, owner=self._owner), self._row(None))

    def _row(self, body: object) -> bytes:
        self._written_position = self._flushing.durable
        return encode_row(body, epoch=self.epoch, owner=self._owner, position=self._flushing.durable)

    def _anchored(self, anchor: Anchor | None) -> None:
        if anchor is not None and (self.anchor is None or anchor.quarter > self.anchor.quarter):
            self.anchor = anchor


_heads: Final = msgspec.msgpack.Decoder(Head)

"""The state of one partition's join: one object for each input log, and what both logs share.

`JoinState` owns all of it. `matching` has the rules that change it. `mark` and `snapshot` encode what a restart needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from schemas.bounds import NO_BOUND_MS, JoinBounds
from schemas.dimensions import ExtraDimension
from schemas.events import Impression
from schemas.totals import DIMENSIONS, Ledger, LogCounts
from streams.engine.ports import Disk
from streams.join.confirm import Confirmation
from streams.join.negatives import Negatives
from streams.join.pending import Clicks
from streams.join.seen import Seen
from streams.join.store import Store
from streams.join.totals.counting import Counting
from streams.join.trail import Trail
from streams.join.watermark import Watermark

IMPRESSIONS: Final = "impressions"
CLICKS: Final = "clicks"
INPUTS: Final = (IMPRESSIONS, CLICKS)
# An impression with ten fields as a struct with its strings, in dict, list and heap.
_CONFLICT_BYTES: Final = 1_200


class FateCounts(msgspec.Struct):
    """What became of the records of one log since it began. `late_by_seal`: late below a seal's floor only."""

    accepted: int = 0
    late: int = 0
    duplicate: int = 0
    rejected: int = 0
    late_by_seal: int = 0


class DecisionCounts(msgspec.Struct):
    """What was decided since the logs began. `lost`: what `--accept-loss` left out."""

    closed: int = 0
    unclicked: int = 0
    billable: int = 0
    repeat: int = 0
    orphan: int = 0
    lost_impressions: int = 0
    lost_clicks: int = 0


class Reached(msgspec.Struct):
    """How far the logs' bounds were acted on, all exclusive, in event time.

    Impressions below `close_ms` are closed, clicks below `orphan_ms` are orphans unless they matched, totals of
    spans that end at or before `final_ms` were reported as final. A transaction acts on a limited number of records, so
    these may lag behind what the bounds allow. Recovery goes exactly this far.
    """

    close_ms: int = NO_BOUND_MS
    orphan_ms: int = NO_BOUND_MS
    final_ms: int = NO_BOUND_MS


class Leader(NamedTuple):
    """Where the record with the highest `ts` of a log is."""

    offset: int
    ts: int


@dataclass(slots=True)
class LogState:
    """One input log: how far it is read, its watermark, held records, the way back for a rebuild, counts by fate."""

    name: str
    watermark: Watermark
    confirmation: Confirmation
    trail: Trail
    next_offset: int = 0
    # Records below were judged by the rules of the version before; see `streams.join.former`.
    moved_offset: int = 0
    fates: FateCounts = field(default_factory=FateCounts)
    # The record with the highest `ts` since this process began: what made later ones late. It decides nothing.
    leader: Leader | None = None

    def counts(self) -> LogCounts:
        """The counts as the ledger shows them."""
        fates, held = self.fates, len(self.confirmation.held)
        return LogCounts(
            consumed=fates.accepted + fates.late + fates.duplicate + fates.rejected + held,
            accepted=fates.accepted,
            late=fates.late,
            duplicate=fates.duplicate,
            rejected=fates.rejected,
            held=held,
            late_by_seal=fates.late_by_seal,
        )


class JoinState:
    """The whole state of the join of one partition. Only the rules in `matching` change it."""

    def __init__(
        self,
        bounds: JoinBounds,
        disk: Disk,
        dimensions: Sequence[str] = DIMENSIONS,
        *,
        partition: int = 0,
        campaign_partitions: int = 1,
        extra: Sequence[ExtraDimension] = (),
    ) -> None:
        negatives = Negatives(bounds.negative_rate)
        self.impressions, self.clicks = (
            LogState(
                name,
                Watermark(bounds.lateness_ms),
                Confirmation(name, partition, bounds.jump_ms),
                Trail(judged_with_ms=bounds.lateness_ms + bounds.dedupe_ms),
            )
            for name in INPUTS
        )
        self.logs = {IMPRESSIONS: self.impressions, CLICKS: self.clicks}
        self.store = Store(disk, negatives.sampled)
        # Impressions refused beside an earlier one of their id: a later one is judged beside them too.
        self.conflicts: Seen[Impression] = Seen()
        self.accepted_clicks = Clicks(bounds)
        self.counting = Counting(disk, dimensions, extra=extra, campaign_partitions=campaign_partitions)
        self.reached = Reached()
        self.decisions = DecisionCounts()
        # Whether anything was decided or counted since this was last set to False.
        self.changed = True

    @property
    def open(self) -> int:
        """Accepted impressions that may still be clicked."""
        return self.impressions.fates.accepted - self.decisions.closed - self.decisions.lost_impressions

    def nbytes(self) -> int:
        """Memory of open impressions, clicks and totals, bytes."""
        conflicts = len(self.conflicts) * _CONFLICT_BYTES
        return self.store.nbytes + conflicts + self.accepted_clicks.nbytes + self.counting.nbytes

    def ledger(self, partition: int, version: int) -> Ledger:
        """The conservation counts as they are now."""
        decisions = self.decisions
        return Ledger(
            join_partition=partition,
            version=version,
            impressions=self.impressions.counts(),
            clicks=self.clicks.counts(),
            open=self.open,
            closed=decisions.closed,
            unclicked=decisions.unclicked,
            billable=decisions.billable,
            repeat=decisions.repeat,
            orphan=decisions.orphan,
            pending=self.accepted_clicks.pending,
            impressions_next_offset=self.impressions.next_offset,
            clicks_next_offset=self.clicks.next_offset,
            impressions_watermark_ms=self.impressions.watermark.ms,
            clicks_watermark_ms=self.clicks.watermark.ms,
            lost_impressions=decisions.lost_impressions,
            lost_clicks=decisions.lost_clicks,
        )

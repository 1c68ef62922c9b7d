"""What of the join outlives its process: the commit's metadata and the checkpoint's manifest."""

from __future__ import annotations

import msgspec

from schemas.bounds import NO_BOUND_MS
from schemas.events import Click
from streams.join.store import SegmentState
from streams.join.totals.journal import QuarterState


class Counts(msgspec.Struct):
    """Ledger counts since the log began; `consumed` of a log is the sum of its four fates."""

    impressions_accepted: int = 0
    impressions_late: int = 0
    impressions_duplicate: int = 0
    impressions_rejected: int = 0
    clicks_accepted: int = 0
    clicks_late: int = 0
    clicks_duplicate: int = 0
    clicks_rejected: int = 0
    closed: int = 0
    unclicked: int = 0
    billable: int = 0
    repeat: int = 0
    orphan: int = 0
    lost_impressions: int = 0
    lost_clicks: int = 0


class Decided(msgspec.Struct):
    """How far the log's bounds were acted on, all exclusive: impressions closed, clicks given up, totals final.

    Acting is bounded per transaction, so these may lag behind what the bounds allow; recovery goes exactly this far.
    """

    close_ms: int = NO_BOUND_MS
    orphan_ms: int = NO_BOUND_MS
    final_ms: int = NO_BOUND_MS


class Rebuild(msgspec.Struct, frozen=True):
    """Where a log must be read from when no checkpoint is left, and the highest accepted `ts` before that."""

    offset: int
    highest_ms: int


class JoinMark(msgspec.Struct, frozen=True):
    """Commit metadata of a join task: about 700 bytes; the broker refuses more than 4,096."""

    epoch: int
    sequence: int
    digest: str
    decided: Decided
    counts: Counts
    rebuild_impressions: Rebuild
    rebuild_clicks: Rebuild


class JoinSnapshot(msgspec.Struct, frozen=True):
    """The state at a cut, as the manifest holds it; impressions stand in the segments it names."""

    digest: str
    partition: int
    impressions_next: int
    clicks_next: int
    impressions_highest_ms: int
    impressions_floor_ms: int
    clicks_highest_ms: int
    clicks_floor_ms: int
    decided: Decided
    counts: Counts
    segments: list[SegmentState]
    seen_clicks: list[Click]
    waiting_clicks: list[Click]
    quarters: list[QuarterState]
    impressions_trail: list[list[int]]
    clicks_trail: list[list[int]]

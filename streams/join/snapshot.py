"""The snapshot: the whole state of a join at a cut, as the manifest of a checkpoint holds it.

Open impressions and totals are in files on the disk of the fold; the snapshot names these files with their checksums.
"""

from __future__ import annotations

import msgspec

from schemas.codec import unpack
from schemas.errors import StateMismatch
from schemas.events import Click, Impression
from schemas.frame import Frame
from streams.join.confirm import HeldRecord
from streams.join.state import DecisionCounts, FateCounts, JoinState, LogState, Reached
from streams.join.store import SegmentState
from streams.join.totals.journal import QuarterState

# Raise the number when the layout of a manifest, or of a file it names, changes.
_FRAME = Frame(magic=b"clickfold join ", format=b"04\n")


class LogSnapshot(msgspec.Struct, frozen=True):
    """One input at a cut."""

    next_offset: int
    highest_ms: int
    floor_ms: int
    fates: FateCounts
    trail: list[list[int]]
    held: list[HeldRecord]
    moved_offset: int


class JoinSnapshot(msgspec.Struct, frozen=True):
    """The state at a cut."""

    digest: str
    partition: int
    impressions: LogSnapshot
    clicks: LogSnapshot
    reached: Reached
    decisions: DecisionCounts
    segments: list[SegmentState]
    conflicts: list[Impression]
    seen_clicks: list[Click]
    waiting_clicks: list[Click]
    quarters: list[QuarterState]


def take_snapshot(state: JoinState, *, digest: str, partition: int) -> bytes:
    """The state as a checksummed `JoinSnapshot`; the files it names are durable."""
    seen, waiting = state.accepted_clicks.snapshot()
    body = msgspec.msgpack.encode(
        JoinSnapshot(
            digest=digest,
            partition=partition,
            impressions=_log_snapshot(state.impressions),
            clicks=_log_snapshot(state.clicks),
            reached=state.reached,
            decisions=state.decisions,
            segments=state.store.snapshot(),
            conflicts=state.conflicts.events(),
            seen_clicks=seen,
            waiting_clicks=waiting,
            quarters=state.counting.snapshot(),
        )
    )
    return _FRAME.wrap(body)


def read_snapshot(snapshot: bytes, *, partition: int) -> JoinSnapshot:
    """Decodes a snapshot. Raises DamagedState for damaged bytes, StateMismatch for another format or partition."""
    body = _FRAME.unwrap(snapshot, f"the checkpoint of partition {partition}")
    decoded = unpack(body, JoinSnapshot)
    if decoded.partition != partition:
        raise StateMismatch(f"the checkpoint of partition {partition} is that of {decoded.partition}")
    return decoded


def restore_state(state: JoinState, snapshot: JoinSnapshot) -> None:
    """Puts a snapshot into an empty state. Raises DamagedState when a file it names is not what was written."""
    state.store.restore(snapshot.segments)
    for impression in snapshot.conflicts:
        state.conflicts.remember(impression.impression_id, impression)
    state.accepted_clicks.restore(snapshot.seen_clicks, snapshot.waiting_clicks)
    state.counting.restore(snapshot.quarters)
    _restore_log(state.impressions, snapshot.impressions)
    _restore_log(state.clicks, snapshot.clicks)
    state.reached = snapshot.reached
    state.decisions = snapshot.decisions


def _log_snapshot(log: LogState) -> LogSnapshot:
    return LogSnapshot(
        next_offset=log.next_offset,
        highest_ms=log.watermark.highest_ms,
        floor_ms=log.watermark.floor_ms,
        fates=log.fates,
        trail=log.trail.snapshot(),
        held=log.confirmation.held,
        moved_offset=log.moved_offset,
    )


def _restore_log(log: LogState, snapshot: LogSnapshot) -> None:
    log.next_offset = snapshot.next_offset
    log.watermark.accept(snapshot.highest_ms)
    log.watermark.floor_ms = snapshot.floor_ms
    log.fates = snapshot.fates
    log.trail.restore(snapshot.trail)
    log.confirmation.held = snapshot.held
    log.moved_offset = snapshot.moved_offset

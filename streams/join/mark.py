"""The mark: what the commit metadata of a join task says, so that recovery comes to the same decisions."""

from __future__ import annotations

import msgspec

from schemas.bounds import JoinBounds
from schemas.codec import decode, encode
from schemas.errors import StateMismatch
from schemas.totals import MINUTE_MS, QUARTER_MS
from streams.join.state import DecisionCounts, FateCounts, JoinState, LogState, Reached


class LogMark(msgspec.Struct, frozen=True):
    """One input at a commit: its counts, and where to read it from when no checkpoint is left.

    `rebuild_highest_ms` is the highest on-time `ts` before `rebuild_offset`. Records below `moved_offset` were judged
    by the rules of the version before.
    """

    fates: FateCounts
    rebuild_offset: int
    rebuild_highest_ms: int
    moved_offset: int = 0


class JoinMark(msgspec.Struct, frozen=True):
    """Commit metadata of a join task: about 800 bytes; the broker refuses more than 4,096.

    Bad records of `ads.seals` below `seals_next_offset` have their dead letter. `finished`: both logs have ended, and
    what waited for their ends is decided.
    """

    epoch: int
    sequence: int
    digest: str
    reached: Reached
    impressions: LogMark
    clicks: LogMark
    decisions: DecisionCounts
    seals_next_offset: int = 0
    finished: bool = False

    def of(self, log: str) -> LogMark:
        """One of the inputs."""
        return self.impressions if log == "impressions" else self.clicks


def make_mark(
    state: JoinState,
    bounds: JoinBounds,
    *,
    epoch: int,
    sequence: int,
    digest: str,
    seals_next_offset: int,
    finished: bool,
) -> bytes:
    """The mark of the state as it is now."""
    impressions_ms, clicks_ms = _matters_from(state, bounds)
    return encode(
        JoinMark(
            epoch=epoch,
            sequence=sequence,
            digest=digest,
            reached=state.reached,
            impressions=_log_mark(state.impressions, impressions_ms),
            clicks=_log_mark(state.clicks, clicks_ms),
            decisions=state.decisions,
            seals_next_offset=seals_next_offset,
            finished=finished,
        )
    )


def read_mark(mark: bytes) -> JoinMark:
    """Decodes a mark. Raises StateMismatch when the bytes are not one of this program."""
    try:
        return decode(mark, JoinMark)
    except ValueError as error:
        raise StateMismatch(
            f"the committed offsets carry metadata that no join of this version wrote ({error}); use the program that "
            "wrote it, or start a new run with another --group"
        ) from error


def _matters_from(state: JoinState, bounds: JoinBounds) -> tuple[int, int]:
    """The lowest `ts` of each input that an open impression, a pending click, a duplicate or a total may still need."""
    reached = state.reached
    # A quarter-hour may end 15 minutes after a record that it counts, and a minute one minute after.
    counted_ms = reached.final_ms - reached.final_ms % QUARTER_MS - MINUTE_MS
    impressions_ms = min(
        counted_ms - bounds.window_ms,
        reached.close_ms,
        state.impressions.watermark.ms - max(bounds.dedupe_ms, bounds.skew_ms + bounds.window_ms),
    )
    clicks_ms = min(
        counted_ms - bounds.window_ms - bounds.skew_ms,
        reached.close_ms - bounds.skew_ms,
        reached.orphan_ms,
        state.clicks.watermark.ms - bounds.dedupe_ms,
    )
    return impressions_ms, clicks_ms


def _log_mark(log: LogState, matters_from_ms: int) -> LogMark:
    """Where to rebuild from. When nothing that was read matters any more: from here."""
    block = log.trail.rebuild_from(matters_from_ms, holding=bool(log.confirmation.held))
    return LogMark(log.fates, *(block or (log.next_offset, log.watermark.highest_ms)), moved_offset=log.moved_offset)

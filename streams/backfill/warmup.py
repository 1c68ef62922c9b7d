"""Where a replay must begin to read, so that it may vouch for all minutes above its range's start.

The ledger of live work holds cuts: offsets of both inputs with both lateness bounds there. Walking back from the
range's start, cuts are looked for (`streams.backfill.ownership` says why): the last one before every record that can
matter, the last one a dedupe horizon before that, and so on, as many horizons as are waited out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from schemas.bounds import JoinBounds
from schemas.totals import Ledger
from streams.backfill.ownership import HORIZONS, Begin, Span

_INPUTS: Final = ("impressions", "clicks")
# Cuts nearer than this in event time to the one kept before are left out: a week of seconds would fill memory.
_THIN_MS: Final = 10_000


class LogCut(NamedTuple):
    """One input at a cut: next offset, lateness bound, and a bound of all `ts` accepted before; None if none was."""

    offset: int
    watermark_ms: int
    highest_ms: int | None


class LedgerCut(NamedTuple):
    """Both inputs at one commit of live work."""

    impressions: LogCut
    clicks: LogCut

    def of(self, log: str) -> LogCut:
        """One of the inputs."""
        return self.impressions if log == "impressions" else self.clicks


def ledger_cuts(ledgers: Iterable[Ledger], *, lateness_ms: int, thin_ms: int = _THIN_MS) -> list[LedgerCut]:
    """The cuts of a partition's ledger in log order; `lateness_ms` is that of the live work that wrote it.

    Live work that begins anew reads the same offsets again: cuts of all owners stand beside each other, each for
    itself as good as another.
    """
    found: list[LedgerCut] = []
    for one in ledgers:
        cut = LedgerCut(
            _log_cut(one.impressions_next_offset, one.impressions_watermark_ms, one.impressions.accepted, lateness_ms),
            _log_cut(one.clicks_next_offset, one.clicks_watermark_ms, one.clicks.accepted, lateness_ms),
        )
        if not found or any(
            abs(cut.of(log).watermark_ms - found[-1].of(log).watermark_ms) >= thin_ms for log in _INPUTS
        ):
            found.append(cut)
    return found


def warm_up(
    cuts: Sequence[LedgerCut],
    *,
    start: Mapping[str, int],
    stop: Mapping[str, int],
    first: Mapping[str, int],
    bounds: JoinBounds,
) -> dict[str, Span] | None:
    """How to read one partition, by input: where to begin, and the range. `first` is the first offset kept.

    None: reading would begin in the middle of a log with nothing known of what was before, so nothing could be owned.
    """

    def spans(begin: Mapping[str, Begin], *looks: LedgerCut) -> dict[str, Span]:
        return {
            log: Span(begin[log], start[log], stop[log], tuple(sorted(look.of(log).offset for look in looks)))
            for log in _INPUTS
        }

    there = [cut for cut in cuts if all(first[log] <= cut.of(log).offset for log in _INPUTS)]
    before = [cut for cut in there if all(cut.of(log).offset <= start[log] for log in _INPUTS)]
    if looks := _looks(before, bounds):
        at = looks[-1]
        return spans({log: Begin(at.of(log).offset, at.of(log).highest_ms) for log in _INPUTS}, *looks[:-1])
    if all(first[log] == 0 for log in _INPUTS):
        return spans({log: Begin(0) for log in _INPUTS})
    # What was before the first offset kept reaches no higher than a later cut says.
    nearest = min(there, key=lambda cut: max(cut.of(log).watermark_ms for log in _INPUTS), default=None)
    if nearest is None:
        return None
    return spans(
        {log: Begin(first[log], nearest.of(log).highest_ms if first[log] else None, known=False) for log in _INPUTS}
    )


def _looks(cuts: Sequence[LedgerCut], bounds: JoinBounds) -> list[LedgerCut]:
    """The cuts to be looked up, last first; empty when there are not as many so far apart."""
    if not cuts:
        return []
    latest = max(cuts, key=lambda cut: sum(cut.of(log).offset for log in _INPUTS))
    # The first owned minute is above the highest of both inputs, which no bound is above.
    from_ms = max(latest.of(log).watermark_ms for log in _INPUTS) - bounds.window_ms
    found = _last(cuts, lambda log: from_ms - (bounds.skew_ms if log == "clicks" else 0))
    looks: list[LedgerCut] = []
    while found is not None:
        looks.append(found)
        if len(looks) == HORIZONS + 1:
            return looks
        found = _last(cuts, lambda log: looks[-1].of(log).watermark_ms - bounds.dedupe_ms)
    return []


def _last(cuts: Sequence[LedgerCut], below_ms: Callable[[str], int]) -> LedgerCut | None:
    """The last cut before which, of each input, nothing at or above `below_ms` was accepted."""

    def fits(cut: LedgerCut) -> bool:
        highest = {log: cut.of(log).highest_ms for log in _INPUTS}
        return all(ms is None or ms < below_ms(log) for log, ms in highest.items())

    return max(filter(fits, cuts), key=lambda cut: sum(cut.of(log).offset for log in _INPUTS), default=None)


def _log_cut(offset: int, watermark_ms: int, accepted: int, lateness_ms: int) -> LogCut:
    # Of a log that a seal lifted the maximum is below that, never above.
    return LogCut(offset, watermark_ms, watermark_ms + lateness_ms if accepted else None)

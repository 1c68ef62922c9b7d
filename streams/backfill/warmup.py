"""Where a replay must begin to read, so that every minute above its range's start is correct.

The ledger of live work holds cuts: the offsets of both inputs, with both lateness bounds there. Going back from the
start of the range, this looks for the last cut before every record that can matter, then for the last cut a dedupe
horizon before that, and so on, for as many horizons as `streams.backfill.ownership` waits out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from schemas.bounds import JoinBounds
from schemas.totals import Ledger
from streams.backfill.ownership import HORIZONS, InputRange, ReadStart
from streams.join.state import INPUTS

# Of cuts nearer than this in event time only the first is kept: a week of one cut a second would fill memory.
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

    A worker that starts again reads the same offsets again, so the cuts of several owners may overlap. Each is valid.
    """
    cuts: list[LedgerCut] = []
    for ledger in ledgers:
        cut = LedgerCut(
            _log_cut(
                ledger.impressions_next_offset,
                ledger.impressions_watermark_ms,
                ledger.impressions.accepted,
                lateness_ms,
            ),
            _log_cut(ledger.clicks_next_offset, ledger.clicks_watermark_ms, ledger.clicks.accepted, lateness_ms),
        )
        if not cuts or any(abs(cut.of(log).watermark_ms - cuts[-1].of(log).watermark_ms) >= thin_ms for log in INPUTS):
            cuts.append(cut)
    return cuts


def warm_up(
    cuts: Sequence[LedgerCut],
    *,
    start: Mapping[str, int],
    stop: Mapping[str, int],
    first: Mapping[str, int],
    bounds: JoinBounds,
) -> dict[str, InputRange] | None:
    """How to read one partition, by input: where to begin, and the range. `first` is the first offset Kafka keeps.

    None when reading would begin in the middle of a log and nothing is known of the records before: no minute could be
    owned.
    """

    def ranges(begin: Mapping[str, ReadStart], *looks: LedgerCut) -> dict[str, InputRange]:
        return {
            log: InputRange(begin[log], start[log], stop[log], tuple(sorted(look.of(log).offset for look in looks)))
            for log in INPUTS
        }

    readable = [cut for cut in cuts if all(first[log] <= cut.of(log).offset for log in INPUTS)]
    before = [cut for cut in readable if all(cut.of(log).offset <= start[log] for log in INPUTS)]
    if looks := _looks(before, bounds):
        begin = looks[-1]
        return ranges({log: ReadStart(begin.of(log).offset, begin.of(log).highest_ms) for log in INPUTS}, *looks[:-1])
    if all(first[log] == 0 for log in INPUTS):
        return ranges({log: ReadStart(0) for log in INPUTS})
    # A cut after the first offset kept bounds what was accepted before it.
    nearest = min(readable, key=lambda cut: max(cut.of(log).watermark_ms for log in INPUTS), default=None)
    if nearest is None:
        return None
    return ranges(
        {log: ReadStart(first[log], nearest.of(log).highest_ms if first[log] else None, known=False) for log in INPUTS}
    )


def _looks(cuts: Sequence[LedgerCut], bounds: JoinBounds) -> list[LedgerCut]:
    """One cut for each horizon and one to begin at, last first; empty when the ledger does not reach back so far."""
    if not cuts:
        return []
    latest = max(cuts, key=lambda cut: sum(cut.of(log).offset for log in INPUTS))
    # The first owned minute is above the highest bound of both inputs.
    from_ms = max(latest.of(log).watermark_ms for log in INPUTS) - bounds.window_ms
    cut = _last(cuts, lambda log: from_ms - (bounds.skew_ms if log == "clicks" else 0))
    looks: list[LedgerCut] = []
    while cut is not None:
        looks.append(cut)
        if len(looks) == HORIZONS + 1:
            return looks
        cut = _last(cuts, lambda log: looks[-1].of(log).watermark_ms - bounds.dedupe_ms)
    return []


def _last(cuts: Sequence[LedgerCut], below_ms: Callable[[str], int]) -> LedgerCut | None:
    """The last cut before which, of each input, nothing at or above `below_ms` was accepted."""

    def fits(cut: LedgerCut) -> bool:
        highest = {log: cut.of(log).highest_ms for log in INPUTS}
        return all(ms is None or ms < below_ms(log) for log, ms in highest.items())

    return max(filter(fits, cuts), key=lambda cut: sum(cut.of(log).offset for log in INPUTS), default=None)


def _log_cut(offset: int, watermark_ms: int, accepted: int, lateness_ms: int) -> LogCut:
    # Where a seal raised the bound, the true maximum is lower than this, never higher.
    return LogCut(offset, watermark_ms, watermark_ms + lateness_ms if accepted else None)

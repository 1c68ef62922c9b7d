"""Where a replay begins to read, so that every minute after the start of its range is correct.

Each record of the ledger is a cut: the offsets of both inputs, and their watermarks there. The first cut that is looked
for is the last one below all records that can be part of a minute of the range. The next one is the last cut a dedupe
horizon below that, and so on, for as many horizons as `streams.backfill.ownership` waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from schemas.bounds import JoinBounds
from schemas.totals import Ledger
from streams.backfill.ownership import HORIZONS, InputRange, ReadStart
from streams.join.state import INPUTS

# Of cuts closer than this in event time only the first is kept. Live work writes about one a second: 600,000 a week.
_MIN_DISTANCE_MS: Final = 10_000


class LogCut(NamedTuple):
    """One input at a cut: its next offset, its watermark, and an upper bound of all `ts` accepted below that offset.

    `highest_ms` is None when nothing was accepted.
    """

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


def ledger_cuts(
    ledgers: Iterable[Ledger], *, lateness_ms: int, min_distance_ms: int = _MIN_DISTANCE_MS
) -> list[LedgerCut]:
    """The cuts of a partition's ledger, in log order. `lateness_ms` is that of the live work that wrote it.

    A worker reads some offsets again after a restart, so the cuts of several owners may overlap. Each one is valid.
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
        if not cuts or any(
            abs(cut.of(log).watermark_ms - cuts[-1].of(log).watermark_ms) >= min_distance_ms for log in INPUTS
        ):
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
    """By input of one partition, where to begin to read, and the range. `first`: the first offset that Kafka keeps.

    None when reading begins in the middle of a log and no cut bounds the records before: no minute would be owned.
    """

    def ranges(read_from: Mapping[str, ReadStart], *horizons: LedgerCut) -> dict[str, InputRange]:
        return {
            log: InputRange(
                read_from[log], start[log], stop[log], tuple(sorted(horizon.of(log).offset for horizon in horizons))
            )
            for log in INPUTS
        }

    readable = [cut for cut in cuts if all(first[log] <= cut.of(log).offset for log in INPUTS)]
    before = [cut for cut in readable if all(cut.of(log).offset <= start[log] for log in INPUTS)]
    if horizons := _horizon_cuts(before, bounds):
        first_cut = horizons[-1]
        return ranges(
            {log: ReadStart(first_cut.of(log).offset, first_cut.of(log).highest_ms) for log in INPUTS}, *horizons[:-1]
        )
    if all(first[log] == 0 for log in INPUTS):
        return ranges({log: ReadStart(0) for log in INPUTS})
    # The lowest cut that Kafka still keeps is an upper bound of all `ts` accepted before the first record.
    lowest = min(readable, key=lambda cut: max(cut.of(log).watermark_ms for log in INPUTS), default=None)
    if lowest is None:
        return None
    return ranges(
        {log: ReadStart(first[log], lowest.of(log).highest_ms if first[log] else None, exact=False) for log in INPUTS}
    )


def _horizon_cuts(cuts: Sequence[LedgerCut], bounds: JoinBounds) -> list[LedgerCut]:
    """The cut at the end of each horizon, and at the end of the list the cut to begin at.

    They go back in time. Empty when the ledger does not reach back so far.
    """
    if not cuts:
        return []
    latest = max(cuts, key=lambda cut: sum(cut.of(log).offset for log in INPUTS))
    # The first owned minute is above the watermarks of both inputs at the start of the range.
    from_ms = max(latest.of(log).watermark_ms for log in INPUTS) - bounds.window_ms
    cut = _last_below(cuts, lambda log: from_ms - (bounds.skew_ms if log == "clicks" else 0))
    found: list[LedgerCut] = []
    while cut is not None:
        found.append(cut)
        if len(found) == HORIZONS + 1:
            return found
        cut = _last_below(cuts, lambda log: found[-1].of(log).watermark_ms - bounds.dedupe_ms)
    return []


def _last_below(cuts: Sequence[LedgerCut], below_ms: Callable[[str], int]) -> LedgerCut | None:
    """The last cut at which only records below `below_ms` were accepted of each input."""

    def fits(cut: LedgerCut) -> bool:
        highest_ms = {log: cut.of(log).highest_ms for log in INPUTS}
        return all(ts_ms is None or ts_ms < below_ms(log) for log, ts_ms in highest_ms.items())

    return max(filter(fits, cuts), key=lambda cut: sum(cut.of(log).offset for log in INPUTS), default=None)


def _log_cut(offset: int, watermark_ms: int, accepted: int, lateness_ms: int) -> LogCut:
    # Where a seal raised the watermark, the true maximum is below this bound.
    return LogCut(offset, watermark_ms, watermark_ms + lateness_ms if accepted else None)

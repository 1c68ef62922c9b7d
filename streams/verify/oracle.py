"""The batch truth: what the join must have decided, computed by loops over whole logs of one partition.

Imports nothing of the join. Slow and obvious on purpose; `verify`, the demo and the tests compare with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import xxhash

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.events import MAX_RECORD_BYTES, Click, Impression, decode_event
from schemas.outcomes import Outcome
from schemas.records import Record
from schemas.rejects import Reason
from schemas.seals import SealRecord, Start
from schemas.totals import DIMENSIONS, MINUTE_MS, QUARTER_MS

Key = tuple[Any, ...]


@dataclass
class LogTruth:
    """What became of one log: accepted events in offset order, counts by fate, rejected (offset, reason)."""

    accepted: list[Any] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rejects: list[tuple[int, Reason]] = field(default_factory=list)
    watermark_ms: int = NO_BOUND_MS


@dataclass
class Truth:
    """Everything decided in one partition. Totals map (minute, *dimensions), campaigns (campaign, quarter)."""

    impressions: LogTruth
    clicks: LogTruth
    outcomes: list[Outcome] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    totals: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    campaigns: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def _fate(record: Record, kind: type[Any], bounds: JoinBounds) -> Any:
    """The decoded event, or the reason it is rejected for by itself."""
    if record.value is None:
        return Reason.TOMBSTONE
    if len(record.value) > MAX_RECORD_BYTES:
        return Reason.TOO_LARGE
    try:
        event = decode_event(record.value, kind)
    except (ValueError, RecursionError):
        return Reason.UNDECODABLE
    if record.key != event.impression_id.encode():
        return Reason.KEY
    if 0 <= record.record_ts_ms < event.ts - bounds.future_ms:
        return Reason.FUTURE
    return event


def read_log(
    records: Iterable[Record], kind: type[Any], floors: Sequence[tuple[int, int]], bounds: JoinBounds
) -> LogTruth:
    """Judges one log by itself, record by record. `floors` are (from offset, lowest bound) of its seals."""
    log = LogTruth()
    seen: dict[str, list[Any]] = defaultdict(list)
    highest = NO_BOUND_MS + bounds.lateness_ms
    for record in records:
        log.counts["consumed"] += 1
        bound = max([highest - bounds.lateness_ms, *(floor for start, floor in floors if start <= record.offset)])
        event = _fate(record, kind, bounds)
        if isinstance(event, Reason):
            log.counts["rejected"] += 1
            log.rejects.append((record.offset, event))
            continue
        if event.ts < bound:
            log.counts["late"] += 1
            log.rejects.append((record.offset, Reason.LATE))
            continue
        own_id = event.impression_id if kind is Impression else event.click_id
        twin = next((other for other in seen[own_id] if other.ts >= bound - bounds.dedupe_ms), None)
        if twin is not None and twin == event:
            log.counts["duplicate"] += 1
        elif twin is not None:
            log.counts["rejected"] += 1
            log.rejects.append((record.offset, Reason.CONFLICT))
        else:
            log.counts["accepted"] += 1
            log.accepted.append(event)
            seen[own_id].append(event)
            highest = max(highest, event.ts)
    log.watermark_ms = max([highest - bounds.lateness_ms, *(floor for _, floor in floors)])
    return log


def standing_floors(seals: Iterable[SealRecord]) -> dict[str, list[tuple[int, int]]]:
    """Of `ads.seals` in log order, the (next offset, floor) of each input; a replaced writer's seals are void."""
    floors: dict[str, list[tuple[int, int]]] = {"impressions": [], "clicks": []}
    epoch = 0
    for seal in seals:
        if isinstance(seal, Start):
            epoch = max(epoch, seal.epoch)
        elif seal.epoch >= epoch:
            floors[seal.input].append((seal.next_offset, seal.floor_ms))
    return floors


def truth(
    impressions: Iterable[Record],
    clicks: Iterable[Record],
    bounds: JoinBounds,
    *,
    seals: Iterable[SealRecord] = (),
    partition: int = 0,
    ended: bool = True,
    close_below_ms: int = END_OF_TIME_MS,
    give_up_below_ms: int = END_OF_TIME_MS,
) -> Truth:
    """What one partition must come to. With `ended`, open impressions close and pending clicks are orphans.

    Impressions close and clicks are given up only below these bounds: a worker acts on them some time after it may.
    """
    floors = standing_floors(seals)
    shown = read_log(impressions, Impression, floors["impressions"], bounds)
    clicked = read_log(clicks, Click, floors["clicks"], bounds)
    result = Truth(shown, clicked)
    close_ms = min(close_below_ms, END_OF_TIME_MS if ended else clicked.watermark_ms - bounds.window_ms)
    give_up_ms = min(give_up_below_ms, END_OF_TIME_MS if ended else shown.watermark_ms - bounds.skew_ms)
    by_id: dict[str, list[Impression]] = defaultdict(list)
    for impression in shown.accepted:
        by_id[impression.impression_id].append(impression)
        _count(result, impression, impression.ts, impressions=1, **_expected(impression))
    billed: set[tuple[str, int]] = set()
    for click in clicked.accepted:
        delays = ((click.ts - one.ts, one) for one in by_id[click.impression_id])
        match = next((one for delay, one in delays if -bounds.skew_ms <= delay <= bounds.window_ms), None)
        if match is not None:
            repeat = (match.impression_id, match.ts) in billed
            billed.add((match.impression_id, match.ts))
            result.outcomes.append(_clicked(match, click, repeat=repeat, partition=partition))
            result.counts["repeat" if repeat else "billable"] += 1
            if repeat:
                _count(result, match, click.ts, repeats=1)
            else:
                _count(result, match, click.ts, clicks=1, spend_micros=match.price_micros)
                _count(result, match, match.ts, attributed_clicks=1, attributed_spend_micros=match.price_micros)
        elif click.ts < give_up_ms:
            result.outcomes.append(_orphan(click, partition))
            result.counts["orphan"] += 1
        else:
            result.counts["pending"] += 1
    for impression in shown.accepted:
        if impression.ts >= close_ms:
            result.counts["open"] += 1
            continue
        result.counts["closed"] += 1
        if (impression.impression_id, impression.ts) in billed:
            continue
        result.counts["unclicked"] += 1
        # Python compares an int with a float exactly, so this is hash / 2^64 < r without rounding.
        if xxhash.xxh3_64_intdigest(impression.impression_id.encode()) < bounds.negative_rate * 2**64:
            result.outcomes.append(_outcome(impression, "unclicked", partition, 0, weight=1 / bounds.negative_rate))
    return result


def _expected(impression: Impression) -> dict[str, int]:
    share = impression.pctr or 0.0
    return {
        "expected_clicks_nano": round(share * 1e9),
        "expected_spend_micros": round(share * impression.price_micros),
    }


def _count(result: Truth, impression: Impression, ts_ms: int, **measures: int) -> None:
    dimensions = tuple(getattr(impression, name) or "" for name in DIMENSIONS)
    minute = ts_ms - ts_ms % MINUTE_MS
    result.totals[minute, *dimensions].update(measures)
    result.campaigns[impression.campaign_id, ts_ms - ts_ms % QUARTER_MS].update(measures)


def _outcome(impression: Impression, kind: str, partition: int, label: int | None, **more: Any) -> Outcome:
    fields = {**msgspec.structs.asdict(impression), "kind": kind, "join_partition": partition, "label": label, **more}
    return Outcome(**fields)


def _clicked(impression: Impression, click: Click, *, repeat: bool, partition: int) -> Outcome:
    about = {"click_id": click.click_id, "click_ts": click.ts, "delay_ms": click.ts - impression.ts}
    if repeat:
        return _outcome(impression, "repeat", partition, None, **about)
    return _outcome(impression, "click", partition, 1, **about)


def _orphan(click: Click, partition: int) -> Outcome:
    return Outcome(
        kind="orphan",
        impression_id=click.impression_id,
        join_partition=partition,
        click_id=click.click_id,
        click_ts=click.ts,
    )

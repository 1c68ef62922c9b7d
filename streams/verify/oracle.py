"""The batch truth: what the join must decide, computed by plain loops over the whole logs of one partition.

It imports nothing of the join. It is slow, so that it is easy to read. `verify`, the demo and the tests compare with
it.
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
    """One log judged: its accepted events in offset order, counts by fate, and (offset, reason) of each dead letter."""

    accepted: list[Any] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rejects: list[tuple[int, Reason]] = field(default_factory=list)
    watermark_ms: int = NO_BOUND_MS


@dataclass
class Truth:
    """All decisions of one partition. `totals` by (minute, *dimensions), `campaigns` by (campaign, quarter-hour)."""

    impressions: LogTruth
    clicks: LogTruth
    outcomes: list[Outcome] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    totals: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    campaigns: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def _fate(record: Record, kind: type[Any], bounds: JoinBounds) -> Any:
    """The decoded event, or the reason that rejects the record whatever the rest of the log holds."""
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
    """Judges one log, record by record.

    `floors`: of each seal, the offset from which it holds and the watermark it raises the log to, in ms.
    """
    log = LogTruth()
    seen: dict[str, list[Any]] = defaultdict(list)
    highest_ms = NO_BOUND_MS + bounds.lateness_ms
    for record in records:
        log.counts["consumed"] += 1
        late_below_ms = max(
            [highest_ms - bounds.lateness_ms, *(floor_ms for start, floor_ms in floors if start <= record.offset)]
        )
        event = _fate(record, kind, bounds)
        if isinstance(event, Reason):
            log.counts["rejected"] += 1
            log.rejects.append((record.offset, event))
            continue
        if event.ts < late_below_ms:
            log.counts["late"] += 1
            log.rejects.append((record.offset, Reason.LATE))
            continue
        own_id = event.impression_id if kind is Impression else event.click_id
        earlier = next((other for other in seen[own_id] if other.ts >= late_below_ms - bounds.dedupe_ms), None)
        if earlier is not None and earlier == event:
            log.counts["duplicate"] += 1
        elif earlier is not None:
            log.counts["rejected"] += 1
            log.rejects.append((record.offset, Reason.CONFLICT))
        else:
            log.counts["accepted"] += 1
            log.accepted.append(event)
            seen[own_id].append(event)
            highest_ms = max(highest_ms, event.ts)
    log.watermark_ms = max([highest_ms - bounds.lateness_ms, *(floor_ms for _, floor_ms in floors)])
    return log


def valid_floors(seals: Iterable[SealRecord]) -> dict[str, list[tuple[int, int]]]:
    """By input, (next offset, floor in ms) of each seal, given `ads.seals` in log order.

    After a start record, seals of lower epochs are void.
    """
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
    orphan_below_ms: int = END_OF_TIME_MS,
) -> Truth:
    """What the join of one partition must decide. With `ended`, open impressions close and pending clicks are orphans.

    Only impressions below `close_below_ms` close, and only clicks below `orphan_below_ms` become orphans. A worker
    decides later than its logs allow: give the bounds that it has reached.
    """
    floors = valid_floors(seals)
    impressions_log = read_log(impressions, Impression, floors["impressions"], bounds)
    clicks_log = read_log(clicks, Click, floors["clicks"], bounds)
    result = Truth(impressions_log, clicks_log)
    close_ms = min(close_below_ms, END_OF_TIME_MS if ended else clicks_log.watermark_ms - bounds.window_ms)
    orphan_ms = min(orphan_below_ms, END_OF_TIME_MS if ended else impressions_log.watermark_ms - bounds.skew_ms)
    by_id: dict[str, list[Impression]] = defaultdict(list)
    for impression in impressions_log.accepted:
        by_id[impression.impression_id].append(impression)
        _count(result, impression, impression.ts, impressions=1, **_expected(impression))
    billed: set[tuple[str, int]] = set()
    for click in clicks_log.accepted:
        delays = ((click.ts - impression.ts, impression) for impression in by_id[click.impression_id])
        match = next(
            (impression for delay_ms, impression in delays if -bounds.skew_ms <= delay_ms <= bounds.window_ms), None
        )
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
        elif click.ts < orphan_ms:
            result.outcomes.append(_orphan(click, partition))
            result.counts["orphan"] += 1
        else:
            result.counts["pending"] += 1
    for impression in impressions_log.accepted:
        if impression.ts >= close_ms:
            result.counts["open"] += 1
            continue
        result.counts["closed"] += 1
        if (impression.impression_id, impression.ts) in billed:
            continue
        result.counts["unclicked"] += 1
        # Python compares an int with a float exactly, so this is hash / 2^64 < rate without rounding.
        if xxhash.xxh3_64_intdigest(impression.impression_id.encode()) < bounds.negative_rate * 2**64:
            result.outcomes.append(_outcome(impression, "unclicked", partition, 0, weight=1 / bounds.negative_rate))
    return result


def _expected(impression: Impression) -> dict[str, int]:
    pctr = impression.pctr or 0.0
    return {
        "expected_clicks_nano": round(pctr * 1e9),
        "expected_spend_micros": round(pctr * impression.price_micros),
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

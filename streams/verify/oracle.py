"""The batch truth: what the join must decide, computed by plain loops over the whole logs of one partition.

It imports nothing of the join. It is slow, so that it is easy to read. `verify`, the demo and the tests compare with
it.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec
import xxhash

from schemas.bounds import END_OF_TIME_MS, NO_BOUND_MS, JoinBounds
from schemas.dimensions import ExtraDimension, extra_names
from schemas.events import Click, Impression
from schemas.outcomes import Outcome
from schemas.reading import Unreadable, read_click, read_impression
from schemas.records import Record
from schemas.rejects import Reason
from schemas.seals import Seal, SealRecord, Start
from schemas.totals import DIMENSIONS, MINUTE_MS, QUARTER_MS

Key = tuple[Any, ...]
# Told of each record, in the order of decisions: its input, its offset, and `accepted`, `duplicate` or its reason.
Note = Callable[[str, int, str], None]
# So many records for or against a record far ahead of its log decide about it.
EVIDENCE: Final = 10


@dataclass
class LogTruth:
    """One log judged: its accepted events in offset order, counts by fate, and (offset, reason) of each dead letter."""

    accepted: list[Any] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rejects: list[tuple[int, Reason]] = field(default_factory=list)
    watermark_ms: int = NO_BOUND_MS


@dataclass
class Truth:
    """All decisions of one partition. `totals` by (minute, *dimensions), `campaigns` by (campaign, quarter-hour).

    Extra dimensions follow the others.
    """

    impressions: LogTruth
    clicks: LogTruth
    outcomes: list[Outcome] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    totals: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    campaigns: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    extra: Sequence[ExtraDimension] = ()

    def decided(self) -> list[Outcome]:
        """The outcomes that ClickHouse keeps: all but `shown`, which are no decisions."""
        return [outcome for outcome in self.outcomes if outcome.kind != "shown"]


@dataclass(frozen=True, slots=True)
class Unmapped(Record):
    """A record that the mapping refuses by which its input is read, for this reason."""

    reason: Reason = Reason.MAPPING


def _judge_alone(record: Record, kind: type[Any], bounds: JoinBounds) -> Any:
    """The decoded event, or the reason it is rejected for by itself."""
    event: Any
    if isinstance(record, Unmapped):
        return record.reason
    if kind is Impression:
        shown = read_impression(record.value)
        event = shown if isinstance(shown, Unreadable) else shown.impression
    else:
        event = read_click(record.value)
    if isinstance(event, Unreadable):
        return event.reason
    if record.key != event.impression_id.encode():
        return Reason.KEY
    if 0 <= record.record_ts_ms < event.ts - bounds.future_ms:
        return Reason.FUTURE
    return event


@dataclass
class _Held:
    """A record that waits for confirmation: how many records after it are near or above it, and how many below."""

    offset: int
    event: Any
    near: int = 0
    below: int = 0


class _LogJudge:
    """Judges one log by itself, record by record."""

    def __init__(
        self, kind: type[Any], bounds: JoinBounds, highest_before_ms: int | None, note: Callable[[int, str], None]
    ) -> None:
        self.truth = LogTruth()
        self._note = note
        self._kind = kind
        self._bounds = bounds
        self._seen: dict[str, list[Any]] = defaultdict(list)
        self._held: list[_Held] = []
        self._highest_ms = NO_BOUND_MS + bounds.lateness_ms if highest_before_ms is None else highest_before_ms
        self._floor_ms = NO_BOUND_MS

    def read(self, record: Record) -> None:
        """The next record of the log."""
        self.truth.counts["consumed"] += 1
        event = _judge_alone(record, self._kind, self._bounds)
        if isinstance(event, Reason):
            self._reject(record.offset, event)
            return
        for held in self._held:
            if event.ts >= held.event.ts - self._bounds.jump_ms:
                held.near += 1
            else:
                held.below += 1
        if self._bounds.jump_ms and event.ts > self._reference_ms() + self._bounds.jump_ms:
            self._held.append(_Held(record.offset, event))
        else:
            self._judge(record.offset, event)
        while decided := [held for held in self._held if self._is_decided(held)]:
            held = decided[0]
            self._held.remove(held)
            if held.below >= EVIDENCE:
                self._reject(held.offset, Reason.FUTURE)
            else:
                self._judge(held.offset, held.event)

    def seal(self, seal: Seal) -> None:
        """A seal applies: what it confirms comes before its floor."""

        def confirmed(held: _Held) -> bool:
            reference_ms = max(self._reference_ms(), seal.floor_ms)
            return bool(held.event.ts <= max(reference_ms + self._bounds.jump_ms, seal.confirmed_ms))

        while waiting := [held for held in self._held if confirmed(held)]:
            self._held.remove(waiting[0])
            self._judge(waiting[0].offset, waiting[0].event)
        self._floor_ms = max(self._floor_ms, seal.floor_ms)

    def end(self) -> None:
        """The log has ended: the majority of what was seen decides about what waits."""
        for held in self._held:
            if held.below > held.near:
                self._reject(held.offset, Reason.FUTURE)
            else:
                self._judge(held.offset, held.event)
        self._held.clear()

    def result(self) -> LogTruth:
        """What became of the log so far."""
        self.truth.counts["held"] = len(self._held)
        self.truth.watermark_ms = self._bound_ms()
        return self.truth

    def _is_decided(self, held: _Held) -> bool:
        near = held.event.ts <= self._reference_ms() + self._bounds.jump_ms
        return near or held.near >= EVIDENCE or held.below >= EVIDENCE

    def _reference_ms(self) -> int:
        return max(self._highest_ms, self._floor_ms)

    def _bound_ms(self) -> int:
        return max(self._highest_ms - self._bounds.lateness_ms, self._floor_ms)

    def _reject(self, offset: int, reason: Reason) -> None:
        self.truth.counts["late" if reason is Reason.LATE else "rejected"] += 1
        self.truth.rejects.append((offset, reason))
        self._note(offset, str(reason))

    def _judge(self, offset: int, event: Any) -> None:
        """Late, duplicate, conflict or accepted. Every one raises the maximum; a late one cannot raise the bound."""
        bound_ms, own_bound_ms = self._bound_ms(), self._highest_ms - self._bounds.lateness_ms
        self._highest_ms = max(self._highest_ms, event.ts)
        if event.ts < bound_ms:
            self.truth.counts["late_by_seal"] += event.ts >= own_bound_ms
            self._reject(offset, Reason.LATE)
            return
        own_id = event.impression_id if self._kind is Impression else event.click_id
        twins = [other for other in self._seen[own_id] if abs(other.ts - event.ts) <= self._bounds.dedupe_ms]
        self._seen[own_id].append(event)
        if event in twins:
            self.truth.counts["duplicate"] += 1
            self._note(offset, "duplicate")
        elif twins:
            self._reject(offset, Reason.CONFLICT)
        else:
            self.truth.counts["accepted"] += 1
            self.truth.accepted.append(event)
            self._note(offset, "accepted")


def read_log(
    records: Iterable[Record],
    kind: type[Any],
    seals: Sequence[Seal],
    bounds: JoinBounds,
    *,
    ended: bool,
    highest_before_ms: int | None = None,
    note: Callable[[int, str], None] = lambda _offset, _fate: None,
) -> LogTruth:
    """What becomes of one log. `seals` are its own; those behind its last record count as well.

    `highest_before_ms`: the highest on-time `ts` before the first of the records, if there were any.
    """
    log = _LogJudge(kind, bounds, highest_before_ms, note)
    waiting = deque(sorted(seals, key=lambda seal: (seal.next_offset, seal.floor_ms, seal.confirmed_ms)))
    for record in records:
        while waiting and waiting[0].next_offset <= record.offset:
            log.seal(waiting.popleft())
        log.read(record)
    for seal in waiting:
        log.seal(seal)
    if ended:
        log.end()
    return log.result()


def valid_seals(seals: Iterable[SealRecord]) -> dict[str, list[Seal]]:
    """Of `ads.seals` in log order, the seals of each input; a replaced writer's seals are void."""
    valid: dict[str, list[Seal]] = {"impressions": [], "clicks": []}
    epoch = 0
    for seal in seals:
        if isinstance(seal, Start):
            epoch = max(epoch, seal.epoch)
        elif seal.epoch >= epoch:
            valid[seal.input].append(seal)
    return valid


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
    highest_before_ms: Mapping[str, int] | None = None,
    note: Note = lambda _log, _offset, _fate: None,
    extra: Sequence[ExtraDimension] = (),
) -> Truth:
    """What the join of one partition must decide. With `ended`, open impressions close and pending clicks are orphans.

    Only impressions below `close_below_ms` close, and only clicks below `orphan_below_ms` become orphans. A worker
    decides later than its logs allow: give the bounds that it has reached.
    """
    valid = valid_seals(seals)
    before_ms = highest_before_ms or {}
    impressions_log = read_log(
        impressions,
        Impression,
        valid["impressions"],
        bounds,
        ended=ended,
        highest_before_ms=before_ms.get("impressions"),
        note=partial(note, "impressions"),
    )
    clicks_log = read_log(
        *(clicks, Click, valid["clicks"], bounds),
        ended=ended,
        highest_before_ms=before_ms.get("clicks"),
        note=partial(note, "clicks"),
    )
    result = Truth(impressions_log, clicks_log, extra=extra)
    close_ms = min(close_below_ms, END_OF_TIME_MS if ended else clicks_log.watermark_ms - bounds.window_ms)
    orphan_ms = min(orphan_below_ms, END_OF_TIME_MS if ended else impressions_log.watermark_ms - bounds.skew_ms)
    by_id: dict[str, list[Impression]] = defaultdict(list)
    for impression in impressions_log.accepted:
        if _is_sampled(impression, bounds):
            result.outcomes.append(_sampled(impression, "shown", None, bounds, partition))
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
        if _is_sampled(impression, bounds):
            result.outcomes.append(_sampled(impression, "unclicked", 0, bounds, partition))
    return result


def _is_sampled(impression: Impression, bounds: JoinBounds) -> bool:
    # Python compares an int with a float exactly, so this is hash / 2^64 < rate without rounding.
    return xxhash.xxh3_64_intdigest(impression.impression_id.encode()) < bounds.negative_rate * 2**64


def _expected(impression: Impression) -> dict[str, int]:
    pctr = impression.pctr or 0.0
    return {
        "expected_clicks_nano": round(pctr * 1e9),
        "expected_spend_micros": round(pctr * impression.price_micros),
    }


def _count(result: Truth, impression: Impression, ts_ms: int, **measures: int) -> None:
    known = tuple(getattr(impression, name) or "" for name in DIMENSIONS)
    dimensions = (*known, *extra_names(impression, result.extra))
    minute = ts_ms - ts_ms % MINUTE_MS
    result.totals[minute, *dimensions].update(measures)
    result.campaigns[impression.campaign_id, ts_ms - ts_ms % QUARTER_MS].update(measures)


def _outcome(impression: Impression, kind: str, partition: int, label: int | None, **more: Any) -> Outcome:
    fields = {**msgspec.structs.asdict(impression), "kind": kind, "join_partition": partition, "label": label, **more}
    return Outcome(**fields)


def _sampled(impression: Impression, kind: str, label: int | None, bounds: JoinBounds, partition: int) -> Outcome:
    return _outcome(impression, kind, partition, label, weight=1 / bounds.negative_rate)


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

"""What became of the records of one id, by the oracle of `verify` over these records alone.

Whether a record is late depends on all records before it, and so does one that is far ahead of its log. These two are
taken as the join has decided them: from its dead letters. All else follows from the records of the id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from schemas.bounds import JoinBounds
from schemas.dimensions import ExtraDimension
from schemas.events import Click, Impression
from schemas.outcomes import Outcome
from schemas.reading import Unreadable, event_of
from schemas.records import Record
from schemas.rejects import Reason, Rejected
from streams.join.state import CLICKS, IMPRESSIONS, Reached
from streams.trace.answer import ClickDecision, Fate, ImpressionDecision, Place
from streams.verify.oracle import Truth, truth

# By input and offset.
Spot = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Decided:
    """How far the join has decided one partition.

    `next_offsets`: the first record of each input that is not committed. `highest_ms`: of each input in which records
    wait for confirmation, an upper bound of all `ts` that were judged. `extra`: its extra dimensions.
    """

    partition: int
    next_offsets: Mapping[str, int]
    reached: Reached
    highest_ms: Mapping[str, int]
    extra: Sequence[ExtraDimension] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """The fate of each record, and the oracle's truth of those that were judged."""

    fates: dict[Spot, Fate]
    truth: Truth
    events: dict[Spot, Impression | Click]


def judge(
    found: Mapping[str, Sequence[Record]],
    letters: Mapping[Spot, tuple[Rejected, Place]],
    bounds: JoinBounds,
    decided: Decided,
) -> Judgement:
    """The fates of these records, in log order by input. `letters`: the dead letters of them, with their places."""
    fates: dict[Spot, Fate] = {}
    events: dict[Spot, Impression | Click] = {}
    judged: dict[str, list[Record]] = {IMPRESSIONS: [], CLICKS: []}
    for log, records in found.items():
        for record in records:
            spot = log, record.offset
            event = event_of(log, record.value)
            if not isinstance(event, Unreadable):
                events[spot] = event
            letter = letters.get(spot)
            if record.offset >= decided.next_offsets[log]:
                fates[spot] = Fate("not_read")
            elif letter is not None and letter[0].reason in (Reason.LATE, Reason.FUTURE):
                fates[spot] = _refused(*letter)
            elif spot in events and letter is None and events[spot].ts > decided.highest_ms.get(log, events[spot].ts):
                # Every record that was judged is at or below that bound.
                fates[spot] = Fate("held")
            else:
                judged[log].append(record)
    by_oracle: dict[Spot, str] = {}

    def note(log: str, offset: int, fate: str) -> None:
        by_oracle[log, offset] = fate

    # No record is held here: what the join held has its fate already.
    alone = msgspec.structs.replace(bounds, jump_ms=0)
    result = _truth(judged, alone, decided, note)
    contradicted = {spot for spot, fate in by_oracle.items() if fate == "accepted" and spot in letters}
    if contradicted:
        # What refused it is not among these records: a click with this click id and another impression, for one.
        kept = {log: [each for each in of if (log, each.offset) not in contradicted] for log, of in judged.items()}
        result = _truth(kept, alone, decided, note)
    for log, records in judged.items():
        for record in records:
            spot = log, record.offset
            letter = letters.get(spot)
            twin = _twin(spot, by_oracle, events, bounds)
            if letter is not None:
                fates[spot] = msgspec.structs.replace(_refused(*letter), twin=twin)
            else:
                unread = event_of(log, record.value)
                detail = unread.detail if isinstance(unread, Unreadable) else ""
                fates[spot] = Fate(by_oracle[spot], detail, twin=twin)
    return Judgement(fates, result, events)


def _truth(judged: Mapping[str, Sequence[Record]], bounds: JoinBounds, decided: Decided, note: Any) -> Truth:
    return truth(
        judged[IMPRESSIONS],
        judged[CLICKS],
        bounds,
        partition=decided.partition,
        close_below_ms=decided.reached.close_ms,
        orphan_below_ms=decided.reached.orphan_ms,
        note=note,
        extra=decided.extra,
    )


def _refused(letter: Rejected, place: Place) -> Fate:
    return Fate(str(letter.reason), letter.detail, place)


def _twin(
    spot: Spot, by_oracle: Mapping[Spot, str], events: Mapping[Spot, Impression | Click], bounds: JoinBounds
) -> int | None:
    """The first earlier record that has the same id, for a duplicate or a conflict."""
    if by_oracle[spot] not in ("duplicate", "conflict"):
        return None
    log, offset = spot
    own = events[spot]
    for (other_log, other), event in sorted(events.items(), key=lambda each: each[0][1]):
        if other_log != log or other >= offset or by_oracle.get((log, other)) == "late" or _id(event) != _id(own):
            continue
        if abs(event.ts - own.ts) <= bounds.dedupe_ms and (by_oracle[spot] == "conflict" or event == own):
            return other
    return None


def _id(event: Impression | Click) -> str:
    return event.click_id if isinstance(event, Click) else event.impression_id


def accepted(judgement: Judgement, log: str) -> list[tuple[int, Any]]:
    """(offset, event) of the accepted records of an input, in log order."""
    return sorted(
        (offset, judgement.events[each, offset])
        for (each, offset), fate in judgement.fates.items()
        if each == log and fate.name == "accepted"
    )


def impression_decisions(judgement: Judgement, bounds: JoinBounds, decided: Decided) -> list[ImpressionDecision]:
    """What was decided about each accepted impression."""
    outcomes = judgement.truth.outcomes
    billed = {outcome.ts for outcome in outcomes if outcome.kind == "click"}
    sampled = {outcome.ts for outcome in outcomes if outcome.kind == "shown"}
    close_ms = decided.reached.close_ms

    def kind(event: Impression) -> str:
        if event.ts in billed:
            return "clicked"
        return "unclicked" if event.ts < close_ms else "open"

    return [
        ImpressionDecision(
            offset,
            event.ts,
            kind(event),
            event.ts in sampled,
            closes_at_ms=event.ts + bounds.window_ms,
            clicks_awaited_from_ms=close_ms + bounds.window_ms,
        )
        for offset, event in accepted(judgement, IMPRESSIONS)
    ]


def click_decisions(judgement: Judgement, bounds: JoinBounds, decided: Decided) -> list[ClickDecision]:
    """What was decided about each accepted click."""
    made: dict[tuple[str, int], Outcome] = {
        (outcome.click_id or "", outcome.click_ts or 0): outcome
        for outcome in judgement.truth.outcomes
        if outcome.click_id is not None
    }
    shown = accepted(judgement, IMPRESSIONS)
    return [
        _click_decision(offset, click, made.get((click.click_id, click.ts)), shown, bounds, decided)
        for offset, click in accepted(judgement, CLICKS)
    ]


def _click_decision(
    offset: int,
    click: Click,
    made: Outcome | None,
    shown: Sequence[tuple[int, Impression]],
    bounds: JoinBounds,
    decided: Decided,
) -> ClickDecision:
    at, delay_ms = None, None
    if made is not None and made.delay_ms is not None:
        at, delay_ms = next(place for place, event in shown if event.ts == made.ts), made.delay_ms
    elif shown:
        at, nearest = min(shown, key=lambda each: abs(click.ts - each[1].ts))
        delay_ms = click.ts - nearest.ts
    return ClickDecision(
        offset,
        click.click_id,
        click.ts,
        made.kind if made is not None else "pending",
        at,
        delay_ms,
        price_micros=(made.price_micros or 0) if made is not None and made.kind == "click" else 0,
        orphan_at_ms=click.ts + bounds.skew_ms,
        impressions_awaited_from_ms=decided.reached.orphan_ms + bounds.skew_ms,
    )

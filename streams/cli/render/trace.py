"""The answer of `clickfold trace` in words, one sentence a line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from schemas.events import MAX_TS_MS, MIN_TS_MS
from schemas.rejects import Reason
from streams.cli.render.figures import count, span_ms
from streams.trace.answer import (
    ClickDecision,
    Counted,
    Fate,
    ImpressionDecision,
    Place,
    ReadRange,
    Trace,
    TracedOutcome,
    TracedRecord,
)

# (heading, lines); a heading may come with no line.
Section = tuple[str, list[str]]
_FATES: Final = {
    "accepted": "accepted",
    "not_read": "not read yet: the join has not committed this offset",
    "held": "it waits: its time is far ahead of its log, and too few later records have confirmed it",
    "elsewhere": "in another partition than this id is joined in: the join cannot bring the two together",
}
# As the join says which record moved the watermark so far.
_AHEAD: Final = re.compile(r"the record at offset (\d+), with ts (\d+), is (\d+) ms ahead of it")
# Below it words would be cut.
_NARROWEST: Final = 60
_MICROS: Final = ("price_micros", "bid_micros", "spend_micros", "attributed_spend_micros", "expected_spend_micros")
_SHOWN_FIELDS: Final = ("campaign_id", "creative_id", "price_micros")


def sections(trace: Trace) -> Iterator[Section]:
    """The answer in the order of time: records and decisions, then what they were counted in."""
    clicks = {click.offset: click for click in trace.clicks}
    shown = {impression.offset: impression for impression in trace.impressions}
    if not trace.records:
        yield _nothing(trace)
    for record in trace.records:
        lines = list(_record(record, span_ms(trace.bounds["lateness_ms"])))
        if record.fate.name == "accepted" and record.input == "impressions" and record.place.offset in shown:
            lines += _impression(shown[record.place.offset], trace)
        if record.fate.name == "accepted" and record.input == "clicks" and record.place.offset in clicks:
            lines += _click(clicks[record.place.offset], trace)
        yield _title(record), lines
    if trace.outcomes:
        yield "outcomes", [line for each in trace.outcomes for line in _outcome(each)]
    if trace.counted:
        yield "counted in", [line for each in trace.counted for line in _counted(each)]
    if trace.clickhouse is not None:
        yield "ClickHouse", list(_clickhouse(trace))
    elif trace.outcomes or trace.counted:
        yield "ClickHouse", ["not asked: none is configured and none runs here"]
    yield "read", [_read(each) for each in trace.read]
    if trace.not_known:
        yield "not known", trace.not_known


def _nothing(trace: Trace) -> Section:
    read = [each for each in trace.read if each.topic.endswith(("impressions", "clicks"))]
    lines = [f"no record with the key {trace.impression_id} or with it in its value, where it was looked for"]
    if trace.outcomes:
        lines.append("its records are not in this range any more; what was decided about it follows")
    elif any(each.first_kept for each in read):
        lines.append("it may have been there before the first offset that Kafka keeps, see below")
        lines.append("an impression that nobody clicked leaves an outcome only if it is sampled")
    lines.append("an id sent under another key is found with --all-partitions")
    return "nothing found", lines


def _title(record: TracedRecord) -> str:
    return {"impressions": "impression", "clicks": "click"}.get(record.input, f"record of {record.place.topic}")


def _record(record: TracedRecord, lateness: str) -> Iterator[str]:
    place = record.place
    times = f"in Kafka at {moment_ms(place.record_ts_ms)}" if place.record_ts_ms >= 0 else "without a Kafka timestamp"
    if record.event is not None:
        verb = "shown" if record.input == "impressions" else "clicked"
        yield f"{spot(place)}, {verb} {moment_ms(record.event['ts'])}, {times}"
        yield _fields(record.event) if record.input == "impressions" else f"click_id {record.event['click_id']}"
    else:
        yield f"{spot(place)}, {times}"
        yield f"value: {record.text}" if record.text else "it has no value"
    if record.gone:
        yield "found by its dead letter, which keeps the first KiB; the record itself was not read"
    yield _fate(record.fate, record.input, lateness)
    if record.fate.redriven_ms is not None:
        yield f"mended and sent again at {moment_ms(record.fate.redriven_ms)}, by `clickfold rejects redrive`"


def _fields(event: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(name, event[name])}" for name in _SHOWN_FIELDS if name in event)


def _fate(fate: Fate, log: str, lateness: str) -> str:
    if fate.name in _FATES:
        return _FATES[fate.name]
    own = "impression_id" if log == "impressions" else "click_id"
    if fate.name == "duplicate":
        copy = f"of offset {fate.twin}" if fate.twin is not None else "of an earlier record"
        return f"duplicate {copy}: the same {own} with the same content; it changes nothing"
    twin = f" (offset {fate.twin})" if fate.twin is not None else ""
    where = f"; dead letter {spot(fate.letter)}" if fate.letter is not None else "; no dead letter of it was found"
    if fate.name == Reason.LATE:
        return f"rejected as late: {_late(fate.detail)}; the lateness allows {lateness}{where}"
    return f"rejected as {fate.name}: {fate.detail or 'no detail'}{twin}{where}"


def _late(detail: str) -> str:
    """The detail of a late record's dead letter, with times and spans as people read them."""
    ahead = _AHEAD.search(detail)
    if ahead is None:
        return detail
    offset, ts_ms, behind_ms = map(int, ahead.groups())
    return f"{span_ms(behind_ms)} behind the record at offset {offset} of its log, which is of {moment_ms(ts_ms)}"


def _impression(decision: ImpressionDecision, trace: Trace) -> Iterator[str]:
    window = span_ms(trace.bounds["window_ms"])
    if decision.kind == "clicked":
        yield "clicked, and billed once"
        return
    if decision.kind == "open":
        yield (
            f"open: a click up to {moment_ms(decision.closes_at_ms)} may still match (window {window}); clicks are "
            f"awaited from {moment_ms(decision.clicks_awaited_from_ms)} on"
        )
    else:
        until = moment_ms(decision.closes_at_ms)
        yield f"closed without a click: none came within the window of {window}, up to {until}"
    if not decision.sampled:
        rate = trace.bounds["negative_rate"]
        yield f"not sampled (negative rate {rate:g}): it is counted, and has no outcome of its own"


def _click(decision: ClickDecision, trace: Trace) -> Iterator[str]:
    window, skew = span_ms(trace.bounds["window_ms"]), span_ms(trace.bounds["skew_ms"])
    delay_ms = decision.delay_ms
    apart = ""
    if delay_ms is not None:
        side = "after" if delay_ms >= 0 else "before"
        apart = f"{span_ms(abs(delay_ms))} {side} the impression at offset {decision.impression_offset}"
    if decision.kind in ("click", "repeat"):
        yield f"matched: {apart}; a click matches up to {window} after and {skew} before"
        if decision.kind == "click":
            yield f"billed: the first click on this impression, {count(decision.price_micros)} micros"
        else:
            yield "repeat: this impression was billed before, so it is counted and not billed"
        return
    refused = [each for each in trace.records if each.input == "impressions" and each.fate.name != "accepted"]
    if decision.kind == "pending":
        yield (
            f"pending: its impression may still come; impressions are awaited from "
            f"{moment_ms(decision.impressions_awaited_from_ms)} on, and it is an orphan once that is "
            f"{moment_ms(decision.orphan_at_ms)}"
        )
    elif apart:
        bound = f"a click matches at most {window} after" if (delay_ms or 0) > 0 else f"and at most {skew} before"
        yield f"orphan, not billed: {apart}, and {bound} its impression"
    elif refused:
        yield f"orphan, not billed: its impression was not accepted ({refused[0].fate.name}, {spot(refused[0].place)})"
    else:
        yield "orphan, not billed: no impression with this id came"


def _outcome(each: TracedOutcome) -> Iterator[str]:
    outcome = each.outcome
    kind = outcome["kind"]
    label = f", label {outcome['label']}, weight {outcome.get('weight', 1.0):g}" if "label" in outcome else ""
    yield f"{_kind(kind, outcome.get('click_id'))}: {spot(each.place)}{label}"
    if not each.as_computed:
        yield "  the records that were read do not give this outcome: some are no longer in Kafka, or were not read"
    yield f"  {_learned(kind, each.learned)}"


def _kind(kind: str, click_id: str | None) -> str:
    """A kind of outcomes, with the click it is about."""
    named = "billed click" if kind == "click" else f"{kind} click"
    return f"{named} {click_id}" if click_id is not None else kind


def _learned(kind: str, learned: bool | None) -> str:
    if kind in ("repeat", "orphan"):
        return f"a learner learns nothing from the kind {kind}"
    if learned is None:
        return "no learner has read it: its group has committed nothing"
    if not learned:
        return "the learner has not read it yet"
    what = {
        "click": "a positive",
        "unclicked": "a negative",
        "shown": "an impression whose label comes later; by its policy it may learn a negative meanwhile",
    }[kind]
    return f"the learner has read it: {what}"


def _counted(each: Counted) -> Iterator[str]:
    names = ", ".join(f"{name} {value}" for name, value in each.names.items())
    of = "minute" if each.of == "minute" else "quarter-hour"
    yield f"{of} {moment_ms(each.start_ms)[:16]}, {names}: {_measures(each.adds)}"
    if each.total is None:
        yield "  no total of it was published yet"
    else:
        final = "final" if each.final else "not final yet"
        place = f" ({spot(each.place)})" if each.place is not None else ""
        yield f"  in this partition now {_measures(each.total, like=each.adds)}, {final}{place}"
    if each.row is not None:
        yield f"  in ClickHouse, over all partitions, {_measures(each.row, like=each.adds)}"


def _measures(measures: Mapping[str, int], *, like: Mapping[str, int] | None = None) -> str:
    return ", ".join(f"{name} {count(measures[name])}" for name in (like or measures))


def _clickhouse(trace: Trace) -> Iterator[str]:
    found = trace.clickhouse
    assert found is not None
    for row in found.outcomes:
        at = f"at {moment_ms(row['event_time_ms'])}"
        if "click_id" in row and row["kind"] != "orphan":
            at = f"at {moment_ms(row['click_time_ms'])} on the impression {at}"
        yield f"outcomes: {_kind(row['kind'], row.get('click_id'))} {at}"
    if not found.outcomes:
        yield "outcomes: no row of this id"
    if found.sink_behind:
        yield f"the sink has yet to write {found.sink_behind} of its outcomes"
    for minute, run in sorted(found.promoted.items()):
        yield f"minute {moment_ms(minute)[:16]} is shown from run {run}, in place of live work"


def _read(each: ReadRange) -> str:
    kept = f", Kafka keeps it from {each.first_kept}" if each.first_kept else ""
    return f"{each.topic}[{each.partition}] offsets {count(each.start)} to {count(each.stop)}{kept}"


def spot(place: Place) -> str:
    """A place in Kafka."""
    return f"{place.topic}[{place.partition}] offset {place.offset}"


def moment_ms(ts_ms: int) -> str:
    """A time to the millisecond, UTC."""
    if not MIN_TS_MS <= ts_ms <= MAX_TS_MS:
        return "the beginning" if ts_ms < MIN_TS_MS else "the end"
    return f"{datetime.fromtimestamp(ts_ms / 1_000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _value(name: str, value: Any) -> str:
    return count(value) if name in _MICROS else str(value)


def lines(answer: Sequence[Section], columns: int = 0) -> Iterator[str]:
    """The sections with their headings at the left, wrapped to so many columns; 0: not at all."""
    width = max(len(heading) for heading, _ in answer) + 2
    for heading, own in answer:
        for number, line in enumerate(own):
            first = f"{heading if number == 0 else '':<{width}}"
            if not columns:
                yield f"{first}{line}"
                continue
            inner = len(line) - len(line.lstrip())
            yield from textwrap.wrap(
                line.strip(),
                max(columns, _NARROWEST),
                initial_indent=first + " " * inner,
                subsequent_indent=" " * (width + inner + 2),
                break_on_hyphens=False,
            )

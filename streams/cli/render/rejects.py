"""Dead letters and redrives in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from schemas.rejects import Reason, Rejected
from streams.cli.render.figures import count
from streams.cli.render.trace import moment_ms
from streams.inputs.refusals import why
from streams.redrive.letters import Group, Spot
from streams.redrive.run import Older, Redriving

_MOST_SHOWN: Final = 10
_TEXT_BYTES: Final = 1_024
_REDRIVE: Final = "`clickfold rejects redrive --reason {reason}{map}`"
REMEDIES: Final = {
    Reason.TOMBSTONE: "nothing can be made of it; a producer must send a value",
    Reason.TOO_LARGE: f"shorten it with a mapping that takes the fields that are needed: {_REDRIVE}",
    Reason.TOO_DEEP: f"a mapping takes the fields that are needed: {_REDRIVE}",
    Reason.UNDECODABLE: f"write a mapping (`clickfold map guess`), then {_REDRIVE}",
    Reason.HEADERS: "the detail says what its headers lack; a producer must send it otherwise",
    Reason.SCHEMA: "put the schema into the registry: records that come then are read",
    Reason.MAPPING: f"correct the rule of the mapping that the detail names, then {_REDRIVE}",
    Reason.KEY: f"{_REDRIVE} sends it under its impression id; correct the producer's key",
    Reason.FUTURE: f"once its time has come, {_REDRIVE} sends it; correct the producer's clock",
    Reason.LATE: "a backfill with a longer --lateness takes it from the log; {redrive} says with which",
    Reason.CONFLICT: "an id was used twice: the first record holds; only a mapping that gives it another id mends it",
    Reason.TIMEZONE: "send the campaign again with a time zone that exists",
    Reason.VERSION: "send the campaign again with a version above the last",
    Reason.CURRENCY: "send the campaign again with the currency it had, or as another campaign",
    Reason.TERMS: "send the campaign again with a higher version and terms that fit together; the detail says which",
    Reason.UNWRITABLE: "ClickHouse has another table than clickfold made; `clickfold init` names what differs",
}
_MAPPABLE: Final = (Reason.TOO_LARGE, Reason.TOO_DEEP, Reason.UNDECODABLE, Reason.MAPPING)


def remedy(reason: Reason) -> str:
    """What to do about records that were refused for a reason."""
    more = " --map FILE" if reason in _MAPPABLE else ""
    redrive = _REDRIVE.format(reason=reason, map=more)
    return REMEDIES[reason].format(reason=reason, map=more, redrive=redrive)


def group_lines(groups: Sequence[Group]) -> Iterator[str]:
    """The groups of `clickfold rejects list`."""
    if not groups:
        yield "no dead letters in this range"
    for group in groups:
        sent = f", {count(group.redriven)} of them redriven" if group.redriven else ""
        yield f"{group.reason} in {group.topic}: {count(group.count)}{sent}"
        newest = group.newest
        if newest is not None:
            yield f"  newest {moment_ms(newest.record_ts_ms)}, {Spot.of_letter(newest)}: {newest.detail}"
        yield f"  {remedy(group.reason)}"


def letter_lines(letter: Rejected, log: str | None, value: bytes | None, gone: str) -> Iterator[str]:
    """One dead letter of `clickfold rejects show`. `value`: the original, or its beginning where it is `gone`."""
    yield f"{Spot.of_letter(letter)}, in Kafka at {moment_ms(letter.record_ts_ms)}, {count(letter.length)} bytes"
    yield f"refused as {letter.reason}: {letter.detail}"
    if log is not None and (said := why(log, value or b"", letter.reason, letter.detail)) != letter.detail:
        yield f"  {said}"
    if gone:
        yield f"the record itself is gone: {gone}; its first KiB is below"
    text = (value or b"")[:_TEXT_BYTES].decode(errors="backslashreplace")
    yield f"value: {text}" if text else "it has no value"
    yield f"remedy: {remedy(letter.reason)}"


def redrive_lines(found: Redriving, *, dry_run: bool, topics: dict[str, str], mapping: str) -> Iterator[str]:
    """What `clickfold rejects redrive` did, or would do."""
    before = f", {count(found.before)} of them redriven before" if found.before else ""
    yield f"{count(found.looked)} dead letters{before}"
    sent = ", ".join(f"{count(number)} to {topics[log]}" for log, number in sorted(found.sent.items()))
    yield f"{'would send' if dry_run else 'sent'} {sent or 'nothing'}"
    for reason, refusal in sorted(found.refused.items()):
        yield f"{count(refusal.records)} still refused ({reason}), first {refusal.first}: {refusal.detail}"
    for spot, why_gone in found.gone[:_MOST_SHOWN]:
        yield f"gone: {spot}: {why_gone}"
    if len(found.gone) > _MOST_SHOWN:
        yield f"gone: {count(len(found.gone) - _MOST_SHOWN)} more; --json lists all"
    if found.older:
        yield from _older(found.older, mapping=mapping, inputs=set(topics.values()))


def _older(older: Sequence[Older], *, mapping: str, inputs: set[str]) -> Iterator[str]:
    """What is older than the live join accepts, and the backfill that takes it."""
    needs_s = -(-max(each.needs_ms for each in older) // 1_000)
    first, last = min(each.ts_ms for each in older), max(each.ts_ms for each in older)
    yield (f"{count(len(older))} are older than the live join accepts, from {moment_ms(first)} to {moment_ms(last)}")
    elsewhere = [each for each in older if each.spot.topic not in inputs and not each.sent]
    if elsewhere:
        yield (
            f"  {count(len(elsewhere))} are in other topics, which a backfill does not read: `redrive --older` puts "
            "them into the inputs, where the live join refuses them as late and a backfill finds them"
        )
    sent = any(each.sent for each in older)
    options = f" --map {mapping}" if mapping and not sent else ""
    yield (
        f"  `clickfold backfill --run NAME{options} --lateness {needs_s}s --complete` takes them from the log, with "
        "the join's other settings, and its lateness as --live-lateness; then `clickfold compare NAME` and `clickfold "
        "promote NAME`"
    )

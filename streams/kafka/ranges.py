"""Which records: `--from` and `--to` as one offset for each partition of each input."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from schemas.errors import SettingsError
from streams.kafka.cluster import ANSWER_S, Cluster, log_bounds, meter, patiently

# Partition -> input -> offset, as a runner's offsets: the first record at or behind it is the first one of a range, or
# the first one behind a range.
Cut = dict[int, dict[str, int]]
ByInput = Mapping[str, Sequence[int]]
AtTime = Callable[[int], ByInput]

_FORMS: Final = "'impressions:0=100,1=90;clicks:0=7,1=9', time:2026-11-01T00:00Z, earliest or latest"


class Kept(NamedTuple):
    """What Kafka keeps of each input, by partition: the first offset, and the one behind the last record."""

    first: ByInput
    end: ByInput


@dataclass(frozen=True, slots=True)
class Range:
    """Records from `start`, inclusive, to `stop`, exclusive; `first` and `end` are what Kafka kept when it was asked.

    Both are complete: an offset for every partition of every input.
    """

    start: Cut
    stop: Cut
    first: Cut
    end: Cut


def resolve_range(cluster: Cluster, from_text: str, to_text: str, *, inputs: Sequence[str], partitions: int) -> Range:
    """The range two texts name, as Kafka is now. Raises SettingsError, Transient when Kafka does not answer."""
    asked = meter(cluster)
    try:
        kept = kept_of(cluster, asked, inputs=inputs, partitions=partitions)

        def at_time(ts_ms: int) -> ByInput:
            return _offsets_at(cluster, asked, kept, ts_ms)

        return bounded(from_text, to_text, kept=kept, at_time=at_time)
    finally:
        asked.close()


def kept_of(cluster: Cluster, asked: Consumer, *, inputs: Sequence[str], partitions: int) -> Kept:
    """First and end offsets of every partition of the inputs."""
    found = {log: [log_bounds(asked, cluster.topic(log), at) for at in range(partitions)] for log in inputs}
    return Kept(
        {log: [low for low, _ in bounds] for log, bounds in found.items()},
        {log: [high for _, high in bounds] for log, bounds in found.items()},
    )


def bounded(from_text: str, to_text: str, *, kept: Kept, at_time: AtTime) -> Range:
    """The range two texts name, given what Kafka keeps and which offsets a time (ms UTC) comes to."""
    start = offsets_named("--from", from_text, kept=kept, at_time=at_time)
    stop = offsets_named("--to", to_text, kept=kept, at_time=at_time)
    for log, offsets in start.items():
        for partition, offset in enumerate(offsets):
            if offset > stop[log][partition]:
                raise SettingsError(
                    f"--from is offset {offset} of {log}[{partition}], above --to, which is {stop[log][partition]}; "
                    "give an earlier --from or a later --to"
                )
    return Range(_cut(start), _cut(stop), _cut(kept.first), _cut(kept.end))


def offsets_named(option: str, text: str, *, kept: Kept, at_time: AtTime) -> ByInput:
    """The offset of each partition of each input that a text names. Raises SettingsError saying what it may be."""
    text = text.strip()
    if text == "earliest":
        return kept.first
    if text == "latest":
        return kept.end
    if text.startswith("time:"):
        return at_time(_time_ms(option, text))
    given = _parsed(option, text)
    _check_names(option, given, kept)
    return {log: [_checked(option, given, kept, log, at) for at in range(len(kept.end[log]))] for log in kept.end}


def _time_ms(option: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.removeprefix("time:"))
    except ValueError as error:
        raise SettingsError(f"{option} {text!r} is not a time; write it as time:2026-11-01T00:00Z") from error
    # Times are UTC everywhere else; one with a zone of its own is taken by it.
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)


def _parsed(option: str, text: str) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        log, colon, listed = part.partition(":")
        offsets = found.setdefault(log.strip(), {})
        for pair in listed.split(","):
            named = re.fullmatch(r"\s*(\d{1,9})\s*=\s*(\d{1,18})\s*", pair)
            if not colon or named is None:
                raise SettingsError(f"{option} {text!r} cannot be read at {pair or part!r}; give {_FORMS}")
            if int(named[1]) in offsets:
                raise SettingsError(f"{option} names {log.strip()}[{int(named[1])}] twice; give one offset for each")
            offsets[int(named[1])] = int(named[2])
    if not found:
        raise SettingsError(f"{option} is empty; give {_FORMS}")
    return found


def _check_names(option: str, given: Mapping[str, Mapping[int, int]], kept: Kept) -> None:
    for log, offsets in given.items():
        if log not in kept.end:
            raise SettingsError(f"{option} names input {log!r}; the inputs are {', '.join(kept.end)}")
        count = len(kept.end[log])
        unknown = sorted(at for at in offsets if at >= count)
        if unknown:
            raise SettingsError(
                f"{option} names partition {unknown[0]} of {log}, which has {count}: give offsets of 0 to {count - 1}"
            )
    missing = [
        f"{log}[{at}]" for log, ends in kept.end.items() for at in range(len(ends)) if at not in given.get(log, {})
    ]
    if missing:
        raise SettingsError(f"{option} says nothing of {', '.join(missing[:5])}; give an offset for every partition")


def _checked(option: str, given: Mapping[str, Mapping[int, int]], kept: Kept, log: str, partition: int) -> int:
    offset, first, end = given[log][partition], kept.first[log][partition], kept.end[log][partition]
    if offset < first:
        raise SettingsError(
            f"{option} is offset {offset} of {log}[{partition}], but Kafka keeps it from {first}; begin there, or "
            "restore the topic's retention"
        )
    if offset > end:
        raise SettingsError(
            f"{option} is offset {offset} of {log}[{partition}], but the log ends at {end}; give at most that"
        )
    return offset


def _cut(offsets: ByInput) -> Cut:
    partitions = range(len(next(iter(offsets.values()))))
    return {partition: {log: listed[partition] for log, listed in offsets.items()} for partition in partitions}


def _offsets_at(cluster: Cluster, asked: Consumer, kept: Kept, ts_ms: int) -> ByInput:
    """By Kafka's record time: the first record at or after it, or the end where all are earlier."""
    wanted = [
        TopicPartition(cluster.topic(log), at, ts_ms) for log, ends in kept.end.items() for at in range(len(ends))
    ]
    answer: list[TopicPartition] = patiently(lambda: asked.offsets_for_times(wanted, timeout=ANSWER_S), "Kafka")
    found = {(one.topic, one.partition): one.offset for one in answer}
    return {
        log: [
            end if found[cluster.topic(log), at] < 0 else min(found[cluster.topic(log), at], end)
            for at, end in enumerate(ends)
        ]
        for log, ends in kept.end.items()
    }

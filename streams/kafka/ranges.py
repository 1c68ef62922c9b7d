"""Which records: `--from` and `--to` as one offset for each partition of each input."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from schemas.errors import SettingsError
from schemas.moments import FORMS, moment_ms
from streams.kafka.cluster import Cluster
from streams.kafka.reads import bounds_consumer, log_bounds
from streams.kafka.retries import ANSWER_S, patiently

# Partition -> input -> offset, as a runner's offsets. A range begins with the first record at or after its start, and
# ends before the first record at or after its stop.
Offsets = dict[int, dict[str, int]]
# Input -> offset of each partition.
ByInput = Mapping[str, Sequence[int]]
# From a time, ms UTC, to the offsets of the first records at or after it.
AtTime = Callable[[int], ByInput]

# A year and a month: no input has such a name.
_DATED: Final = re.compile(r"\d{4}-?\d{2}")
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

    start: Offsets
    stop: Offsets
    first: Offsets
    end: Offsets


def resolve_range(cluster: Cluster, from_text: str, to_text: str, *, inputs: Sequence[str], partitions: int) -> Range:
    """The range two texts name, as Kafka is now. Raises SettingsError, Transient when Kafka does not answer."""
    with closing(bounds_consumer(cluster)) as consumer:
        kept = kept_of(cluster, consumer, inputs=inputs, partitions=partitions)

        def at_time(ts_ms: int) -> ByInput:
            return _offsets_at(cluster, consumer, kept, ts_ms)

        return bounded(from_text, to_text, kept=kept, at_time=at_time)


def kept_of(cluster: Cluster, consumer: Consumer, *, inputs: Sequence[str], partitions: int) -> Kept:
    """First and end offsets of every partition of the inputs."""
    bounds = {
        log: [log_bounds(consumer, cluster.topic(log), partition) for partition in range(partitions)] for log in inputs
    }
    return Kept(
        {log: [low for low, _ in of_log] for log, of_log in bounds.items()},
        {log: [high for _, high in of_log] for log, of_log in bounds.items()},
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
    return Range(*map(_by_partition, (start, stop, kept.first, kept.end)))


def offsets_named(option: str, text: str, *, kept: Kept, at_time: AtTime) -> ByInput:
    """The offset of each partition of each input that a text names. Raises SettingsError saying what it may be."""
    text = text.strip()
    if text == "earliest":
        return kept.first
    if text == "latest":
        return kept.end
    if text.startswith("time:") or _DATED.match(text):
        return at_time(_time_ms(option, text))
    given = _parsed(option, text)
    _check_names(option, given, kept)
    return {
        log: [_checked(option, given, kept, log, partition) for partition in range(len(ends))]
        for log, ends in kept.end.items()
    }


def _time_ms(option: str, text: str) -> int:
    try:
        return moment_ms(text.removeprefix("time:"))
    except ValueError as error:
        raise SettingsError(
            f"{option} {text!r} is not a time; write it as time:2026-11-01T00:00Z, or {FORMS}"
        ) from error


def _parsed(option: str, text: str) -> dict[str, dict[int, int]]:
    by_input: dict[str, dict[int, int]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        log, colon, listed = part.partition(":")
        offsets = by_input.setdefault(log.strip(), {})
        for pair in listed.split(","):
            match = re.fullmatch(r"\s*(\d{1,9})\s*=\s*(\d{1,18})\s*", pair)
            if not colon or match is None:
                raise SettingsError(f"{option} {text!r} cannot be read at {pair or part!r}; give {_FORMS}")
            partition, offset = int(match[1]), int(match[2])
            if partition in offsets:
                raise SettingsError(f"{option} names {log.strip()}[{partition}] twice; give one offset for each")
            offsets[partition] = offset
    if not by_input:
        raise SettingsError(f"{option} is empty; give {_FORMS}")
    return by_input


def _check_names(option: str, given: Mapping[str, Mapping[int, int]], kept: Kept) -> None:
    for log, offsets in given.items():
        if log not in kept.end:
            raise SettingsError(f"{option} names input {log!r}; the inputs are {', '.join(kept.end)}")
        count = len(kept.end[log])
        unknown = sorted(partition for partition in offsets if partition >= count)
        if unknown:
            raise SettingsError(
                f"{option} names partition {unknown[0]} of {log}, which has {count}: give offsets of 0 to {count - 1}"
            )
    missing = [
        f"{log}[{partition}]"
        for log, ends in kept.end.items()
        for partition in range(len(ends))
        if partition not in given.get(log, {})
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


def _by_partition(offsets: ByInput) -> Offsets:
    partitions = range(len(next(iter(offsets.values()))))
    return {partition: {log: listed[partition] for log, listed in offsets.items()} for partition in partitions}


def _offsets_at(cluster: Cluster, consumer: Consumer, kept: Kept, ts_ms: int) -> ByInput:
    """By Kafka's record time: the first record at or after it, or the end where all are earlier."""
    times = [
        TopicPartition(cluster.topic(log), partition, ts_ms)
        for log, ends in kept.end.items()
        for partition in range(len(ends))
    ]
    answer: list[TopicPartition] = patiently(lambda: consumer.offsets_for_times(times, timeout=ANSWER_S), "Kafka")
    offsets = {(place.topic, place.partition): place.offset for place in answer}

    def offset(log: str, partition: int, end: int) -> int:
        first = offsets[cluster.topic(log), partition]
        return end if first < 0 else min(first, end)

    return {log: [offset(log, partition, end) for partition, end in enumerate(ends)] for log, ends in kept.end.items()}

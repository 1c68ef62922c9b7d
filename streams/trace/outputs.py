"""What the join and those after it have written about one id: dead letters, outcomes, totals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from operator import attrgetter
from typing import Any

import msgspec

from schemas.codec import decode, encode
from schemas.outcomes import Outcome
from schemas.packed import campaign_totals, minute_totals
from schemas.records import Record
from schemas.rejects import Rejected
from schemas.totals import DIMENSIONS, MEASURES, CampaignTotal, MinuteTotal
from streams.join.outcomes import shard_of
from streams.kafka.partitioners import java_partition
from streams.kafka.ranges import Range
from streams.trace.answer import Counted, Place
from streams.trace.reading import Reading
from streams.verify.oracle import Key, Truth

_dimensions = attrgetter(*DIMENSIONS)
Letters = list[tuple[Rejected, Place]]


def dead_letters(
    reading: Reading, range_: Range, impression_id: str, spots: Collection[tuple[str, int, int]]
) -> Letters:
    """The dead letters of records at these (topic, partition, offset), and of others whose beginning names the id."""
    text = encode(impression_id)
    found: Letters = []
    for partition, record in reading.matching("rejects", range_, [0], lambda record: record.value is not None):
        letter = decode(record.value or b"", Rejected)
        if (letter.topic, letter.partition, letter.offset) in spots or text in letter.prefix:
            found.append((letter, _place(reading, "rejects", partition, record)))
    return found


def outcomes(
    reading: Reading, range_: Range, impression_id: str, expected: Sequence[Outcome], shards: int
) -> list[tuple[Place, Outcome]]:
    """The outcomes of an id with their places. Reads until all `expected` are found; without any, all shards."""
    text = encode(impression_id)
    missing = list(expected)
    wanted_shards = {shard_of(each.campaign_id, shards) for each in expected} or set(range(shards))
    found: list[tuple[Place, Outcome]] = []

    def names_id(record: Record) -> bool:
        return record.value is not None and text in record.value

    with closing(reading.matching("outcomes", range_, sorted(wanted_shards), names_id)) as records:
        for shard, record in records:
            outcome = decode(record.value or b"", Outcome)
            if outcome.impression_id != impression_id:
                continue
            found.append((_place(reading, "outcomes", shard, record), outcome))
            if outcome in missing:
                missing.remove(outcome)
                if not missing:
                    break
    return found


def counted(
    reading: Reading,
    truth: Truth,
    dimensions: Sequence[str],
    extra: Sequence[str],
    *,
    partition: int,
    partitions: int,
    from_text: str,
) -> list[Counted]:
    """What the accepted records of an id add to totals, with the totals so far of this join partition."""
    minutes = {_run_key(key, dimensions): dict(adds) for key, adds in truth.totals.items()}
    range_ = reading.range(("totals", "campaign_totals"), from_text, partitions=partitions)
    found: list[Counted] = []
    totals = _latest(
        *(reading, "totals", range_, partition),
        wanted={key: key[0] for key in minutes},
        rows=lambda value: minute_totals(value).rows(extra),
        key_of=lambda row: (row.minute, *_dimensions(row), *row.extra),
        join_partition=partition,
    )
    for key, adds in sorted(minutes.items()):
        names = {name: value for name, value in zip((*DIMENSIONS, *extra), key[1:], strict=True) if value}
        found.append(_counted("minute", key[0], names, adds, totals.get(key)))
    by_home: dict[int, dict[Key, dict[str, int]]] = {}
    for (campaign, quarter), adds in truth.campaigns.items():
        by_home.setdefault(java_partition(campaign.encode(), partitions), {})[campaign, quarter] = dict(adds)
    for home, quarters in by_home.items():
        totals = _latest(
            *(reading, "campaign_totals", range_, home),
            wanted={key: key[1] for key in quarters},
            rows=campaign_totals,
            key_of=lambda row: (row.campaign_id, row.quarter),
            join_partition=partition,
        )
        for key, adds in sorted(quarters.items()):
            found.append(_counted("campaign", key[1], {"campaign_id": key[0]}, adds, totals.get(key)))
    return found


def _run_key(key: Key, dimensions: Sequence[str]) -> Key:
    """The key of the total in a run that keeps only these dimensions: the others are empty."""
    known, extra = key[1 : 1 + len(DIMENSIONS)], key[1 + len(DIMENSIONS) :]
    return key[0], *(value if name in dimensions else "" for name, value in zip(DIMENSIONS, known, strict=True)), *extra


def _latest(
    reading: Reading,
    role: str,
    range_: Range,
    partition: int,
    *,
    wanted: Mapping[Key, int],
    rows: Callable[[bytes], Iterable[Any]],
    key_of: Callable[[Any], Key],
    join_partition: int,
) -> dict[Key, tuple[MinuteTotal | CampaignTotal, Place]]:
    """By wanted key, whose span begins at its value, the total with the highest version. Reads until all are final."""
    starts = {str(start).encode() for start in wanted.values()}
    latest: dict[Key, tuple[MinuteTotal | CampaignTotal, Place]] = {}

    def of_a_start(record: Record) -> bool:
        return record.key in starts and record.value is not None

    with closing(reading.matching(role, range_, [partition], of_a_start)) as records:
        for at, record in records:
            for row in rows(record.value or b""):
                key = key_of(row)
                if row.join_partition != join_partition or key not in wanted:
                    continue
                if key not in latest or latest[key][0].version <= row.version:
                    latest[key] = row, _place(reading, role, at, record)
            if len(latest) == len(wanted) and all(row.final for row, _ in latest.values()):
                break
    return latest


def _counted(
    of: str,
    start_ms: int,
    names: Mapping[str, str],
    adds: Mapping[str, int],
    total: tuple[MinuteTotal | CampaignTotal, Place] | None,
) -> Counted:
    row, place = total if total is not None else (None, None)
    return Counted(
        of,
        start_ms,
        dict(names),
        {name: adds[name] for name in MEASURES if adds.get(name)},
        {name: getattr(row, name) for name in MEASURES} if row is not None else None,
        row.final if row is not None else False,
        place,
    )


def _place(reading: Reading, role: str, partition: int, record: Record) -> Place:
    return Place(reading.cluster.topic(role), partition, record.offset, record.record_ts_ms)


def as_fields(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields of a record that say something."""
    fields: dict[str, Any] = msgspec.to_builtins(struct)
    return {name: value for name, value in fields.items() if value is not None}

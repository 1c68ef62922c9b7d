"""Misplaced orphans: counted only where impressions and clicks are keyed apart, and said once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from schemas.bounds import JoinBounds
from schemas.records import Record
from streams.engine.fold import Fold
from streams.join.fold import JoinFold
from streams.join.keys import KeySample
from streams.kafka.partitioners import PARTITIONERS
from streams.worker.keys_watch import KeysWatch
from tests.factories import click, impression, numbered
from tests.simulation.disk import SimulatedDisk
from tests.strategies import T0, columns

PARTITIONS = 4
KNOWN: dict[str, Callable[[bytes], int]] = {
    name: partial(of, partitions=PARTITIONS) for name, of in PARTITIONERS.items()
}
BOUNDS = JoinBounds(window_ms=30_000, skew_ms=1_000, lateness_ms=5_000)
SHOWN = [f"shown-{number}" for number in range(200)]
# Clicks without an impression.
GENUINE = [f"nobody-{number}" for number in range(400)]


def by_sum(key: bytes) -> int:
    """A partitioner that is not known."""
    return sum(key) % PARTITIONS


def folds(impressions_by: Callable[[bytes], int], clicks_by: Callable[[bytes], int]) -> dict[int, Fold]:
    """All partitions after these logs, both ended: each impression clicked once, and the genuine orphans."""
    made: dict[int, Fold] = {}
    for partition in range(PARTITIONS):

        def here(records: list[Record], by: Callable[[bytes], int], partition: int = partition) -> list[Record]:
            return numbered([record for record in records if by(record.key or b"") == partition])

        keys = {log: KeySample(KNOWN, partition) for log in ("impressions", "clicks")}
        fold = JoinFold(BOUNDS, SimulatedDisk(), partition=partition, keys=keys)
        fold.step(columns("impressions", here([impression(name, T0) for name in SHOWN], impressions_by)))
        fold.step(
            columns("clicks", here([click(f"k-{name}", name, T0 + 500) for name in (*SHOWN, *GENUINE)], clicks_by))
        )
        fold.finish()
        while fold.can_sweep():
            fold.sweep(1_000)
        made[partition] = fold
    return made


def misplaced(made: dict[int, Fold]) -> int:
    return sum(fold.misplaced for fold in made.values() if isinstance(fold, JoinFold))


def test_no_orphan_is_misplaced_where_both_inputs_have_one_partitioner_whichever() -> None:
    for by in (*KNOWN.values(), by_sum):
        assert misplaced(folds(by, by)) == 0


def test_orphans_are_misplaced_where_their_impressions_would_be_in_another_partition() -> None:
    java, crc32 = KNOWN["murmur2"], KNOWN["crc32"]
    apart = sum(java(name.encode()) != crc32(name.encode()) for name in (*SHOWN, *GENUINE))
    assert misplaced(folds(java, crc32)) == misplaced(folds(crc32, java)) == apart
    # Neither of the known ones, as kafka-go's round robin: the partitioner of the impressions is enough.
    strange = [name for name in (*SHOWN, *GENUINE) if java(name.encode()) != sum(name.encode()) % PARTITIONS]
    assert misplaced(folds(java, by_sum)) == len(strange)


def test_nothing_is_misplaced_before_an_impression_was_seen() -> None:
    sample = KeySample(KNOWN, 0)
    assert sample.names() == set(KNOWN)
    assert not any(sample.elsewhere(name.encode()) for name in GENUINE)


def test_one_partition_has_no_misplaced_orphan() -> None:
    sample = KeySample({name: partial(of, partitions=1) for name, of in PARTITIONERS.items()}, 0)
    sample.add([name.encode() for name in SHOWN])
    assert not any(sample.elsewhere(name.encode()) for name in GENUINE)


def test_a_producer_that_changes_its_partitioner_is_noticed_by_its_newest_keys() -> None:
    sample = KeySample(KNOWN, 0)
    for name in ("murmur2", "crc32"):
        for key in (f"{name}-{number}".encode() for number in range(1_000)):
            if KNOWN[name](key) == 0:
                sample.add([key])
        assert sample.names() == {name}


def test_inputs_that_are_keyed_apart_are_said_once_with_both_partitioners_and_the_remedy() -> None:
    said: list[str] = []
    watch, made = KeysWatch(said.append), folds(KNOWN["murmur2"], KNOWN["crc32"])
    watch.look(made)
    watch.look(made)
    (text,) = said
    assert text.startswith(f"{misplaced(made)} orphans are misplaced up to now: ")
    assert "impressions are partitioned by murmur2, clicks by crc32: an impression and its click do not meet" in text
    assert "clickfold repartition" in text


def test_clicks_of_no_known_partitioner_are_said_too() -> None:
    said: list[str] = []
    KeysWatch(said.append).look(folds(KNOWN["murmur2"], by_sum))
    (text,) = said
    assert "not all clicks are where murmur2, which the impressions are partitioned by, puts them" in text


def test_nothing_is_said_of_genuine_orphans() -> None:
    said: list[str] = []
    KeysWatch(said.append).look(folds(KNOWN["crc32"], KNOWN["crc32"]))
    assert said == []

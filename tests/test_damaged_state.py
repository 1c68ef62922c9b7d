"""State on disk that is not what was written is noticed, and rebuilt from the log: what is put out stays the truth."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from schemas.codec import decoder
from schemas.seals import SealRecord
from streams.disk import Disk
from streams.fold import Fold
from streams.join.fold import JoinFold
from streams.oracle import Record, truth
from streams.runner import Pace, Runner
from tests.edges import Fates, MemoryCluster, MemoryDisk, MemoryLog, VirtualClock
from tests.judging import assert_agrees
from tests.sizes import small_sizes
from tests.strategies import BOUNDS, T0
from tests.test_join import click, impression

Damage = Callable[[MemoryDisk], None]


def flip(suffix: str, at: int) -> Damage:
    def damage(disk: MemoryDisk) -> None:
        name = next(name for name in disk.names() if name.startswith(suffix) or name.endswith(suffix))
        disk.files[name][at] ^= 1

    return damage


def remove(suffix: str) -> Damage:
    return lambda disk: disk.delete(next(name for name in disk.names() if suffix in name))


def cut(suffix: str) -> Damage:
    return lambda disk: disk.truncate(next(name for name in disk.names() if suffix in name), 10)


def of_another_partition(disk: MemoryDisk) -> None:
    with small_sizes():
        other = JoinFold(BOUNDS, MemoryDisk(), partition=5)
        disk.replace("manifest", other.snapshot())
        other.close()


def of_other_settings(disk: MemoryDisk) -> None:
    with small_sizes():
        other = JoinFold(BOUNDS, MemoryDisk(), digest="another")
        disk.replace("manifest", other.snapshot())
        other.close()


def of_a_newer_program(disk: MemoryDisk) -> None:
    manifest = bytearray(disk.files["manifest"])
    manifest[:18] = b"clickfold join 99\n"
    disk.replace("manifest", bytes(manifest))


BETWEEN_LIVES = {
    "a flipped bit in the manifest": flip("manifest", 200),
    "an empty manifest": cut("manifest"),
    "a manifest of another partition": of_another_partition,
    "a manifest of other settings": of_other_settings,
    "a manifest of a newer program": of_a_newer_program,
    "a flipped bit in rows": flip(".rows", 3),
    "rows cut short": cut(".rows"),
    "rows missing": remove(".rows"),
    "payload cut short": cut(".payload"),
    "payload missing": remove(".payload"),
    "a flipped bit in totals": flip("totals-", 30),
    "totals missing": remove("totals-"),
}


class Life:
    """One partition, worked on by one runner after another over the same disk."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster(("impressions", "clicks"), 1)
        self.disk = MemoryDisk()
        self.clock = VirtualClock()
        self.warnings: list[str] = []
        self.random = Random(3)

    def show(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            shown = impression(f"i{number}", T0 + 3 * number, pctr=0.25)
            self.cluster.append("impressions", 0, Record(number, -1, shown.key, shown.value))

    def click(self, number: int, impression: int) -> None:
        made = click(f"k{number}", f"i{impression}", T0 + 3 * impression + 20)
        self.cluster.append("clicks", 0, Record(number, -1, made.key, made.value))

    def run(self, turns: int) -> None:
        log = MemoryLog(self.cluster, Fates(self.random, share=0.0), self.random)
        pace = Pace(commit_s=0.1, report_s=0.2, checkpoint_s=0.5, idle_s=1e9, transaction_outs=50)
        left = iter(range(turns))

        def stopped() -> bool:
            self.clock.seconds += 0.2
            return next(left, None) is None

        with small_sizes():
            Runner(log, self.clock, self.make, pace, warn=self.warnings.append).run(stopped)

    def make(self, partition: int) -> tuple[Fold, Disk]:
        return JoinFold(BOUNDS, self.disk, partition=partition), self.disk

    def check(self) -> None:
        seals = [decoder(SealRecord).decode(value) for value in self.cluster.side(0)]
        logs = self.cluster.logs
        judged = truth(logs["impressions", 0], logs["clicks", 0], BOUNDS, seals=seals, ended=False)
        assert_agrees([out for out in self.cluster.outs if out.topic != "seals"], judged)


@pytest.mark.parametrize("damage", BETWEEN_LIVES.values(), ids=BETWEEN_LIVES.keys())
def test_damaged_or_foreign_checkpoint_is_rebuilt_from_the_log_with_a_warning(damage: Damage) -> None:
    life = Life()
    life.show(0, 30)
    life.click(0, 25)
    life.run(40)
    damage(life.disk)
    life.click(1, 26)
    life.show(30, 5)
    life.run(40)
    assert any("not used" in text for text in life.warnings)
    assert any("rebuilding" in text for text in life.warnings)
    life.check()


def test_payload_that_changed_on_disk_is_never_put_out() -> None:
    """Its id survived and its price not: only a checksum tells, and only when it is read."""
    life = Life()
    life.show(0, 30)
    life.click(0, 20)
    life.run(40)
    for name in life.disk.names():
        if name.endswith(".payload"):
            life.disk.files[name] = life.disk.files[name].replace(b'"price_micros":5', b'"price_micros":9')
    life.click(1, 26)
    life.run(40)
    assert any("not what was written" in text for text in life.warnings)
    life.check()


def test_checkpoint_of_a_newer_program_is_named_as_such() -> None:
    life = Life()
    life.show(0, 5)
    life.run(20)
    of_a_newer_program(life.disk)
    life.run(20)
    assert any("format" in text and "99" in text for text in life.warnings)

"""State on disk that is not what was written is noticed, and rebuilt from the log: what is put out stays the truth."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.engine.pace import Pace
from streams.join.fold import JoinFold
from tests.factories import click, impression
from tests.simulation.disk import SimulatedDisk
from tests.simulation.life import Life
from tests.sizes import small_sizes
from tests.strategies import BOUNDS, T0

Damage = Callable[[SimulatedDisk], None]


def flip(suffix: str, at: int) -> Damage:
    def damage(disk: SimulatedDisk) -> None:
        name = next(name for name in disk.names() if name.startswith(suffix) or name.endswith(suffix))
        disk.files[name][at] ^= 1

    return damage


def remove(suffix: str) -> Damage:
    return lambda disk: disk.delete(next(name for name in disk.names() if suffix in name))


def cut(suffix: str) -> Damage:
    return lambda disk: disk.truncate(next(name for name in disk.names() if suffix in name), 10)


def of_another_partition(disk: SimulatedDisk) -> None:
    with small_sizes():
        other = JoinFold(BOUNDS, SimulatedDisk(), partition=5)
        disk.replace("manifest", other.snapshot())
        other.close()


def of_other_settings(disk: SimulatedDisk) -> None:
    with small_sizes():
        other = JoinFold(BOUNDS, SimulatedDisk(), digest="another")
        disk.replace("manifest", other.snapshot())
        other.close()


def of_a_newer_program(disk: SimulatedDisk) -> None:
    manifest = bytearray(disk.files["manifest"])
    manifest[:18] = b"clickfold join 99\n"
    disk.replace("manifest", bytes(manifest))


def raise_prices(disk: SimulatedDisk) -> None:
    for name in disk.names():
        if name.endswith(".payload"):
            disk.files[name][:] = disk.files[name].replace(b'"price_micros":5', b'"price_micros":9')


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


class Shown(Life):
    """Impressions three ms apart, and clicks on them."""

    def show(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.append("impressions", impression(f"i{number}", T0 + 3 * number, offset=number, pctr=0.25))

    def click(self, number: int, impression: int) -> None:
        self.append("clicks", click(f"k{number}", f"i{impression}", T0 + 3 * impression + 20, offset=number))

    def work(self) -> None:
        with small_sizes():
            self.run(
                40, Pace(commit_s=0.1, report_s=0.2, checkpoint_s=0.5, idle_s=1e9, transaction_outs=50), turn_s=0.2
            )


@pytest.mark.parametrize("damage", BETWEEN_LIVES.values(), ids=BETWEEN_LIVES.keys())
def test_damaged_or_foreign_checkpoint_is_rebuilt_from_the_log_with_a_warning(damage: Damage) -> None:
    life = Shown(BOUNDS)
    life.show(0, 30)
    life.click(0, 25)
    life.work()
    damage(life.disk)
    life.click(1, 26)
    life.show(30, 5)
    life.work()
    assert any("not used" in text for text in life.warnings)
    assert any("rebuilding" in text for text in life.warnings)
    life.check()


def test_payload_that_changed_on_disk_is_never_put_out() -> None:
    """Its id survived and its price not: only a checksum tells, and only when it is read."""
    life = Shown(BOUNDS)
    life.show(0, 30)
    life.click(0, 20)
    life.work()
    raise_prices(life.disk)
    life.click(1, 26)
    life.work()
    assert any("not what was written" in text for text in life.warnings)
    life.check()


def test_payload_that_changed_is_noticed_while_what_was_committed_is_read_again() -> None:
    """The task is not live then, and starts again all the same."""
    life = Shown(BOUNDS)
    life.show(0, 30)
    life.work()
    earlier = {name: bytes(data) for name, data in life.disk.files.items()}
    life.click(0, 26)
    life.work()
    for name in life.disk.names():
        life.disk.delete(name)
    for name, data in earlier.items():
        life.disk.replace(name, data)
    raise_prices(life.disk)
    life.click(1, 27)
    life.work()
    assert any("not what was written" in text for text in life.warnings)
    life.check()


def test_checkpoint_of_a_newer_program_is_named_as_such() -> None:
    life = Shown(BOUNDS)
    life.show(0, 5)
    life.work()
    of_a_newer_program(life.disk)
    life.work()
    assert any("format" in text and "99" in text for text in life.warnings)

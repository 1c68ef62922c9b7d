"""A consumer that gives a replay nothing, and says nothing, does not hold up its partition for ever."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.records import Records
from streams.engine.pace import Pace
from tests.factories import click, impression
from tests.simulation.life import Life
from tests.simulation.log import SimulatedLog
from tests.strategies import BOUNDS, T0

PACE = Pace(commit_s=0.1, report_s=0.2, checkpoint_s=0.5, idle_s=500.0)


class Deaf(SimulatedLog):
    """Gives nothing of a partition until it was placed twice."""

    seeks = 0

    def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        self.seeks += 1
        super().seek(partition, offsets)

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        records = super().poll(limit, wait_s)
        return records if self.seeks > 1 else []


def test_a_replay_that_is_given_nothing_is_placed_anew_and_loses_and_doubles_nothing() -> None:
    life = Life(BOUNDS)
    for number in range(30):
        life.append("impressions", impression(f"i{number}", T0 + 40 * number, offset=number))
        life.append("clicks", click(f"k{number}", f"i{number}", T0 + 40 * number + 5, offset=number))
    life.run(20, PACE)
    life.folder.files.clear()
    for number in range(30, 60):
        life.append("impressions", impression(f"i{number}", T0 + 40 * number, offset=number))
    life._make_log = Deaf
    life.run(120, PACE)
    assert any("reading it anew" in warning for warning in life.warnings)
    life.check()

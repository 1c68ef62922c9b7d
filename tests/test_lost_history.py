"""Records that are needed and no longer in Kafka: a stop with both numbers, or a loss accepted and accounted for."""

from __future__ import annotations

import pytest

from schemas.codec import decode
from schemas.errors import LostHistory
from schemas.totals import Ledger
from streams.engine.pace import Pace
from tests.factories import click, impression
from tests.judging import decided_of
from tests.simulation.disk import SimulatedDisk
from tests.simulation.life import Life
from tests.simulation.log import SimulatedLog
from tests.sizes import small_sizes
from tests.strategies import BOUNDS, T0

PACE = Pace(commit_s=0.1, report_s=0.2, checkpoint_s=0.5, idle_s=1e9)


class ShortRetention(SimulatedLog):
    """Inputs of which Kafka has deleted the beginning."""

    kept_from: dict[str, int] = {}  # noqa: RUF012  # set by each test for the next life

    def starts(self, partition: int) -> dict[str, int]:
        return {**super().starts(partition), **self.kept_from}


@pytest.fixture
def life() -> Life:
    """A worker that has stopped with thirty impressions open and one click pending, and a billable one behind it."""
    ShortRetention.kept_from = {}
    life = Life(BOUNDS, ShortRetention)
    for number in range(30):
        show(life, number)
    press(life, 0, "i5")
    press(life, 1, "i99")
    with small_sizes():
        life.run(40, PACE)
    return life


def show(life: Life, number: int) -> None:
    life.append("impressions", impression(f"i{number}", T0 + number, offset=number))


def press(life: Life, number: int, impression_id: str) -> None:
    life.append("clicks", click(f"k{number}", impression_id, T0 + 25, offset=number))


def ledger(life: Life) -> Ledger:
    rows = [decode(out.value or b"", Ledger) for out in life.broker.outputs() if out.topic == "ledger"]
    return max(rows, key=lambda row: row.version)


def kinds(life: Life) -> dict[str, str]:
    return {one.click_id or "": one.kind for one in decided_of(life.broker.outputs())}


def test_history_below_retention_stops_with_both_numbers_and_the_ways_out(life: Life) -> None:
    life.disk = SimulatedDisk()
    ShortRetention.kept_from = {"impressions": 12}
    with (
        small_sizes(),
        pytest.raises(LostHistory, match=r"impressions\[0\] is needed from offset 0, .* from 12: .*--accept-loss"),
    ):
        life.run(40, PACE)


def test_accepted_loss_is_counted_in_the_ledger_and_the_rest_goes_on(life: Life) -> None:
    life.disk = SimulatedDisk()
    ShortRetention.kept_from = {"impressions": 12}
    press(life, 2, "i7")
    press(life, 3, "i20")
    with small_sizes():
        life.run(40, PACE, accept_loss=True)
    last = ledger(life)
    assert last.imbalance() == ""
    assert (last.lost_impressions, last.open, last.impressions.accepted) == (12, 18, 30)
    assert kinds(life) == {"k0": "click", "k3": "click"}
    assert any("impressions[0] is needed from offset 0, Kafka keeps it from 12" in text for text in life.warnings)


def test_lost_clicks_are_counted_as_well(life: Life) -> None:
    life.disk = SimulatedDisk()
    ShortRetention.kept_from = {"clicks": 2}
    with small_sizes():
        life.run(40, PACE, accept_loss=True)
    assert (ledger(life).lost_clicks, ledger(life).pending, ledger(life).imbalance()) == (1, 0, "")


def test_accepted_loss_of_unread_records_keeps_the_state_at_hand(life: Life) -> None:
    for number in range(30, 40):
        show(life, number)
    ShortRetention.kept_from = {"impressions": 35}
    press(life, 2, "i7")
    press(life, 3, "i32")
    press(life, 4, "i35")
    with small_sizes(), pytest.raises(LostHistory, match="--accept-loss"):
        life.run(40, PACE)
    with small_sizes():
        life.run(40, PACE, accept_loss=True)
    last = ledger(life)
    assert (last.lost_impressions, last.open, last.imbalance()) == (0, 35, "")
    assert kinds(life) == {"k0": "click", "k2": "click", "k4": "click"}
    # Nothing is lost a second time, and nothing has to be accepted again.
    with small_sizes():
        life.run(40, PACE)
    assert ledger(life).open == 35

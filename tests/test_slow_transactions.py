"""A transaction that takes long delays the next one, by some intervals and not for ever, and loses nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from schemas.records import Out
from streams.engine.pace import Pace
from streams.engine.ports import Commit
from tests.factories import impression
from tests.simulation.life import Life
from tests.simulation.log import SimulatedLog
from tests.strategies import BOUNDS, T0

RECORDS = 60


class PromptLog(SimulatedLog):
    """A log whose transactions have ended whenever one asks. Counts them."""

    begun = 0

    def settled(self) -> bool:
        return True

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        self.begun += 1
        super().transact(outs, commits)


class SlowLog(PromptLog):
    """A log whose transactions never have ended before one waits for them."""

    def settled(self) -> bool:
        return False


def transactions(log: type[PromptLog], *, most_outs: int = 1_000) -> int:
    """How many transactions a worker makes of a record each tenth of a second, with a commit every 0.2 s."""
    life = Life(BOUNDS, log)
    for offset in range(RECORDS):
        life.append("impressions", impression(f"i{offset}", T0 + offset, offset=offset))
    life.run(RECORDS + 40, Pace(commit_s=0.2, idle_s=1e9, poll_records=1, transaction_outs=most_outs), turn_s=0.1)
    life.check()
    assert isinstance(life.log, PromptLog)
    return life.log.begun


def test_folding_goes_on_for_some_intervals_while_a_transaction_is_under_way() -> None:
    prompt, slow = transactions(PromptLog), transactions(SlowLog)
    # Five intervals in place of one, and not for ever: a record takes a tenth of a second, so 60 take 6 s.
    assert 6 <= slow < prompt / 2


@pytest.mark.parametrize("log", [PromptLog, SlowLog])
def test_a_transaction_that_is_full_is_not_delayed(log: type[PromptLog]) -> None:
    assert transactions(log, most_outs=0) >= RECORDS

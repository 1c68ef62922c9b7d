"""A start that Kafka does not commit: the worker polls before it tries again, and so learns what has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.errors import TaskLost
from schemas.records import Out, Records
from streams.engine.pace import Pace
from streams.engine.ports import Commit
from tests.factories import impression
from tests.simulation.life import Life
from tests.simulation.log import SimulatedLog
from tests.strategies import BOUNDS, T0


class ForgottenMemberLog(SimulatedLog):
    """A log of a member that its group has forgotten: no transaction is committed until a later poll joins it again."""

    refused = 0
    polls_since = 0

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        self.polls_since += 1
        return super().poll(limit, wait_s)

    def transact(self, outs: Sequence[Out], commits: Mapping[int, Commit]) -> None:
        if self.refused < 3:
            self.refused += 1
            assert self.refused == 1 or self.polls_since, "nothing can have changed since the last try"
            self.polls_since = 0
            raise TaskLost("Broker: Unknown member")
        super().transact(outs, commits)


def test_worker_whose_start_is_not_committed_polls_before_it_tries_again() -> None:
    """It tried thousands of times and never read that another worker had taken its slot."""
    life = Life(BOUNDS, ForgottenMemberLog)
    life.append("impressions", impression("i", T0))
    life.run(20, Pace(commit_s=0.2))
    assert isinstance(life.log, ForgottenMemberLog)
    assert life.log.refused == 3
    assert list(life.broker.outputs())
    life.check()

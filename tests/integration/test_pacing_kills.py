"""Pace and join killed at random moments: what is billed is the truth, and no budget is passed by more than a bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.embedded.broker import Broker
from tests.pacing_kills import Kills

pytestmark = pytest.mark.broker
SEED = 20_261_201


@pytest.mark.timeout(480)
def test_killed_at_random_moments_or_blind_spend_is_the_oracles_and_stays_below_the_bound(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    kills = Kills(broker, topic_prefix, tmp_path, seed=SEED, blind_s=5.0, say=print)
    report = kills.run(seconds=20.0, gap_s=(1.0, 3.0))
    assert report.trouble() == []
    # How many come in the time depends on the machine; the join is killed once more, and stays down, when pacing is to
    # be blind.
    assert report.kills["pace"] + report.kills["both"] > 0
    assert all("totals are behind" in reason for reason in report.blind_reasons)

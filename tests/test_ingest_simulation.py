"""Whatever crashes, freezes or moves: ingest writes what a direct mapping of the source gives, each record once."""

from __future__ import annotations

import pytest

from tests.effort import SHORT, tries
from tests.simulation.ingest import run
from tests.simulation.process import DURABLE
from tests.simulation.simulate import Summary, run_some

# From where they come by every step.
FIRST = 300
SEEDS = tries(200) if SHORT else 200
# A fold that keeps no files of its own does not come by these.
_OF_FILES = ("append", "sync", "truncate", "delete", "rename")


@pytest.fixture(scope="module")
def summary() -> Summary:
    return run_some(FIRST, FIRST + SEEDS, run)


def test_whatever_crashes_every_record_is_mapped_once(summary: Summary) -> None:
    assert summary.seeds == SEEDS
    assert not summary.failures, "\n".join(f"seed {seed}: {text}" for seed, text in sorted(summary.failures.items()))


@pytest.mark.skipif(SHORT, reason="TRIES is small")
def test_every_durable_step_of_ingest_was_crashed_at(summary: Summary) -> None:
    own = [step for step in DURABLE if not step.endswith(_OF_FILES)]
    assert [step for step in own if not summary.crashes[step]] == []

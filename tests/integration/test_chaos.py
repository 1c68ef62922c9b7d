"""Every kind of fault once, under load, on a real broker of its own; an independent process says what came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import SHORT, Chaos

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse]
SEED = 20_261_121


@pytest.mark.timeout(420)
def test_whatever_happens_to_its_processes_a_run_comes_to_the_truth(tmp_path: Path) -> None:
    chaos = Chaos(tmp_path, seed=SEED, rate=500)
    report = chaos.run(kinds=SHORT, gap_s=(1.0, 3.0))
    again = f"python -m tests.chaos --minutes 1 --seed {SEED}; logs in {tmp_path}"
    assert report.trouble() == [], again
    assert [fault.kind for fault in report.faults] == list(SHORT)
    assert report.answer["events"]["impressions"] > 10_000

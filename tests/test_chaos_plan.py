"""A chaos run goes on when a fault has nobody to strike."""

from pathlib import Path

import pytest

from tests.chaos import Chaos


class _NoWorkers:
    """All join workers are frozen or were removed."""

    def running(self, _: str) -> list[object]:
        return []

    def frozen(self) -> list[object]:
        return []


@pytest.mark.parametrize("kind", ["kill", "freeze", "remove", "kill and lose state", "kill ingest"])
def test_fault_without_a_running_worker_is_left_out_and_said(tmp_path: Path, kind: str) -> None:
    said: list[str] = []
    chaos = Chaos(tmp_path, seed=1, say=said.append)
    chaos.workers = _NoWorkers()  # type: ignore[assignment]  # the two methods that a fault calls first
    chaos._break(kind)
    of = "ingest" if kind.endswith("ingest") else "join"
    assert chaos.report.faults == []
    assert [line.partition("s  ")[2] for line in said] == [f"no {of} worker runs: {kind} is left out"]

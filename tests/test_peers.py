"""What a run beside other systems says: medians, ratios within a round, and what failed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from tests.peers.__main__ import SYSTEMS, medians
from tests.peers.chart import chart
from tests.peers.environments import JAVA_PEERS, LOCKS, PROGRAMS


def run(speed: float, **more: Any) -> dict[str, Any]:
    return {"events_per_s": speed, "events": 100, **more}


RUNS: dict[str, list[dict[str, Any]]] = {
    "bare consumer": [run(100.0), run(200.0), run(400.0)],
    "clickfold": [run(50.0, joined=7, clicks=7, cpu_us_per_event=3.0), run(60.0), run(100.0, joined=7, clicks=7)],
    "Quix": [{"failed": "ended with 1: boom"}, run(20.0, joined=6, clicks=7)],
    "Other <1>": [{"failed": "cannot be installed: no wheel"}],
}


def test_a_ratio_is_that_of_its_own_round_and_failed_rounds_are_counted() -> None:
    found = medians(RUNS)
    assert found["clickfold"]["events_per_s"] == 60
    assert found["clickfold"]["range"] == [50, 100]
    # 0.5, 0.3 and 0.25, not 60 of 200.
    assert found["clickfold"]["to_bare"] == 0.3
    assert (found["Quix"]["events_per_s"], found["Quix"]["failed_rounds"], found["Quix"]["to_bare"]) == (20, 1, 0.1)
    assert found["Other <1>"] == {"failed": "cannot be installed: no wheel"}


def test_chart_has_a_bar_for_each_system_and_names_those_without_a_figure() -> None:
    root = ET.fromstring(chart(medians(RUNS)))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in RUNS] == ["bare consumer", "clickfold", "Quix"]
    assert "Other <1>: no figure" in texts


def test_every_package_of_every_peer_is_pinned_by_hash() -> None:
    for lock in LOCKS.glob("*.txt"):
        packages = [line for line in lock.read_text().splitlines() if line and not line.startswith((" ", "#"))]
        assert packages
        assert all("==" in line and line.endswith("\\") for line in packages), lock
    for name in JAVA_PEERS:
        assert (PROGRAMS / f"{name}.java").exists()
        lines = [line for line in (LOCKS / f"{name}.jars").read_text().splitlines() if not line.startswith("#")]
        assert all(len(line.split()[1]) == 64 for line in lines)
    assert {"clickfold", "bare consumer"} <= {each.name for each in SYSTEMS}

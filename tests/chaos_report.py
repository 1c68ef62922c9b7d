"""What was done in a chaos run, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    """One thing done to the system: when, since the load began, to whom, and when all partitions were live again."""

    kind: str
    whom: str
    at_s: float
    over_s: float
    whole_after_s: float | None = None


@dataclass
class Report:
    """What was done and what came of it. `answer` is that of `clickfold verify`, `starts` counts changes of owner.

    `least_starts` is how many there are without faults; `redriven` is what is wrong with what was redriven.
    """

    seed: int
    least_starts: int
    faults: list[Fault] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    redriven: list[str] = field(default_factory=list)
    evidence: Counter[str] = field(default_factory=Counter)

    def trouble(self) -> list[str]:
        """What shows that the run differs from the truth, or that it did not happen as planned."""
        checks = self.answer["checks"]
        found = [f"{check['name']}: {check['first']}" for check in checks if check["differing"]]
        found += [f"{check['name']}: nothing compared" for check in checks if not check["compared"]]
        found += [f"{name}: not compared" for name in self.answer["absent"]]
        judged = dict(self.answer["events"])
        judged["source"] = sum(check["compared"] for check in checks if check["name"] == "ingest")
        for log, count in self.delivered.items():
            if not 0 < count <= judged[log]:
                found.append(f"{count} {log} were acknowledged, {judged[log]} judged")
        found += self.redriven
        kinds = Counter(fault.kind for fault in self.faults)
        moved = sum(kinds[kind] for kind in ("kill", "kill and lose state", "freeze", "add", "remove"))
        if self.starts < self.least_starts + moved:
            found.append(f"{self.starts} starts of a partition's owner, but {moved} faults should have moved some")
        found += [
            f"{wanted} of {kind!r}, the logs show {self.evidence[kind]}"
            for kind, wanted in kinds.items()
            if self.evidence[kind] < wanted
        ]
        return found

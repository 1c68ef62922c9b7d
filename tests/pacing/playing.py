"""Plays scenarios in a process of their own."""

from __future__ import annotations

from collections.abc import Sequence

from streams.market.figures import Figures, figures
from streams.market.policies import make_policy
from streams.market.run import Run, normal, referred
from streams.market.scenario import Scenario
from streams.market.scenarios import SCENARIOS
from streams.market.world import drawn

Result = tuple[str, int, Figures]


def play(seed: int, policy: str, names: Sequence[str]) -> list[Result]:
    """Scenarios with the same warm-up day: it is played once."""
    found, warmed = [], None
    for name in names:
        scenario = SCENARIOS[name]
        reference = referred(scenario, seed)
        if warmed is None:
            warmed = Run(normal(scenario), seed, make_policy(policy), reference.budgets)
            warmed.until(scenario.judged_s)
        day = warmed.forked(scenario, drawn(scenario, seed)).judged()
        found.append((name, seed, figures(day, reference, asked_minute=_asked_minute(scenario))))
    return found


def _asked_minute(scenario: Scenario) -> int:
    """Half an hour after the outage."""
    outage = scenario.pace_down or scenario.join_down
    return min(1439, outage.to_s // 60 + 30) if outage else 1439

"""What chance allows: campaigns paced by an oracle that knows all rates.

It sees each click at once, its decisions hold at once, and it knows how many clicks an auction brings, what a click
costs on average, and how late clicks come. Which impressions are clicked, when, and at what price, it does not know.
It shows what brings billed spend and spend in flight to the plan, as fast as traffic lets it, and stops as the law
does. So what it cannot reach, chance forbids to all who stop so.

python -m tests.pacing.oracle --seeds 10 [--only normal,five-clicks,rare-clicks]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from streams.market.figures import click_prices
from streams.market.policies import make_policy
from streams.market.run import Run, normal, referred
from streams.market.scenarios import SCENARIOS
from streams.market.world import DELAY_MEDIAN_S, DELAY_SIGMA, Floats, diurnal
from streams.pacing.law import LawSettings
from tests.pacing.targets import TARGETS

_LAW: Final = LawSettings()
_TICK_S: Final = 10
_TICKS_A_MINUTE: Final = 60 // _TICK_S
_TICKS: Final = 1_440 * _TICKS_A_MINUTE
# Standard deviation over mean of what a click costs a campaign of `normal` under the law: the median of campaigns.
_PRICE_DEVIATION: Final = 0.37
_ON_PLAN: Final = 0.04
# Half past seven, half an hour after the outages of the scenarios.
_ASKED_TICK: Final = 1_170 * _TICKS_A_MINUTE
_REPEATS: Final = 4


@dataclass(frozen=True, slots=True)
class Oracle:
    """How it steers: `traffic` is how many times the plan's clicks are to be had at once, `deviations` of chance must
    fit into what is left, and the plan is done `hurry` clicks early."""

    traffic: float
    deviations: float
    hurry: float


# The law aims at 0.85 of all auctions. An oracle with three times the clicks that it needs is not bound by them.
ORACLES: Final = [
    Oracle(traffic, deviations, hurry)
    for traffic in (1 / _LAW.setpoint, 3.0)
    for deviations, hurry in ((_LAW.deviations, 0.0), (_LAW.deviations, _LAW.early_clicks), (6.0, _LAW.early_clicks))
]


class Spread(NamedTuple):
    """Of each campaign: billed less the budget, in click prices, and spend less the plan, as a share of the budget, in
    the evening."""

    over: Floats
    apart: Floats


def spread(budgets: Floats, oracle: Oracle, *, seed: int, window_s: int = 3_600) -> Spread:
    """Plays a day of campaigns with these budgets, in click prices."""
    draw = np.random.default_rng(seed)
    came = _came(window_s)
    ages = len(came)
    to_come = (1 - came)[::-1].copy()
    late = round((1 - came).sum())
    # What was shown in the last ticks, twice, so that they lie one behind the other from any place on.
    shown, coming = np.zeros((2 * ages, len(budgets))), np.zeros((ages + 1, len(budgets)))
    level = np.repeat(diurnal(), _TICKS_A_MINUTE)
    plan = np.concatenate([[0.0], np.cumsum(level) / level.sum()])
    billed, apart = np.zeros(len(budgets)), np.zeros(len(budgets))
    spare = np.maximum(np.minimum(_LAW.left_share * budgets, _LAW.left_most), _LAW.left_over)
    sigma = math.sqrt(math.log1p(_PRICE_DEVIATION**2))
    for tick in range(_TICKS):
        billed += coming[tick % len(coming)]
        coming[tick % len(coming)] = 0.0
        place = tick % ages
        flight = to_come @ shown[place : place + ages]
        left = budgets - billed - flight
        rest = 1 - plan[tick]
        near = min(max((_LAW.early_from - rest) / (0.6 * _LAW.early_from), 0.0), 1.0) if oracle.hurry else 0.0
        early = near * np.minimum(_LAW.early + oracle.hurry / budgets, 0.15)
        due = budgets * np.minimum(plan[min(tick + late, _TICKS)] + early, 1.0) - billed - flight
        chance = oracle.deviations * np.sqrt((1 + _PRICE_DEVIATION**2) * np.maximum(flight, 0.0))
        room = left - (spare - _LAW.left_over) - chance
        fastest = (plan[tick + 1] - plan[tick]) * budgets * oracle.traffic
        wanted = np.clip(np.minimum(due, room * (_TICK_S / 15)), 0.0, fastest)
        wanted[left <= spare] = 0.0
        shown[place] = shown[place + ages] = wanted
        clicks = np.repeat(np.arange(len(budgets)), draw.poisson(wanted))
        delays = np.searchsorted(came, draw.random(len(clicks)))
        prices = np.exp(draw.normal(-sigma * sigma / 2, sigma, len(clicks)))
        np.add.at(coming, ((tick + 1 + delays) % len(coming), clicks), prices)
        if tick == _ASKED_TICK:
            apart = billed / budgets - plan[tick]
    return Spread(billed - budgets, apart)


def _came(window_s: int) -> Floats:
    """The share of a window's clicks that came by the end of each tick."""
    normal_cdf = NormalDist().cdf
    ends = range(_TICK_S, window_s + 1, _TICK_S)
    shares = np.array([normal_cdf(math.log(end / DELAY_MEDIAN_S) / DELAY_SIGMA) for end in ends])
    return np.asarray(shares / shares[-1])


def budgets_of(name: str, seeds: Sequence[int]) -> Floats:
    """Budgets of the feasible campaigns of a scenario, in the click prices that the law pays."""
    found = []
    for seed in seeds:
        scenario = SCENARIOS[name]
        reference = referred(scenario, seed)
        day = Run(normal(scenario), seed, make_policy("law"), reference.budgets).judged()
        prices = click_prices(day.spend.sum(1), day.clicks.sum(1), reference)
        found.append((day.budgets / prices)[reference.feasible])
        sys.stderr.write(f"\r{name}: {len(found)} of {len(seeds)} seeds ")
    sys.stderr.write("\n")
    return np.concatenate(found)


def table(name: str, budgets: Floats) -> Iterator[str]:
    """Markdown: what each oracle reaches with these budgets."""
    target = TARGETS[name]
    tolerance = np.ones_like(budgets) if target.within == "click" else np.maximum(0.02 * budgets, 1.0)
    for oracle in ORACLES:
        runs = [spread(budgets, oracle, seed=seed) for seed in range(_REPEATS)]
        over = np.concatenate([run.over for run in runs])
        within = np.mean([(np.abs(run.over) <= tolerance).mean() for run in runs])
        worst = np.median([run.over.max() for run in runs])
        on_plan = np.mean([(np.abs(run.apart) <= _ON_PLAN).mean() for run in runs])
        yield (
            f"| {name} | {oracle.traffic:.2f} | {oracle.deviations:g} | {oracle.hurry:g} | {within:.3f} | "
            f"{worst:.2f} | {(over > target.over).mean() * 1_000:.1f} | {on_plan:.2f} |"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Says how far it is on standard error, and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.pacing.oracle")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default="normal,five-clicks,rare-clicks")
    asked = parser.parse_args(arguments)
    print("| scenario | traffic | deviations | hurry | within | worst over | per 1,000 above the target | on plan |")
    print("| --- |" + " ---: |" * 7)
    for name in asked.only.split(","):
        for line in table(name, budgets_of(name, range(1, asked.seeds + 1))):
            print(line, flush=True)


if __name__ == "__main__":
    main()

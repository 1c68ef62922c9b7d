"""A market under a policy, from the first second to the last."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.kernels.auctions import CLICKS, SPEND
from streams.market.played import Played, spent_in, unpaced
from streams.market.scenario import DAY_S, HOUR_S, Scenario
from streams.market.seen import Budgets, Policy
from streams.market.world import Floats, World, drawn
from streams.pacing.law.arrays import Totals

# Midnight of the first day, a Monday: policies see times of our days.
EPOCH_S: Final = 20_605 * DAY_S
SEEN_LATE_S: Final = 2
_MINUTE_S: Final = 60


@dataclass(slots=True)
class Day:
    """The judged day: budgets at its end, spend and clicks by minute, the plan by minute, decisions."""

    budgets: Floats
    spend: Floats
    clicks: Floats
    plan: Floats
    told: int
    spent_at_change: Floats
    """What was billed before a change of budgets was known; 0 without one."""
    admitted: Floats
    """Share of auctions by minute."""
    multiplier: Floats
    hour_caps: Floats | None = None
    """What each campaign might spend in an hour."""


class Run:
    """A market that a policy paces."""

    def __init__(self, scenario: Scenario, seed: int, policy: Policy, budgets: Floats) -> None:
        self._scenario, self._policy = scenario, policy
        world = drawn(scenario, seed)
        self._played = Played(world, scenario)
        self._micros = budgets
        self._before = np.zeros_like(self._played.counters)
        self._totals = Totals(scenario.campaigns)
        self._totals.seen_to_s = float(EPOCH_S)
        self._before_hour = self._before[:, SPEND].copy()
        self._period = Budgets.of(scenario, budgets.copy(), EPOCH_S, EPOCH_S + DAY_S)
        policy.begin(scenario, world.rates * world.told[:, None])

    @property
    def spend(self) -> Floats:
        """What was billed so far, by campaign and minute."""
        return self._played.spend_by_minute

    def forked(self, scenario: Scenario, world: World) -> Run:
        """A copy that goes on with another judged day."""
        run = copy.deepcopy(self)
        run._scenario = scenario
        run._played.world = world
        return run

    def until(self, to_s: int) -> None:
        """Plays on up to a second."""
        for now in range(self._played.now_s, to_s, self._policy.tick_s):
            self._tick(now)
        self._played.until(to_s)

    def _tick(self, now: int) -> None:
        scenario, played = self._scenario, self._played
        at = now - scenario.judged_s
        is_seen = not _during(scenario.join_down, at)
        played.until(now, seen_s=now - SEEN_LATE_S if is_seen and now > SEEN_LATE_S else None)
        if now % HOUR_S == 0:
            self._before_hour = played.counters[:, SPEND].copy()
        if now % DAY_S == 0:
            self._before = played.counters.copy()
            start = now + (scenario.start_s if at == 0 else 0)
            self._period = Budgets.of(scenario, self._micros.copy(), EPOCH_S + start, EPOCH_S + now + DAY_S)
        if scenario.budget is not None and at == scenario.budget.from_s:
            self._period = replace(self._period, micros=self._micros * scenario.budget.factor)
        if not _during(scenario.pace_down, at):
            table = self._policy.tick(EPOCH_S + now, self._period, self._seen(now))
            if table is not None:
                usable = table.copy()
                usable[:, 4] -= EPOCH_S
                played.publish(usable)

    def _seen(self, now: int) -> Totals:
        played, totals = self._played, self._totals
        totals.hour_spend_micros[:] = np.maximum(played.seen[:, SPEND] - self._before_hour, 0.0)
        if totals.seen_to_s == EPOCH_S + played.seen_to_s and now % DAY_S:
            return totals
        totals.seen_to_s = float(EPOCH_S + played.seen_to_s)
        today = played.seen_to_s > now // DAY_S * DAY_S
        totals.spend_micros[:] = played.seen[:, SPEND] - self._before[:, SPEND] if today else 0.0
        totals.clicks[:] = played.seen[:, CLICKS] - self._before[:, CLICKS] if today else 0.0
        totals.table[:, 2:5] = played.seen[:, :3]
        totals.attributed[:] = played.seen_attributed
        return totals

    def judged(self, *, watch: Callable[[int], None] | None = None) -> Day:
        """Plays the judged day."""
        scenario, policy, played = self._scenario, self._policy, self._played
        start = scenario.judged_s
        self.until(start)
        minutes = (EPOCH_S + start + (np.arange(1440) + 1) * _MINUTE_S).astype(float)
        plan = np.zeros((scenario.campaigns, 1440))
        told = policy.told
        marks = [scenario.start_s] + ([scenario.budget.from_s] if scenario.budget else [])
        admitted, multiplier = np.zeros_like(plan), np.zeros_like(plan)
        for minute in range(1440):
            at = minute * _MINUTE_S
            self.until(start + at + policy.tick_s)
            if at in marks:
                plan[:, minute:] = policy.plan(self._period, minutes[minute:])
            self.until(start + at + _MINUTE_S)
            held = played.held(0)
            admitted[:, minute], multiplier[:, minute] = held[:, 1], held[:, 2]
            if watch is not None and minute % 60 == 59:
                watch(minute)
        first = start // _MINUTE_S
        known = scenario.budget.from_s if scenario.budget is not None else 0
        return Day(
            spent_at_change=spent_in(played, start, start + known),
            budgets=self._period.micros,
            spend=played.spend_by_minute[:, first:],
            clicks=played.clicks_by_minute[:, first:],
            plan=plan,
            told=policy.told - told,
            admitted=admitted,
            multiplier=multiplier,
            hour_caps=self._period.hour_caps,
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """What a seed's scenario is judged by: budgets, unpaced prices of clicks, and which campaigns can spend theirs."""

    budgets: Floats
    prices: Floats
    feasible: npt.NDArray[np.bool_]


def normal(scenario: Scenario) -> Scenario:
    """The same market without the surprises of the judged day: what its warm-up day is like."""
    plain = Scenario()
    judged = ("start_s", "traffic", "outside", "budget", "pace_down", "join_down")
    return replace(scenario, **{name: getattr(plain, name) for name in judged})


def referred(scenario: Scenario, seed: int) -> Reference:
    """Budgets by what campaigns could spend unpaced on a normal day: most of them a part of it, some more than it."""
    usual = normal(scenario)
    world = drawn(usual, seed)
    market = unpaced(world, usual)
    judged, end = usual.judged_s, usual.days * DAY_S
    spend = spent_in(market, judged, end)
    clicks = market.clicks_by_minute[:, judged // _MINUTE_S :].sum(1)
    mean = spend.sum() / clicks.sum()
    prices = np.where(clicks > 0, spend / np.maximum(clicks, 1), mean)
    if scenario.clicks_a_day is not None:
        budgets = scenario.clicks_a_day * prices
    else:
        draw = np.random.default_rng([seed, 1])
        kind = draw.random(len(spend))
        part = np.where(kind < 0.7, draw.uniform(0.08, 0.75, len(spend)), draw.uniform(0.75, 0.93, len(spend)))
        part = np.where(kind < 0.85, part, draw.uniform(1.1, 2.0, len(spend)))
        budgets = np.maximum(part * spend, prices)
    return Reference(np.floor(budgets), prices, _feasible(scenario, seed, market, budgets))


def _feasible(scenario: Scenario, seed: int, usual: Played, budgets: Floats) -> npt.NDArray[np.bool_]:
    """Which campaigns could spend 105 % of what they have to, unpaced, from the surprise on."""
    market = usual if scenario == normal(scenario) else unpaced(drawn(scenario, seed), scenario)
    judged, end = scenario.judged_s, scenario.days * DAY_S
    changes = [each.from_s for each in (scenario.outside[:1] or (scenario.budget,)) if each is not None]
    from_s = judged + max([scenario.start_s, *changes])
    begun = judged + scenario.start_s
    usually = np.maximum(spent_in(usual, begun, end), 1e-9)
    spent = budgets * spent_in(usual, begun, from_s) / usually
    budget = budgets * (scenario.budget.factor if scenario.budget else 1.0)
    period = Budgets.of(scenario, budgets, EPOCH_S + judged, EPOCH_S + end)
    by_minute = market.spend_by_minute[:, judged // _MINUTE_S :] * period.open_minutes()
    by_minute[:, : (from_s - judged) // _MINUTE_S] = 0.0
    by_hour = by_minute.reshape(len(budgets), 24, 60).sum(2)
    if period.hour_caps is not None:
        by_hour = np.minimum(by_hour, period.hour_caps[:, None])
    return np.asarray(by_hour.sum(1) >= 1.05 * np.maximum(budget - spent, 0.0))


def _during(outage: tuple[int, int] | None, at: int) -> bool:
    return outage is not None and outage[0] <= at < outage[1]

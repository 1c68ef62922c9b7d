"""A log of auctions played again under a policy, through the gates that ad servers have.

A log of won impressions tells what fewer of them would have cost. Only where it says with which share a campaign
entered, and which price had to be beaten, does it tell what more or other bids would have bought: then an impression at
share a stands for 1 / a auctions (Horvitz and Thompson 1952), and a bid that was lowered wins what it still beats.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from schemas.auctions import LoggedImpression
from schemas.errors import SettingsError
from streams.kernels.auctions import (
    ADMIT,
    LEASE,
    LEAST_RATE,
    MULTIPLIER,
    SAFE_ADMIT,
    VALID_UNTIL,
    VERSION,
)
from streams.kernels.pacing_columns import QUARTERS_KEPT
from streams.market.run import Day, Reference
from streams.market.scenario import DAY_S, HOUR_S, Scenario, Server
from streams.market.seen import Budgets, Policy
from streams.market.world import Floats
from streams.pacing.gate import Gate, GateDecision
from streams.pacing.law.arrays import Totals
from streams.pacing.law.pacer import UNPREDICTED_RATE

_MINUTES: Final = 1440
_STEP_S: Final = 2
_QUANTILES: Final = 256


@dataclass(frozen=True, slots=True)
class Log:
    """A log by time, with the number of each impression's campaign."""

    impressions: Sequence[LoggedImpression]
    campaigns: list[str]

    @classmethod
    def of(cls, impressions: Sequence[LoggedImpression]) -> Log:
        """At least one impression, by time."""
        return cls(impressions, sorted({each.campaign_id for each in impressions}))

    @property
    def first_day_s(self) -> int:
        """Midnight UTC before the first impression."""
        return self.impressions[0].ts // 1000 // DAY_S * DAY_S

    @property
    def days(self) -> int:
        """Days from the first impression to the last."""
        return (self.impressions[-1].ts // 1000 - self.first_day_s) // DAY_S + 1

    @property
    def tells_more(self) -> bool:
        """Whether every impression says its share and the price to beat."""
        return all(each.admit is not None and each.price_to_beat_micros is not None for each in self.impressions)

    def spend(self) -> Floats:
        """What each campaign was billed a day, by day of the click; clicks after the last day count for it."""
        found = np.zeros((len(self.campaigns), self.days))
        row = {name: number for number, name in enumerate(self.campaigns)}
        for each in self.impressions:
            if each.clicked:
                at_s = (each.ts + (each.click_delay_ms or 0)) // 1000 - self.first_day_s
                found[row[each.campaign_id], min(at_s // DAY_S, self.days - 1)] += each.price_micros
        return found


class _Market:
    """Gates, clicks to come and counters while a log is played."""

    def __init__(self, log: Log, scenario: Scenario, seed: int) -> None:
        rows, self.scenario = len(log.campaigns), scenario
        self.ids = log.campaigns
        self.gates = [Gate(servers=len(scenario.servers)) for _ in scenario.servers]
        self.least_rate = np.zeros(rows)
        self.spend = np.zeros((rows, log.days * _MINUTES))
        self.clicks = np.zeros_like(self.spend)
        self.counters = np.zeros((rows, 5))
        self.before_hour = np.zeros(rows)
        self.attributed = np.zeros((rows, QUARTERS_KEPT))
        self.quarter = -1
        self.coming: list[tuple[int, int, int, int]] = []
        self.news: list[tuple[int, list[GateDecision]]] = []
        self.taken = [0] * len(self.gates)
        self.draw = np.random.default_rng(seed)
        self.first_s = log.first_day_s
        self.highest = np.zeros(rows)

    def click(self, until_ms: int) -> None:
        """Bills the clicks that came before."""
        while self.coming and self.coming[0][0] < until_ms:
            at_ms, row, price, quarter = heapq.heappop(self.coming)
            minute = (at_ms // 1000 - self.first_s) // 60
            if minute < self.spend.shape[1]:
                self.spend[row, minute] += price
                self.clicks[row, minute] += 1
            self.counters[row, :2] += price, 1
            self.attributed[row, quarter % QUARTERS_KEPT] += 1

    def offer(self, number: int, row: int, each: LoggedImpression, *, is_open: bool) -> None:
        """The auctions that a logged impression stands for."""
        copies = int(1 / each.admit + self.draw.random()) if is_open and each.admit is not None else 1
        for copy in range(copies):
            gate = self.gates[(number + copy) % len(self.gates)]
            multiplier = gate.admit(self.ids[row], f"{number}-{copy}", now_ms=each.ts)
            if multiplier <= 0 or (each.pctr or 0.0) < self.least_rate[row]:
                continue
            price = each.price_micros
            if is_open:
                bid = multiplier * self.highest[row]
                if bid < (each.price_to_beat_micros or 0):
                    continue
                price = min(price, int(bid))
            gate.shown(self.ids[row], price, each.pctr)
            expected = UNPREDICTED_RATE if each.pctr is None else each.pctr
            self.counters[row, 2] += 1
            if each.pctr is not None:
                self.counters[row, 3:] += expected, expected * price
            delay_ms = each.click_delay_ms or 0
            if each.clicked and delay_ms <= self.scenario.window_s * 1000:
                heapq.heappush(self.coming, (each.ts + delay_ms, row, price, each.ts // 900_000))

    def refresh(self, now_s: int) -> None:
        """Servers take what was published long enough ago."""
        for server, (gate, (refresh_s, late_s)) in enumerate(zip(self.gates, self.scenario.servers, strict=True)):
            if now_s % refresh_s:
                continue
            while self.taken[server] < len(self.news) and self.news[self.taken[server]][0] + late_s <= now_s:
                for decision in self.news[self.taken[server]][1]:
                    gate.take(decision)
                self.taken[server] += 1


def play_log(log: Log, budgets: Floats, policy: Policy, scenario: Scenario, *, seed: int = 1) -> tuple[Day, Reference]:
    """Plays the log. `budgets` is what each campaign may spend a day. The rows of the answer are campaigns by day.

    Raises SettingsError for budgets above what the log spent, where it cannot tell what these would have bought.
    """
    spent = log.spend()
    is_open = log.tells_more
    if not is_open and (budgets[:, None] > spent + 1).all(1).any():
        name = log.campaigns[int(np.flatnonzero((budgets[:, None] > spent + 1).all(1))[0])]
        raise SettingsError(
            f"the budget of {name} is above what the log spent on every day, and a log of won impressions cannot tell "
            "what more would have bought; give admit and price_to_beat_micros, or a lower --budget"
        )
    scenario = _of_log(scenario, log)
    market = _Market(log, scenario, seed)
    row_of = {name: number for number, name in enumerate(log.campaigns)}
    for each in log.impressions:
        row = row_of[each.campaign_id]
        market.highest[row] = max(market.highest[row], each.price_micros, each.price_to_beat_micros or 0)
    policy.begin(scenario, _predictions(log))
    plans = _Plans(len(log.campaigns), log.days)
    totals, before = Totals(len(log.campaigns)), np.zeros((len(log.campaigns), 2))
    place, end_s = 0, log.first_day_s + log.days * DAY_S
    period = Budgets.of(scenario, budgets, log.first_day_s, log.first_day_s + DAY_S)
    for now_s in range(log.first_day_s, end_s, _STEP_S):
        while place < len(log.impressions) and log.impressions[place].ts < now_s * 1000:
            each = log.impressions[place]
            market.click(each.ts)
            market.offer(place, row_of[each.campaign_id], each, is_open=is_open)
            place += 1
        market.click(now_s * 1000)
        if now_s // 900 != market.quarter:
            market.quarter = now_s // 900
            market.attributed[:, market.quarter % QUARTERS_KEPT] = 0.0
        if now_s % HOUR_S == 0:
            market.before_hour = market.counters[:, 0].copy()
        market.refresh(now_s)
        if now_s % policy.tick_s:
            _see(market, totals, before, now_s)
            continue
        if now_s % DAY_S == 0:
            before = market.counters[:, :2].copy()
            period = Budgets.of(scenario, budgets, now_s, now_s + DAY_S)
        table = policy.tick(now_s, period, totals)
        plans.note(now_s, log.first_day_s, policy, period)
        if table is not None:
            market.news.append((now_s, _decisions(log.campaigns, table)))
            market.least_rate = table[:, LEAST_RATE].copy()
    return _answer(log, market, plans, policy, budgets, spent)


def _see(market: _Market, totals: Totals, before: Floats, now_s: int) -> None:
    """Takes the totals, two seconds before the next tick."""
    totals.seen_to_s = float(now_s)
    totals.table[:, :5] = market.counters
    totals.table[:, :2] -= before
    totals.hour_spend_micros[:] = market.counters[:, 0] - market.before_hour
    totals.attributed[:] = market.attributed


class _Plans:
    """The plan of each day by minute, as it is at the day's first tick."""

    def __init__(self, rows: int, days: int) -> None:
        self.micros = np.zeros((rows, days, _MINUTES))

    def note(self, now_s: int, first_s: int, policy: Policy, period: Budgets) -> None:
        """Keeps the plan where the day begins."""
        if now_s == period.start_s:
            times = (now_s + 60 * np.arange(1, _MINUTES + 1)).astype(float)
            self.micros[:, (now_s - first_s) // DAY_S] = policy.plan(period, times)


def _decisions(names: Sequence[str], table: Floats) -> list[GateDecision]:
    return [
        GateDecision(
            campaign_id=name,
            version=int(row[VERSION]),
            admit=row[ADMIT],
            bid_multiplier=row[MULTIPLIER],
            allowance_micros=row[LEASE],
            valid_until_ms=int(min(row[VALID_UNTIL], 1e12) * 1000),
            safe_admit=row[SAFE_ADMIT],
            click_rate=UNPREDICTED_RATE,
        )
        for name, row in zip(names, table, strict=True)
        if row[VERSION] >= 0
    ]


def _of_log(scenario: Scenario, log: Log) -> Scenario:
    return Scenario(
        campaigns=len(log.campaigns),
        servers=tuple(Server(each.refresh_s, each.late_s) for each in scenario.servers),
        window_s=scenario.window_s,
        asap=scenario.asap,
        hourly_cap=scenario.hourly_cap,
        dayparts=scenario.dayparts,
    )


def _answer(
    log: Log, market: _Market, plans: _Plans, policy: Policy, budgets: Floats, spent: Floats
) -> tuple[Day, Reference]:
    rows, days = len(log.campaigns), log.days
    shape = (rows * days, _MINUTES)
    prices = np.repeat(_prices(log), days)
    repeated = np.repeat(budgets, days)
    day = Day(
        budgets=repeated,
        spend=market.spend.reshape(shape),
        clicks=market.clicks.reshape(shape),
        plan=plans.micros.reshape(shape),
        told=policy.told // days,
        spent_at_change=np.zeros(rows * days),
        admitted=np.zeros(shape),
        multiplier=np.zeros(shape),
        hour_caps=repeated * market.scenario.hourly_cap if market.scenario.hourly_cap else None,
    )
    could = np.inf if log.tells_more else spent.ravel()
    return day, Reference(repeated, prices, np.asarray(could >= 1.05 * repeated))


def _predictions(log: Log) -> Floats:
    """Quantiles of each campaign's predictions, as many for each."""
    by_name: dict[str, list[float]] = {name: [] for name in log.campaigns}
    for each in log.impressions:
        by_name[each.campaign_id].append(each.pctr or 0.0)
    return np.array([np.quantile(values, np.linspace(0, 1, _QUANTILES)) for values in by_name.values()])


def _prices(log: Log) -> Floats:
    """The mean price of a click in the log, by campaign; of all where it has none."""
    paid, clicks = np.zeros(len(log.campaigns)), np.zeros(len(log.campaigns))
    row = {name: number for number, name in enumerate(log.campaigns)}
    for each in log.impressions:
        if each.clicked:
            paid[row[each.campaign_id]] += each.price_micros
            clicks[row[each.campaign_id]] += 1
    mean = paid.sum() / max(clicks.sum(), 1.0)
    return np.where(clicks > 0, paid / np.maximum(clicks, 1.0), max(mean, 1.0))

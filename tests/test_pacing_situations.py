"""A shard in the situations that went wrong with the controller of before, by its decisions of second after second."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from schemas.events import Campaign
from schemas.pacing import PacingDecision
from schemas.topics import DAY_MS
from schemas.totals import MEASURES, QUARTER_MS, CampaignTotal
from streams.pacing.changelog import is_memory_key
from streams.pacing.law import LawSettings
from streams.pacing.shard import Shard
from tests.factories import change
from tests.test_pacing_counters import DAY

HOUR_MS = 3_600_000
MIDNIGHT_MS = DAY * DAY_MS
BUDGET = 48_000_000
CAMPAIGN = Campaign("c1", BUDGET, "UTC", "active", "even", 1)
# A full second brings so much: the budget would be spent in a third of a day.
RATE = BUDGET / 28_800
PRICE = 100_000


class Day:
    """A campaign whose auctions bring `RATE` a second at full share; its clicks come at once, as many as expected."""

    def __init__(self, campaign: Campaign, *, start_ms: int, pctr: bool = True, window_s: int = 1_800) -> None:
        self.shard = Shard(LawSettings(window_s=window_s))
        self.shard.open(epoch_s=1, owner=1)
        self.campaign, self.number = campaign, 0
        self.announce(campaign)
        self.at_ms = start_ms
        self.pctr = pctr
        self.admit = 0.0
        self.spent: dict[int, float] = {}
        self.told: list[PacingDecision] = []
        self.leases: dict[str, int] = {}
        self.log: dict[bytes, bytes | None] = {}

    def announce(self, campaign: Campaign) -> None:
        self.campaign, self.number = campaign, self.number + 1
        self.shard.change(change(campaign, number=self.number))

    def run(self, until_ms: int, *, step_ms: int = 20_000, counted: Callable[[int], int] = lambda at_ms: at_ms) -> None:
        """Goes on; totals show what happened before `counted` of the moment."""
        while self.at_ms < until_ms:
            quarter_ms = self.at_ms // QUARTER_MS * QUARTER_MS
            self.spent[quarter_ms] = self.spent.get(quarter_ms, 0.0) + RATE * self.admit * step_ms / 1_000
            self.at_ms += step_ms
            if counted(self.at_ms) == self.at_ms:
                self.shard.count([self.total(quarter_ms)])
            ticked = self.shard.tick(event_ms=self.at_ms, counted_to_ms=counted(self.at_ms), leases=self.leases)
            for one in ticked:
                assert isinstance(one, PacingDecision)
                self.told.append(one)
                self.admit = one.admit * one.bid_multiplier**1.5

    def restart(self, *, leases: bool = True) -> None:
        """The worker is killed and comes back, with the last row of each key and its last decision."""
        self.log |= dict(self.shard.flush())
        again = Shard(self.shard.paced.pacer.settings)
        for key, value in self.log.items():
            again.restore(key, value)
        again.open(epoch_s=self.shard.epoch + 1, owner=2)
        self.shard, self.leases = again, {"c1": self.told[-1].allowance_micros} if leases else {}

    def total(self, quarter_ms: int) -> CampaignTotal:
        spend = round(self.spent[quarter_ms])
        measures = dict.fromkeys(MEASURES, 0) | {
            "impressions": spend // 1_000,
            "attributed_clicks": spend // PRICE,
            "attributed_spend_micros": spend,
            "expected_clicks_nano": spend * 10**9 // PRICE * self.pctr,
            "expected_spend_micros": spend * self.pctr,
            "clicks": spend // PRICE,
            "spend_micros": spend,
        }
        return CampaignTotal("c1", quarter_ms, 0, self.at_ms, final=False, **measures)

    @property
    def spend(self) -> float:
        return sum(self.spent.values())


def test_a_day_ends_with_its_budget_spent_and_not_exceeded() -> None:
    day = Day(CAMPAIGN, start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + DAY_MS - 20_000)
    assert 0.97 * BUDGET < day.spend <= BUDGET + 1.5 * PRICE


def test_totals_that_stop_make_it_careful_and_it_says_so() -> None:
    stopped_ms = MIDNIGHT_MS + 18 * HOUR_MS
    day = Day(CAMPAIGN, start_ms=MIDNIGHT_MS)
    day.run(stopped_ms)
    seen = day.spend
    day.run(MIDNIGHT_MS + DAY_MS - 20_000, counted=lambda at_ms: min(at_ms, stopped_ms))
    assert day.told[-1].counted_to_ms == stopped_ms
    assert "blind" in {one.state for one in day.told}
    assert "behind" not in {one.state for one in day.told if one.event_ms > stopped_ms + 15 * 60_000}
    assert seen < day.spend <= BUDGET + 3 * PRICE


def test_a_flight_that_starts_in_the_evening_is_planned_from_then_on() -> None:
    start_ms = MIDNIGHT_MS + 18 * HOUR_MS
    # A fifth of what the auctions of six hours bring.
    small = replace(CAMPAIGN, daily_budget_micros=BUDGET // 7, start=start_ms)
    day = Day(small, start_ms=start_ms - HOUR_MS)
    day.run(start_ms + HOUR_MS)
    before = {one.state for one in day.told if one.event_ms < start_ms}
    assert before == {"outside_flight"}
    # In the first of six hours: about a sixth.
    assert day.spend < 0.3 * BUDGET / 7
    day.run(MIDNIGHT_MS + DAY_MS - 20_000)
    assert 0.95 * BUDGET / 7 < day.spend <= BUDGET / 7 + 1.5 * PRICE


def test_a_budget_doubled_or_halved_at_noon_is_spent_over_the_afternoon() -> None:
    noon_ms = MIDNIGHT_MS + 12 * HOUR_MS
    for factor in (2.0, 0.75):
        day = Day(CAMPAIGN, start_ms=MIDNIGHT_MS)
        day.run(noon_ms)
        morning, budget = day.spend, round(BUDGET * factor)
        day.announce(replace(CAMPAIGN, version=2, daily_budget_micros=budget))
        day.run(noon_ms + HOUR_MS)
        # An hour of the twelve that are left; not the part of the morning at once.
        assert abs(day.spend - morning - (budget - morning) / 12) < 0.05 * budget
        day.run(MIDNIGHT_MS + DAY_MS - 20_000)
        assert 0.95 * budget < day.spend <= budget + 1.5 * PRICE


def test_impressions_without_a_prediction_are_in_flight_all_the_same() -> None:
    day = Day(CAMPAIGN, start_ms=MIDNIGHT_MS, pctr=False)
    day.run(MIDNIGHT_MS + 2 * HOUR_MS)
    assert day.told[-1].in_flight_micros > 0
    day.run(MIDNIGHT_MS + DAY_MS - 20_000)
    assert day.spend <= BUDGET + 3 * PRICE


def test_with_a_longer_window_impressions_stay_in_flight_for_longer() -> None:
    flights = []
    for window_s in (1_800, 7_200):
        day = Day(CAMPAIGN, start_ms=MIDNIGHT_MS, window_s=window_s)
        day.run(MIDNIGHT_MS + 2 * HOUR_MS)
        day.admit = 0.0
        day.announce(replace(CAMPAIGN, version=2, status="paused"))
        day.run(MIDNIGHT_MS + 3 * HOUR_MS)
        flights.append(day.shard.paced.pacer._decided[0, 4])
    assert flights[0] == 0.0 < flights[1]


def test_a_curve_enters_no_auction_in_parts_without_a_share() -> None:
    by_day = replace(CAMPAIGN, pacing="curve", curve=[0.0] * 8 + [1 / 8] * 8 + [0.0] * 8)
    day = Day(by_day, start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + 8 * HOUR_MS)
    assert day.spend == 0.0
    day.run(MIDNIGHT_MS + 17 * HOUR_MS)
    spend = day.spend
    assert spend > 0.9 * BUDGET
    day.run(MIDNIGHT_MS + DAY_MS - 20_000)
    assert day.spend - spend < 0.02 * BUDGET


def test_a_lifetime_budget_is_shared_out_among_the_days_that_are_left() -> None:
    flight = replace(
        CAMPAIGN, lifetime_budget_micros=BUDGET, start=MIDNIGHT_MS, end=MIDNIGHT_MS + 4 * DAY_MS, pacing="even"
    )
    day = Day(flight, start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + DAY_MS - 20_000)
    first = day.spend
    assert 0.23 * BUDGET < first <= 0.25 * BUDGET + 1.5 * PRICE
    day.run(MIDNIGHT_MS + DAY_MS + HOUR_MS)
    assert abs(day.told[-1].budget_micros - (BUDGET - first) / 3) < 2 * PRICE


def test_multipliers_keep_their_bounds() -> None:
    day = Day(replace(CAMPAIGN, min_bid_multiplier=0.8, max_bid_multiplier=0.9), start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + 12 * HOUR_MS)
    assert {0.8 <= one.bid_multiplier <= 0.9 for one in day.told if one.event_ms > MIDNIGHT_MS + HOUR_MS} == {True}


def test_a_restart_goes_on_as_if_it_had_not_been() -> None:
    noon_ms, end_ms = MIDNIGHT_MS + 12 * HOUR_MS, MIDNIGHT_MS + DAY_MS - 20_000
    day = Day(CAMPAIGN, start_ms=MIDNIGHT_MS)
    day.run(noon_ms)
    last = day.told[-1]
    day.restart()
    day.run(noon_ms + 20_000)
    first = day.told[-1]
    assert first.version > last.version
    assert abs(first.admit - last.admit) < 0.1 * last.admit + 0.01
    assert abs(first.plan_micros - last.plan_micros) < 0.01 * BUDGET
    assert abs(first.bid_multiplier - last.bid_multiplier) < 0.01
    day.run(end_ms)
    assert 0.97 * BUDGET < day.spend <= BUDGET + 1.5 * PRICE


def test_a_restart_knows_how_the_traffic_of_each_campaign_spreads_over_the_day() -> None:
    """Only that of all campaigns together was kept, so each was taken for like all until the next midnight."""
    day = Day(CAMPAIGN, start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + HOUR_MS)
    shape = day.shard.paced.pacer.shape
    shape.relative[0] = np.linspace(0.25, 1.75, 96)
    # Each row is written once an hour.
    day.run(MIDNIGHT_MS + 2 * HOUR_MS + 60_000)
    day.restart()
    day.run(day.at_ms + 20_000)
    again = day.shard.paced.pacer.shape
    assert again.relative[0] == pytest.approx(shape.relative[0], rel=1e-3)
    assert shape.value[0].sum() > 0
    for name in ("value", "full"):
        assert getattr(again, name)[0] == pytest.approx(getattr(shape, name)[0], rel=1e-3)


def test_a_campaign_that_comes_while_the_worker_runs_begins_as_one_that_was_there() -> None:
    day = Day(CAMPAIGN, start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + HOUR_MS)
    later = {
        "paused": replace(CAMPAIGN, campaign_id="paused", status="paused"),
        "new": replace(CAMPAIGN, campaign_id="new"),
    }
    for campaign in later.values():
        day.shard.change(change(campaign))
    ticked = day.shard.tick(event_ms=day.at_ms + 1_000, counted_to_ms=day.at_ms)
    decided = {one.campaign_id: one for one in ticked if isinstance(one, PacingDecision)}
    assert (decided["paused"].state, decided["paused"].admit) == ("paused", 0.0)
    fresh = Day(CAMPAIGN, start_ms=day.at_ms)
    (first,) = fresh.shard.tick(event_ms=day.at_ms + 1_000, counted_to_ms=day.at_ms)
    assert isinstance(first, PacingDecision)
    assert decided["new"].admit == pytest.approx(first.admit, rel=0.05)


@pytest.mark.parametrize("turn", [1, -1])
def test_spend_before_a_local_midnight_lowers_what_is_left_of_a_lifetime_budget_in_any_order(turn: int) -> None:
    """A local midnight lies within a UTC day, and so within a batch."""
    flight = replace(
        CAMPAIGN,
        timezone="Asia/Tokyo",
        pacing="asap",
        lifetime_budget_micros=BUDGET,
        start=MIDNIGHT_MS,
        end=MIDNIGHT_MS + 2 * DAY_MS,
    )
    day = Day(flight, start_ms=MIDNIGHT_MS + 15 * HOUR_MS)
    at_ms = day.at_ms + HOUR_MS // 2
    day.shard.tick(event_ms=at_ms, counted_to_ms=at_ms)
    day.spent = {MIDNIGHT_MS + 14 * HOUR_MS: BUDGET / 4, MIDNIGHT_MS + 15 * HOUR_MS: BUDGET / 8}
    day.shard.count([day.total(quarter_ms) for quarter_ms in sorted(day.spent)[::turn]])
    (told,) = day.shard.tick(event_ms=at_ms + 1_000, counted_to_ms=at_ms + 1_000)
    assert isinstance(told, PacingDecision)
    assert told.budget_micros <= BUDGET - BUDGET // 4


def test_a_leap_of_event_time_writes_what_is_remembered_once_and_one_back_stops_nothing() -> None:
    day = Day(CAMPAIGN, start_ms=MIDNIGHT_MS)

    def remembered(at_ms: int) -> int:
        day.shard.tick(event_ms=at_ms, counted_to_ms=at_ms)
        return sum(is_memory_key(write.key) for write in day.shard.flush())

    remembered(MIDNIGHT_MS)
    later_ms = MIDNIGHT_MS + 30 * DAY_MS
    assert [remembered(later_ms + second * 1_000) for second in range(10)] == [2] + [0] * 9
    # The clock was the wall's before the first total, which is older.
    assert sum(remembered(MIDNIGHT_MS + HOUR_MS + second * 1_000) for second in range(200)) >= 1


def test_kills_while_totals_stand_still_grant_no_more_than_the_last_lease_left() -> None:
    """Each new owner took all for counted, and granted half of what was left again."""
    stopped_ms = MIDNIGHT_MS + 600_000
    day = Day(replace(CAMPAIGN, pacing="asap", daily_budget_micros=BUDGET // 24), start_ms=MIDNIGHT_MS)
    day.run(stopped_ms, step_ms=1_000)
    last, left = day.told[-1], BUDGET // 24 - day.spend
    granted = 0
    for kills in range(1, 9):
        day.restart()
        told = len(day.told)
        day.run(stopped_ms + 30_000 * kills, step_ms=1_000, counted=lambda _: stopped_ms - 13_000)
        granted += sum(one.allowance_micros for one in day.told[told:])
    assert 0 < last.allowance_micros <= left
    # What is in flight is reckoned a little otherwise by each.
    assert granted <= 1.25 * last.allowance_micros
    assert {one.state for one in day.told[-2:]} == {"blind"}

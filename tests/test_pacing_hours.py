"""Day-parting and hourly caps: plans, decisions of a whole day, and what ad servers may do when news are late."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.dayparts import DAYS, hours_of_week
from schemas.events import Campaign
from schemas.topics import DAY_MS
from schemas.zones import zone
from streams.pacing.law import ASAP, EVEN, FLAT, Pacer, Totals
from streams.pacing.local_day import day_of
from streams.pacing.open_hours import _settings_of_clocks, closed_halves, open_ms
from streams.pacing.terms import day_terms
from tests.effort import tries
from tests.test_pacing_counters import DAY
from tests.test_pacing_situations import BUDGET, CAMPAIGN, HOUR_MS, MIDNIGHT_MS, PRICE, Day

HALF_MS = HOUR_MS // 2
TODAY = DAYS[(DAY + 3) % 7]  # 1970 began on a Thursday


def by_hour(day: Day) -> dict[int, float]:
    """Spend by hour of the day."""
    found: dict[int, float] = {}
    for quarter_ms, spend in day.spent.items():
        hour = (quarter_ms - MIDNIGHT_MS) // HOUR_MS
        found[hour] = found.get(hour, 0.0) + spend
    return found


def test_a_campaign_spends_its_budget_within_its_dayparts_and_nothing_outside() -> None:
    day = Day(replace(CAMPAIGN, dayparts=f"{TODAY} 9-18"), start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + DAY_MS - 20_000)
    spend = by_hour(day)
    assert {hour for hour, amount in spend.items() if amount > 0} <= set(range(9, 18))
    assert 0.95 * BUDGET < day.spend <= BUDGET + 1.5 * PRICE
    closed = [one for one in day.told if not 9 <= (one.event_ms - MIDNIGHT_MS) // HOUR_MS < 18]
    assert {(one.state, one.admit, one.allowance_micros) for one in closed} == {("outside_hours", 0.0, 0)}
    assert {one.reason for one in closed} == {"outside the hours in which the campaign serves"}
    # In the first of nine hours about a ninth, and not what a whole day would have spent by then.
    assert spend[9] < 0.2 * BUDGET


def test_no_decision_holds_into_hours_that_are_closed() -> None:
    day = Day(replace(CAMPAIGN, dayparts=f"{TODAY} 9-12, {TODAY} 13-14"), start_ms=MIDNIGHT_MS + 9 * HOUR_MS)
    day.run(MIDNIGHT_MS + 14 * HOUR_MS)
    for close_ms in (MIDNIGHT_MS + 12 * HOUR_MS, MIDNIGHT_MS + 14 * HOUR_MS):
        last = [one for one in day.told if one.event_ms < close_ms and one.admit > 0][-1]
        assert (last.valid_until_ms, last.safe_admit) == (close_ms, 0.0)
        earlier = [one for one in day.told if one.event_ms < close_ms - 200_000 and one.admit > 0][-1]
        assert earlier.safe_admit > 0.0


def test_a_decision_ends_with_the_flight() -> None:
    end_ms = MIDNIGHT_MS + 2 * HOUR_MS
    day = Day(replace(CAMPAIGN, end=end_ms), start_ms=MIDNIGHT_MS)
    day.run(end_ms - 40_000)
    assert (day.told[-1].valid_until_ms, day.told[-1].safe_admit) == (end_ms, 0.0)


def test_a_day_without_open_hours_enters_nothing_and_plans_nothing() -> None:
    other = DAYS[(DAYS.index(TODAY) + 1) % 7]
    day = Day(replace(CAMPAIGN, dayparts=f"{other} 0-24"), start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + 3 * HOUR_MS)
    assert day.spend == 0.0
    assert {(one.state, one.plan_micros) for one in day.told} == {("outside_hours", 0)}
    day.run(MIDNIGHT_MS + DAY_MS + 3 * HOUR_MS)
    assert day.spend > 0.0


@pytest.mark.parametrize("pacing", ["even", "flat", "asap"])
def test_an_hour_stays_below_its_cap_and_the_day_is_spent_all_the_same(pacing: str) -> None:
    cap = BUDGET // 18
    day = Day(replace(CAMPAIGN, hourly_cap_micros=cap, pacing=pacing), start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + DAY_MS - 20_000)
    assert max(by_hour(day).values()) <= cap + 1.5 * PRICE
    assert 0.95 * BUDGET < day.spend <= BUDGET + 1.5 * PRICE


def test_what_the_cap_forbids_is_spent_in_other_hours() -> None:
    curve = [0.5, *[0.0] * 22, 0.5]
    capped = replace(CAMPAIGN, pacing="curve", curve=[0.4, *[0.02] * 20, *[0.0] * 3], hourly_cap_micros=BUDGET // 10)
    day = Day(capped, start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + HOUR_MS)
    # The plan moves 30 % of the budget from the first hour to the other twenty.
    assert day.spend <= BUDGET / 10 + 1.5 * PRICE
    day.run(MIDNIGHT_MS + 2 * HOUR_MS)
    assert by_hour(day)[1] == pytest.approx(0.045 * BUDGET, rel=0.2)
    day.run(MIDNIGHT_MS + DAY_MS - 20_000)
    assert 0.95 * BUDGET < day.spend <= BUDGET + 1.5 * PRICE
    # Caps that add up to less than the budget are what is spent.
    less = Day(replace(capped, curve=curve), start_ms=MIDNIGHT_MS)
    less.run(MIDNIGHT_MS + DAY_MS - 20_000)
    assert 0.17 * BUDGET < less.spend <= 0.2 * BUDGET + 3 * PRICE


@pytest.mark.parametrize(("first", "last"), [(0, 24), (12, 24), (0, 15), (13, 16)])
def test_a_curve_is_over_the_local_day_also_where_the_flight_covers_a_part_of_it(first: int, last: int) -> None:
    """It was stretched over the flight's part of the day."""
    budget, shares = BUDGET // 8, [0.0] * 24
    shares[2], shares[13], shares[14], shares[20] = 0.2, 0.2, 0.4, 0.2
    flight = {"start": MIDNIGHT_MS + first * HOUR_MS, "end": MIDNIGHT_MS + last * HOUR_MS}
    campaign = replace(CAMPAIGN, pacing="curve", curve=shares, daily_budget_micros=budget, **flight)
    day = Day(campaign, start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + last * HOUR_MS - 20_000)
    spend = by_hour(day)
    open_hours = {hour for hour in (2, 13, 14, 20) if first <= hour < last}
    assert {hour for hour, amount in spend.items() if amount > 0} == open_hours
    assert 0.9 * budget < day.spend <= budget + 1.5 * PRICE
    # The last of them hurries.
    whole = sum(shares[hour] for hour in open_hours)
    for hour in open_hours - {max(open_hours)}:
        assert spend[hour] == pytest.approx(budget * shares[hour] / whole, rel=0.2)


def test_the_cap_holds_across_a_restart_in_the_middle_of_an_hour() -> None:
    cap = BUDGET // 18
    day = Day(replace(CAMPAIGN, hourly_cap_micros=cap, pacing="asap"), start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + HOUR_MS + HALF_MS)
    again = type(day.shard)(day.shard.paced.pacer.settings)
    for key, value in day.shard.flush():
        again.restore(key, value)
    again.open(epoch_s=2, owner=2)
    day.shard = again
    day.run(MIDNIGHT_MS + 3 * HOUR_MS)
    assert max(by_hour(day).values()) <= cap + 1.5 * PRICE


def test_a_cap_of_frequency_is_told_at_once_and_again_when_it_changes() -> None:
    day = Day(replace(CAMPAIGN, frequency_cap=3, frequency_period_s=3_600), start_ms=MIDNIGHT_MS)
    day.run(MIDNIGHT_MS + HOUR_MS)
    assert {(one.frequency_cap, one.frequency_period_s) for one in day.told} == {(3, 3_600)}
    day.announce(replace(CAMPAIGN, version=2))
    day.run(day.at_ms + 20_000)
    assert (day.told[-1].event_ms, day.told[-1].frequency_cap) == (day.at_ms, 0)


# ---- plans ----

_parts = st.tuples(st.integers(0, 23), st.integers(1, 24)).map(lambda pair: (min(pair[0], pair[1] - 1), pair[1]))


@given(
    open_hours=st.lists(_parts, max_size=4),
    cap_part=st.one_of(st.just(0.0), st.floats(0.01, 1.5)),
    plan=st.sampled_from([EVEN, FLAT]),
    start_quarter=st.integers(0, 95),
    density=st.lists(st.floats(0.05, 5.0), min_size=24, max_size=24),
)
@settings(max_examples=tries(100), deadline=None)
def test_the_plan_spends_the_budget_within_what_is_allowed(
    open_hours: list[tuple[int, int]], cap_part: float, plan: int, start_quarter: int, density: list[float]
) -> None:
    budget, midnight = 1e8, DAY * 86_400
    halves = {half for low, high in open_hours for half in range(2 * low, 2 * high)} or set(range(48))
    closed = sum(1 << half for half in range(48) if half not in halves)
    start = midnight + 900 * start_quarter
    pacer = Pacer(1)
    pacer.shape.pooled = np.tile(np.repeat(density, 4), 7)
    pacer.delay.landing[:] = 1.0  # clicks come at once
    terms = pacer.terms
    terms.budget_micros[:], terms.plan[:], terms.closed[:] = budget, plan, closed
    terms.start_s[:], terms.end_s[:], terms.day_start_s[:] = start, midnight + 86_400, midnight
    terms.hour_cap_micros[:] = cap_part * budget
    made = pacer.tick(start, Totals(1))
    edges = (midnight + 1800.0 * np.arange(49)).astype(np.float64)
    planned = pacer.planned_micros(edges)[0]
    steps, hours = np.diff(planned), np.diff(planned[::2])
    assert (steps >= -1e-6).all()
    assert steps[[half for half in range(48) if closed >> half & 1]].sum() == pytest.approx(0.0, abs=1e-3)
    left = {half for half in halves if 1800 * half >= 900 * start_quarter - 900}
    most = len({half // 2 for half in left}) * cap_part * budget if cap_part else budget * bool(left)
    if cap_part:
        assert hours.max() <= cap_part * budget * (1 + 1e-9) + 1e-3
    if all(half * 1800 >= 900 * start_quarter for half in left):
        assert planned[-1] == pytest.approx(min(budget, most), rel=1e-6)
    # The decision's own figure is of the same plan.
    for _ in range(40):
        made = pacer.tick(pacer._now + 20, Totals(1))
    assert made.planned_micros[0] == pytest.approx(pacer.planned_micros(np.array([pacer._now]))[0], abs=2e-3 * budget)


def test_as_soon_as_possible_waits_for_open_hours() -> None:
    pacer, midnight = Pacer(1), DAY * 86_400
    terms = pacer.terms
    terms.budget_micros[:], terms.plan[:], terms.closed[:] = 1e8, ASAP, 0b11
    terms.start_s[:], terms.end_s[:], terms.day_start_s[:] = midnight, midnight + 86_400, midnight
    assert pacer.tick(midnight + 3_596, Totals(1)).admit[0] == 0.0
    assert pacer.tick(midnight + 3_600, Totals(1)).admit[0] == 1.0


# ---- dayparts ----


def test_dayparts_are_hours_of_the_local_clock_also_where_it_is_changed() -> None:
    berlin = zone("Europe/Berlin")
    assert berlin is not None
    campaign = Campaign("c1", 1, "Europe/Berlin", "active", "even", 1, dayparts="sat-sun 2-4")
    spring, autumn = day_of(berlin, 1_774_749_600_000), day_of(berlin, 1_792_965_600_000)
    assert [(day.end_ms - day.start_ms) // HOUR_MS for day in (spring, autumn)] == [23, 25]
    # Clocks skip 2:00 to 3:00 in spring, and show it twice in autumn.
    assert open_ms(campaign, *spring[1:]) == HOUR_MS
    assert open_ms(campaign, *autumn[1:]) == 3 * HOUR_MS
    assert closed_halves(campaign, autumn) == (1 << 50) - 1 - (0b111111 << 4)
    assert open_ms(campaign, autumn.start_ms + 2 * HOUR_MS + HALF_MS, autumn.end_ms) == 2 * HOUR_MS + HALF_MS


_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu")
_HALVES_OF_2026 = st.integers(0, 2 * 365 * 24).map(lambda half: 1_767_225_600_000 + half * HALF_MS)


@given(
    name=st.sampled_from(_ZONES),
    days=st.sampled_from(["mon-fri 9-18", "sat-sun 0-4", "sun 2-3, fri 0-1", "mon-sun 0-24"]),
    start_ms=_HALVES_OF_2026,
    end_ms=_HALVES_OF_2026,
    odd_ms=st.integers(0, HALF_MS),
)
@settings(max_examples=tries(60), deadline=None)
def test_open_time_is_that_of_all_quarter_hours_by_the_clock(
    name: str, days: str, start_ms: int, end_ms: int, odd_ms: int
) -> None:
    local, week = zone(name), hours_of_week(days)
    assert local is not None
    campaign = Campaign("c1", 1, name, "active", "even", 1, dayparts=days)
    start_ms, end_ms = min(start_ms, end_ms), max(start_ms, end_ms)
    clocks = (datetime.fromtimestamp(at_ms // 1_000, local) for at_ms in range(start_ms, end_ms, HALF_MS // 2))
    plainly = sum(HALF_MS // 2 for clock in clocks if week[clock.weekday()] >> clock.hour & 1)
    assert open_ms(campaign, start_ms, end_ms) == plainly
    odd_ms = min(odd_ms, end_ms - start_ms)
    parts = open_ms(campaign, start_ms, start_ms + odd_ms), open_ms(campaign, start_ms + odd_ms, end_ms)
    assert sum(parts) == plainly


def test_a_flight_of_decades_is_reckoned_from_a_few_years_of_clocks() -> None:
    """Each of its days was looked at: 27,000 took 2 s at the first look."""
    campaign = Campaign("c1", 1, "Europe/Paris", "active", "even", 1, dayparts="mon-fri 9-18, sun 2-3")
    looked = _settings_of_clocks.cache_info().misses
    found = open_ms(campaign, 1_767_225_600_000, 4_102_444_799_999)
    assert _settings_of_clocks.cache_info().misses - looked <= 4
    weeks = (4_102_444_799_999 - 1_767_225_600_000) / (7 * DAY_MS)
    assert found == pytest.approx(weeks * 46 * HOUR_MS, rel=1e-3)


def test_a_lifetime_budget_is_shared_out_among_the_hours_that_are_open() -> None:
    other = DAYS[(DAYS.index(TODAY) + 1) % 7]
    flight = replace(
        CAMPAIGN, lifetime_budget_micros=1_200, start=MIDNIGHT_MS, end=MIDNIGHT_MS + 4 * DAY_MS,
        dayparts=f"{TODAY} 0-8, {other} 8-12",
    )  # fmt: skip
    utc = zone("UTC")
    assert utc is not None
    budgets = [day_terms(flight, day_of(utc, MIDNIGHT_MS + day * DAY_MS)).budget_micros for day in range(3)]
    assert budgets == [800, 1_200, 0]


@given(st.lists(st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS), _parts), min_size=1, max_size=4))
def test_days_and_hours_of_dayparts_are_those_that_are_written(parts: list[tuple[str, str, tuple[int, int]]]) -> None:
    week = hours_of_week(", ".join(f"{first}-{last} {low}-{high}" for first, last, (low, high) in parts))
    for number, _ in enumerate(DAYS):
        hours = set[int]()
        for first, last, (low, high) in parts:
            one, other = DAYS.index(first), DAYS.index(last)
            within = one <= number <= other if one <= other else number >= one or number <= other
            hours |= set(range(low, high)) if within else set()
        assert {hour for hour in range(24) if week[number] >> hour & 1} == hours

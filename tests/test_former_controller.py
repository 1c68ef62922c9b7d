"""The control law of version 0.1, with which `clickfold whatif` compares: its ends, its slope, the day turning over."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.events import Campaign
from schemas.pacing import PacingState
from streams.market.policies.proportional import LOOK_AHEAD_MS, Spent, admission, plan_micros
from streams.pacing.counters import PacedMeasures
from streams.pacing.local_day import LocalDay

HOUR_MS = 3_600_000
MIDNIGHT_MS = 1_750_000_000_000 // (24 * HOUR_MS) * 24 * HOUR_MS
DAY = LocalDay(date(2025, 6, 15), MIDNIGHT_MS, MIDNIGHT_MS + 24 * HOUR_MS)
EVEN = Campaign("c1", 24_000_000, "UTC", "active", "even", 1)
ASAP = replace(EVEN, pacing="asap")

micros = st.integers(0, 30_000_000)
instants = st.integers(DAY.start_ms, DAY.end_ms - 1)
campaigns = st.sampled_from([EVEN, ASAP, replace(EVEN, daily_budget_micros=0), replace(EVEN, daily_budget_micros=1)])


class Answer(NamedTuple):
    state: PacingState
    admit: float


def at(
    event_ms: int, spend: int, *, campaign: Campaign | None = EVEN, in_flight: int = 0, day: LocalDay = DAY
) -> Answer:
    spent = Spent(PacedMeasures(spend_micros=spend), in_flight)
    return Answer(*admission(campaign, day=day, spent=spent, event_ms=event_ms))


@given(campaigns, instants, micros, micros)
def test_nothing_is_admitted_once_the_budget_is_spent(
    campaign: Campaign, event_ms: int, spend: int, in_flight: int
) -> None:
    decision = at(event_ms, spend, campaign=campaign, in_flight=in_flight)
    if spend >= campaign.daily_budget_micros:
        assert (decision.state, decision.admit) == ("exhausted", 0.0)
    if spend + in_flight >= campaign.daily_budget_micros:
        assert decision.admit == 0.0
    assert 0.0 <= decision.admit <= 1.0


@given(campaigns, instants, micros, micros, micros)
def test_more_spend_never_admits_more(campaign: Campaign, event_ms: int, spend: int, more: int, in_flight: int) -> None:
    less = at(event_ms, spend, campaign=campaign, in_flight=in_flight)
    assert at(event_ms, spend + more, campaign=campaign, in_flight=in_flight).admit <= less.admit
    assert at(event_ms, spend, campaign=campaign, in_flight=in_flight + more).admit <= less.admit


@given(instants, instants, micros)
def test_the_same_spend_later_in_the_day_never_admits_less(one: int, other: int, spend: int) -> None:
    assume(spend < EVEN.daily_budget_micros)
    assert at(min(one, other), spend).admit <= at(max(one, other), spend).admit


def test_admission_falls_from_plan_to_plan_of_the_look_ahead() -> None:
    noon_ms = DAY.start_ms + 12 * HOUR_MS
    now, ahead = plan_micros(EVEN, DAY, noon_ms), plan_micros(EVEN, DAY, noon_ms + LOOK_AHEAD_MS)
    assert (now, ahead) == (12_000_000, 12_500_000)
    steps = [(now - 1, "behind", 1.0), (now, "on_plan", 1.0), (12_250_000, "on_plan", 0.5), (ahead, "ahead", 0.0)]
    for spend, state, admit in steps:
        decision = at(noon_ms, spend)
        assert (decision.state, decision.admit) == (state, admit)


@given(instants, micros)
def test_asap_is_all_or_nothing(event_ms: int, spend: int) -> None:
    decision = at(event_ms, spend, campaign=ASAP)
    assert decision.admit == float(spend < ASAP.daily_budget_micros)
    assert plan_micros(ASAP, DAY, event_ms) == ASAP.daily_budget_micros


@pytest.mark.parametrize("hours", [23, 24, 25])
def test_the_plan_spends_the_whole_budget_over_a_day_of_any_length(hours: int) -> None:
    day = LocalDay(DAY.day, DAY.start_ms, DAY.start_ms + hours * HOUR_MS)
    assert plan_micros(EVEN, day, day.start_ms) == 0
    assert plan_micros(EVEN, day, day.start_ms + hours * HOUR_MS // 2) == EVEN.daily_budget_micros // 2
    assert plan_micros(EVEN, day, day.end_ms) == EVEN.daily_budget_micros


def test_a_new_day_begins_with_nothing_planned() -> None:
    tomorrow = LocalDay(date(2025, 6, 16), DAY.end_ms, DAY.end_ms + 24 * HOUR_MS)
    assert at(DAY.end_ms - 1, 24_000_000).state == "exhausted"
    morning = at(DAY.end_ms, 0, day=tomorrow)
    assert (morning.admit, plan_micros(EVEN, tomorrow, DAY.end_ms)) == (1.0, 0)


def test_a_flight_includes_its_start_and_excludes_its_end() -> None:
    campaign = replace(EVEN, start=DAY.start_ms + HOUR_MS, end=DAY.start_ms + 2 * HOUR_MS)
    for event_ms, inside in (
        (DAY.start_ms + HOUR_MS - 1, False),
        (DAY.start_ms + HOUR_MS, True),
        (DAY.start_ms + 2 * HOUR_MS - 1, True),
        (DAY.start_ms + 2 * HOUR_MS, False),
    ):
        decision = at(event_ms, 0, campaign=campaign)
        assert (decision.state == "outside_flight", decision.admit) == (not inside, float(inside))


def test_paused_and_unknown_campaigns_are_not_admitted() -> None:
    paused = at(DAY.start_ms, 0, campaign=replace(EVEN, status="paused"))
    unknown = at(DAY.start_ms, 7, campaign=None)
    assert (paused.state, paused.admit) == ("paused", 0.0)
    assert (unknown.state, unknown.admit) == ("unknown", 0.0)

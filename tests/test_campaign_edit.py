"""The next version of a campaign: what it keeps, what it refuses, and that the gate accepts all that it gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.campaigns import CampaignChange
from schemas.events import MAX_BUDGET_MICROS, Campaign
from streams.campaigns.edit import Refusal, next_version
from streams.campaigns.judge import Campaigns, Place
from tests.factories import T0

FIRST = Campaign("c1", 5_000_000, "Europe/Berlin", "active", "even", 7, currency="EUR", end=T0)
HERE = Place(0, 0, T0)


def campaigns(*announced: Campaign | None) -> Campaigns:
    found = Campaigns()
    for each in announced:
        change = found.withdrawn("c1", HERE) if each is None else found.announced(each, HERE)
        assert isinstance(change, CampaignChange)
        found.take(change)
    return found


def refusal(found: Campaigns, fields: dict[str, Any], *, new: bool = False, campaign_id: str = "c1") -> Refusal:
    refused = next_version(found, campaign_id, fields, new=new)
    assert isinstance(refused, Refusal)
    return refused


def test_what_is_not_given_stays_and_the_version_grows() -> None:
    after = next_version(campaigns(FIRST), "c1", {"daily_budget_micros": 9})
    assert after == replace(FIRST, daily_budget_micros=9, version=8)


def test_a_field_can_be_taken_away() -> None:
    assert next_version(campaigns(FIRST), "c1", {"end": None}) == replace(FIRST, end=None, version=8)


def test_the_same_again_is_the_version_in_force() -> None:
    assert next_version(campaigns(FIRST), "c1", {"status": "active"}) == FIRST


def test_a_new_campaign_needs_only_its_budget() -> None:
    after = next_version(campaigns(), "c1", {"daily_budget_micros": 9}, new=True)
    assert after == Campaign("c1", 9, "UTC", "active", "even", 0)
    assert refusal(campaigns(), {}, new=True).detail == "daily_budget_micros is missing; a campaign needs it"


def test_a_withdrawn_campaign_is_announced_above_its_last_version() -> None:
    assert refusal(campaigns(FIRST, None), {"daily_budget_micros": 9}).kind == "unknown"
    after = next_version(campaigns(FIRST, None), "c1", {"daily_budget_micros": 9, "currency": "EUR"}, new=True)
    assert isinstance(after, Campaign)
    assert after.version == 8


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"daily_budget_micros": -1}, "field", "daily_budget_micros: expected `int` >= 0"),
        ({"daily_budget_micros": MAX_BUDGET_MICROS + 1}, "field", "daily_budget_micros: expected `int` <="),
        ({"budget": 1}, "field", "budget is no field that can be set; there are daily_budget_micros"),
        ({"version": 99}, "field", "version is no field that can be set"),
        ({"min_bid_multiplier": float("nan")}, "field", "min_bid_multiplier is not finite; give a finite number"),
        ({"curve": [0.5, float("inf")]}, "field", "curve is not finite"),
        ({"pacing": "fast"}, "field", "pacing: invalid enum value 'fast'"),
        ({"timezone": "Mars/Olympus"}, "refused", "no time zone has the name 'Mars/Olympus'"),
        ({"currency": "USD"}, "refused", "currency 'USD' in place of 'EUR'"),
        ({"currency": None}, "refused", "no currency in place of 'EUR'"),
        ({"hourly_cap_micros": -1}, "field", "hourly_cap_micros: expected `int` >= 1"),
        ({"frequency_cap": 0, "frequency_period_s": 60}, "field", "frequency_cap: expected `int` >= 1"),
        ({"dayparts": "funday 9-18"}, "refused", "dayparts has the day 'funday'; there are mon, tue"),
        ({"priority": 1}, "refused", "priority needs a shared budget; give budget_id and shared_budget_micros too"),
        ({"curve": [0.1] * 24, "pacing": "curve"}, "refused", "curve sums to 2.4; give shares of the day's budget"),
        ({"start": T0}, "refused", f"end is {T0}, not after start, {T0}; give a later one"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(fields: dict[str, Any], kind: str, said: str) -> None:
    refused = refusal(campaigns(FIRST), fields)
    assert (refused.kind, refused.detail[: len(said)]) == (kind, said)


def test_a_flight_may_begin_just_before_its_end() -> None:
    assert isinstance(next_version(campaigns(FIRST), "c1", {"start": T0 - 1}), Campaign)


def test_a_campaign_that_is_there_is_not_announced_again_and_one_that_is_not_is_not_changed() -> None:
    assert refusal(campaigns(FIRST), {"daily_budget_micros": 1}, new=True).kind == "exists"
    assert refusal(campaigns(FIRST), {"daily_budget_micros": 1}, campaign_id="c2").kind == "unknown"


def test_a_whole_number_may_be_written_with_a_point() -> None:
    after = next_version(campaigns(FIRST), "c1", {"daily_budget_micros": 9.0})
    assert after == replace(FIRST, daily_budget_micros=9, version=8)


def test_there_is_no_version_above_the_highest() -> None:
    assert refusal(campaigns(replace(FIRST, version=2**63 - 1)), {"daily_budget_micros": 1}).field == "version"


@given(
    st.dictionaries(
        st.sampled_from(["daily_budget_micros", "status", "pacing", "timezone", "currency", "start", "end"]),
        st.sampled_from([None, 0, 5, "active", "paused", "asap", "UTC", "EUR", "USD", T0 - 5, T0 + 5]),
    ),
    st.booleans(),
    st.sampled_from([(), (FIRST,), (FIRST, None)]),
)
def test_the_gate_accepts_what_is_no_refusal(fields: dict[str, Any], new: bool, before: tuple[Any, ...]) -> None:
    found = campaigns(*before)
    after = next_version(found, "c1", fields, new=new)
    if isinstance(after, Campaign) and after != found.in_force("c1"):
        assert isinstance(found.announced(after, HERE), CampaignChange)

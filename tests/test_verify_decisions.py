"""What verify says of decisions: budgets, caps of the hour, budgets that campaigns share."""

from __future__ import annotations

from msgspec.structs import replace

from schemas.events import Campaign
from schemas.pacing import PacingDecision
from streams.verify.decisions import InForce, Said, faults

DAY_MS, HOUR_MS, MINUTE_MS = 1_780_272_000_000, 3_600_000, 60_000
CAMPAIGN = Campaign("c1", 1_000, "UTC", "active", "even", 1)
GOOD = PacingDecision("c1", 1, DAY_MS, DAY_MS, "on_plan", 0.5, 1_000, 0, 0, 0, 0, allowance_micros=10)


def said(*decisions: PacingDecision) -> list[Said]:
    """As written when they were made."""
    return [Said(one.event_ms, one) for one in decisions]


def at(minute: int, **more: object) -> PacingDecision:
    """A decision so many minutes after midnight."""
    event_ms = DAY_MS + minute * MINUTE_MS
    return replace(GOOD, **{"version": minute + 1, "event_ms": event_ms, "counted_to_ms": event_ms} | more)


def found(decisions: list[Said], *versions: InForce) -> list[str]:
    """The faults of decisions on c1."""
    return list(faults(decisions, {"c1": versions}))


def test_a_budget_is_at_most_that_of_the_campaign_in_force() -> None:
    before = InForce(0, CAMPAIGN)
    assert found(said(GOOD), before) == []
    (fault,) = found(said(replace(GOOD, budget_micros=1_001)), before)
    assert fault == "c1, version 1: its budget of 1001 is above 1000, that of the campaign"
    lower = InForce(DAY_MS + 10 * MINUTE_MS, replace(CAMPAIGN, daily_budget_micros=500))
    # What was in force before is told for a while.
    assert found(said(at(11), at(12, budget_micros=500)), before, lower) == []
    assert len(found(said(at(12)), before, lower)) == 1
    assert len(found(said(at(12)), before, lower._replace(campaign=None))) == 1


def test_a_budget_that_is_spent_admits_nothing() -> None:
    spent = at(5, spend_micros=1_000)
    assert found(said(replace(spent, admit=0.0)), InForce(0, CAMPAIGN)) == []
    assert len(found(said(spent), InForce(0, CAMPAIGN))) == 1


def test_a_cap_of_the_hour_that_is_spent_admits_nothing_until_the_next_hour() -> None:
    capped = InForce(0, replace(CAMPAIGN, hourly_cap_micros=100))
    within = [at(1, spend_micros=5), at(30, spend_micros=104), at(61, spend_micros=108), at(119, spend_micros=207)]
    assert found(said(*within), capped) == []
    assert found(said(*within[:3], at(119, spend_micros=208, admit=0.0)), capped) == []
    (fault,) = found(said(*within[:3], at(119, spend_micros=208)), capped)
    assert fault == "c1, version 120: admits 0.5, and 100 of the hour's cap of 100 are spent"
    # What came of the hour before, after an outage of the join, is not of this one.
    late = [at(61, spend_micros=108, counted_to_ms=DAY_MS + 30 * MINUTE_MS), *within[3:]]
    assert found(said(*within[:2], *late[:1], at(119, spend_micros=208)), capped) == []
    # Without a cap, or a short while after it came into force, nothing is said.
    new = capped._replace(from_ms=DAY_MS + 118 * MINUTE_MS)
    assert found(said(*within[:3], at(119, spend_micros=208)), InForce(0, CAMPAIGN), new) == []


def test_budgets_that_campaigns_share_add_up_to_no_more_than_is_shared() -> None:
    shared = replace(CAMPAIGN, budget_id="b", shared_budget_micros=1_000)
    versions = {name: [InForce(0, replace(shared, campaign_id=name))] for name in ("c1", "c2")}

    def judged(first: int, second: int, **more: object) -> list[str]:
        one = at(5, budget_micros=first)
        other = replace(at(5, budget_micros=second, **more), campaign_id="c2")
        return list(faults(said(at(4), one, other), versions))

    assert judged(600, 400) == []
    assert judged(600, 401) == ["budget b: c1, c2 have 1001 together, 1000 are shared"]
    # What is committed already may be more than is shared, after the amount was lowered.
    assert judged(600, 401, spend_micros=400, in_flight_micros=600) == []
    # Of another day nothing is added.
    assert judged(600, 401, day_start=DAY_MS - 24 * HOUR_MS) == []
    versions["c2"] = [*versions["c2"], InForce(DAY_MS + 4 * MINUTE_MS, replace(shared, shared_budget_micros=900))]
    assert judged(600, 401) == []

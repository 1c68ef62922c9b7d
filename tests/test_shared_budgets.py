"""Budgets that campaigns share: who has how much, and what two partitions spend of one together."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.events import Campaign
from schemas.pacing import PacingDecision
from schemas.topics import DAY_MS
from schemas.totals import MEASURES, QUARTER_MS, CampaignTotal
from streams.pacing.law import LawSettings
from streams.pacing.shard import Shard
from streams.pacing.shared_budgets import Member, Part, SharedBudgets, Why, parts_of
from tests.effort import tries
from tests.factories import change
from tests.test_pacing_situations import HOUR_MS, MIDNIGHT_MS, PRICE

AMOUNT = 100_000_000
STEP_MS = 20_000


def member(name: str, *, priority: int = 0, own: int = AMOUNT, committed: float = 0.0, able: float = inf) -> Member:
    return Member(name, "b", AMOUNT, priority, "UTC", "EUR", own, committed, able)


members = st.lists(
    st.builds(
        lambda priority, own, committed, able: member("", priority=priority, own=own, committed=committed, able=able),
        st.integers(0, 2),
        st.integers(0, 2 * AMOUNT),
        st.floats(0, AMOUNT / 2),
        st.one_of(st.just(inf), st.floats(0, AMOUNT)),
    ),
    min_size=1,
    max_size=6,
).map(lambda found: [each._replace(campaign_id=f"c{number}") for number, each in enumerate(found)])


@given(members)
@settings(max_examples=tries(300))
def test_parts_never_add_up_to_more_than_the_amount_or_what_is_committed(sharing: list[Member]) -> None:
    parts = parts_of(sharing)
    committed = sum(each.committed for each in sharing)
    assert sum(part.micros for part in parts.values()) <= max(AMOUNT, committed) + 1
    for each in sharing:
        # What ad servers may still spend stays theirs, and nobody has more than its own budget beside that.
        assert int(each.committed) <= parts[each.campaign_id].micros <= max(each.own, each.committed) + 1
    # Nothing is kept back that somebody could have.
    room = sum(max(each.own - each.committed, 0.0) for each in sharing)
    given_ = sum(part.micros for part in parts.values()) - committed
    assert given_ >= min(room, max(AMOUNT - committed, 0.0)) - len(sharing) - 1


def test_a_higher_priority_has_its_money_first_and_what_it_cannot_spend_goes_to_the_next() -> None:
    low, high = member("low"), member("high", priority=5, own=70_000_000)
    assert parts_of([low, high]) == {"high": Part(70_000_000), "low": Part(30_000_000)}
    slow = high._replace(able=10_000_000.0)
    assert parts_of([low, slow]) == {"high": Part(12_000_000), "low": Part(88_000_000)}
    greedy = high._replace(own=AMOUNT)
    assert parts_of([low, greedy])["low"] == Part(0, Why.OUTRANKED)


def test_equal_priorities_divide_by_what_they_can_spend() -> None:
    parts = parts_of([member("a", own=AMOUNT), member("b", own=AMOUNT // 4)])
    assert parts == {"a": Part(80_000_000), "b": Part(20_000_000)}


def test_the_least_amount_counts_and_another_day_or_currency_has_no_part() -> None:
    first = member("a", priority=1)._replace(amount=AMOUNT // 2)
    tokyo, dollars = member("b")._replace(day="Asia/Tokyo"), member("c")._replace(currency="USD")
    assert parts_of([first, tokyo, dollars]) == {
        "a": Part(50_000_000),
        "b": Part(0, Why.OTHER_DAY),
        "c": Part(0, Why.OTHER_DAY),
    }


def test_small_changes_leave_parts_as_they_are_and_a_lower_amount_does_not() -> None:
    shared = SharedBudgets()
    before = shared.divide([member("a"), member("b", own=1_000)], all_known=True)
    assert shared.divide([member("a", committed=900_000), member("b", own=900_000)], all_known=True) == before
    less = [each._replace(amount=AMOUNT - 100) for each in (member("a"), member("b", own=1_000))]
    assert sum(part.micros for part in shared.divide(less, all_known=True).values()) <= AMOUNT - 100


def test_with_other_workers_about_nobody_has_a_part() -> None:
    shared = SharedBudgets()
    assert shared.divide([member("a")], all_known=True)["a"].micros == AMOUNT
    assert shared.divide([member("a")], all_known=False) == {"a": Part(0, Why.APART)}


@dataclass
class Auctions:
    """A campaign in the shard of its own partition; its clicks come at once, `rate` micros a second at full share."""

    campaign: Campaign
    rate: float
    shard: Shard = field(default_factory=lambda: Shard(LawSettings(window_s=1_800)))
    admit: float = 0.0
    spent: dict[int, float] = field(default_factory=dict)
    told: list[PacingDecision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shard.open(epoch_s=1, owner=1)
        self.shard.change(change(self.campaign))

    def step(self, at_ms: int) -> None:
        """Spends for 20 s, then decides."""
        quarter_ms = at_ms // QUARTER_MS * QUARTER_MS
        spend = self.spent.get(quarter_ms, 0.0) + self.rate * self.admit * STEP_MS / 1_000
        self.spent[quarter_ms] = spend
        counts = {"impressions": 1_000, "attributed_clicks": PRICE, "clicks": PRICE}
        measures = dict.fromkeys(MEASURES, 0) | {name: round(spend) // per for name, per in counts.items()}
        measures |= dict.fromkeys(
            ("spend_micros", "attributed_spend_micros", "expected_spend_micros"), round(spend)
        )  # fmt: skip
        measures["expected_clicks_nano"] = round(spend) * 10**9 // PRICE
        at_ms += STEP_MS
        self.shard.count([CampaignTotal(self.campaign.campaign_id, quarter_ms, 0, at_ms, final=False, **measures)])
        for one in self.shard.tick(event_ms=at_ms, counted_to_ms=at_ms):
            assert isinstance(one, PacingDecision)
            self.told.append(one)
            self.admit = one.admit * one.bid_multiplier**1.5

    @property
    def spend(self) -> float:
        """Of the whole day."""
        return sum(self.spent.values())


def play(*campaigns: Auctions, from_ms: int = MIDNIGHT_MS, to_ms: int = MIDNIGHT_MS + DAY_MS - STEP_MS) -> None:
    """A day, with the shared budgets divided at every step."""
    shared = SharedBudgets()
    for at_ms in range(from_ms, to_ms, STEP_MS):
        for each in campaigns:
            each.step(at_ms)
        parts = shared.divide([one for each in campaigns for one in each.shard.members()], all_known=True)
        for each in campaigns:
            each.shard.take_parts(parts)


def sharing(name: str, *, budget: int = AMOUNT, priority: int = 0, **more: object) -> Campaign:
    base = Campaign(name, budget, "UTC", "active", "even", 1, budget_id="b", shared_budget_micros=AMOUNT)
    return replace(base, priority=priority, **more)


@pytest.mark.parametrize("pacing", ["even", "asap"])
def test_campaigns_of_several_partitions_spend_a_budget_together_by_priority(pacing: str) -> None:
    high = Auctions(sharing("high", budget=60_000_000, priority=2, pacing=pacing), rate=AMOUNT / 30_000)
    low = Auctions(sharing("low", pacing=pacing), rate=AMOUNT / 30_000)
    play(high, low)
    assert 0.95 * 60_000_000 < high.spend <= 60_000_000 + 1.5 * PRICE
    assert 0.95 * AMOUNT < high.spend + low.spend <= AMOUNT + 3 * PRICE


def test_what_a_high_priority_has_no_traffic_for_is_spent_by_the_other() -> None:
    high = Auctions(sharing("high", priority=2), rate=AMOUNT / 4 / 86_400)
    low = Auctions(sharing("low"), rate=AMOUNT / 30_000)
    play(high, low)
    assert 0.9 * AMOUNT < high.spend + low.spend <= AMOUNT + 3 * PRICE
    assert low.spend > 0.6 * AMOUNT


def test_a_campaign_that_the_budget_has_nothing_for_says_so() -> None:
    high = Auctions(sharing("high", priority=2, pacing="asap"), rate=AMOUNT / 3_000)
    low = Auctions(sharing("low"), rate=AMOUNT / 3_000)
    play(high, low, to_ms=MIDNIGHT_MS + HOUR_MS)
    assert low.spend == 0.0
    assert low.told[-1].reason == "campaigns of its shared budget that come before it have all of it"
    assert (low.told[-1].state, low.told[-1].admit, low.told[-1].budget_micros) == ("exhausted", 0.0, 0)


@given(
    rates=st.lists(st.floats(0.2, 30.0), min_size=2, max_size=4),
    priorities=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    pacing=st.lists(st.sampled_from(["even", "flat", "asap"]), min_size=4, max_size=4),
    hours=st.integers(1, 6),
)
@settings(max_examples=tries(12), deadline=None)
def test_the_sum_stays_below_the_shared_budget(
    rates: list[float], priorities: list[int], pacing: list[str], hours: int
) -> None:
    campaigns = [
        Auctions(sharing(f"c{number}", priority=priorities[number], pacing=pacing[number]), AMOUNT * rate / 86_400)
        for number, rate in enumerate(rates)
    ]
    play(*campaigns, from_ms=MIDNIGHT_MS + DAY_MS - hours * HOUR_MS)
    assert sum(each.spend for each in campaigns) <= AMOUNT + len(campaigns) * 3 * PRICE

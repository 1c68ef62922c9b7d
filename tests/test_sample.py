"""The sample is what it says it is: real impressions and clicks, made-up money and delays, the same every time."""

from collections import Counter
from itertools import pairwise
from statistics import median

import pytest
import xxhash

from schemas.bounds import JoinBounds
from schemas.codec import decode, encode
from schemas.events import Campaign, Click, Impression
from streams.inputs import sample
from streams.inputs.sample import Sample, open_bandit

NOVEMBER_24_MS = 1_574_553_600_000
DECEMBER_1_MS = 1_575_158_400_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture(scope="module")
def bandit() -> Sample:
    """The sample, made once."""
    return open_bandit()


def test_all_real_impressions_and_clicks_are_there(bandit: Sample) -> None:
    assert (len(bandit.impressions), len(bandit.clicks)) == (60_000, 287)
    slices = Counter((event.campaign_id, event.arm) for event in bandit.impressions)
    assert slices == {(campaign, arm): 10_000 for campaign in ("all", "men", "women") for arm in ("bts", "random")}
    shown = {event.impression_id: event for event in bandit.impressions}
    assert len(shown) == 60_000
    clicked = Counter(
        (shown[click.impression_id].campaign_id, shown[click.impression_id].arm) for click in bandit.clicks
    )
    assert clicked == {
        ("all", "bts"): 42,
        ("all", "random"): 38,
        ("men", "bts"): 69,
        ("men", "random"): 46,
        ("women", "bts"): 46,
        ("women", "random"): 46,
    }


def test_the_first_row_of_the_dataset_is_the_first_impression(bandit: Sample) -> None:
    first = bandit.impressions[0]
    assert (first.impression_id, first.creative_id) == ("all-bts-000000", "all-item-79")
    assert (first.ts, first.placement) == (NOVEMBER_24_MS + 17_004, "position-2")
    assert first.features is not None
    assert first.features["user_feature_0"] == "81ce123c"
    assert set(first.features) == {f"{whose}_feature_{number}" for whose in ("user", "item") for number in range(4)}


def test_the_sample_is_the_same_on_every_machine(bandit: Sample) -> None:
    digest = xxhash.xxh3_64_hexdigest(encode([bandit.impressions, bandit.clicks, bandit.campaigns]))
    assert digest == "fbadbe3995d53d27", (
        "what the sample holds has changed; golden figures of demo and docs change with it"
    )


def test_every_event_passes_the_strict_decoder(bandit: Sample) -> None:
    for impression in bandit.impressions:
        assert decode(encode(impression), Impression) == impression
    for click in bandit.clicks:
        assert decode(encode(click), Click) == click
    for campaign in bandit.campaigns:
        assert decode(encode(campaign), Campaign) == campaign


def test_logs_are_in_order_of_event_time(bandit: Sample) -> None:
    assert all(before.ts <= after.ts for before, after in pairwise(bandit.impressions))
    assert all(before.ts <= after.ts for before, after in pairwise(bandit.clicks))
    assert bandit.impressions[0].ts >= NOVEMBER_24_MS
    assert bandit.impressions[-1].ts < DECEMBER_1_MS


def test_half_of_the_clicks_come_within_75_seconds_and_some_after_the_window(bandit: Sample) -> None:
    window_ms = JoinBounds().window_ms
    delays_ms = [sample.click_delay_ms(event.impression_id) for event in bandit.impressions]
    assert median(delays_ms) == pytest.approx(75_000, rel=0.03)
    assert sum(delay > window_ms for delay in delays_ms) / len(delays_ms) == pytest.approx(0.031, abs=0.005)
    shown = {event.impression_id: event.ts for event in bandit.impressions}
    of_clicks_ms = [click.ts - shown[click.impression_id] for click in bandit.clicks]
    assert min(of_clicks_ms) > 0
    assert sum(delay > window_ms for delay in of_clicks_ms) == 6


def test_an_item_number_of_two_campaigns_is_two_creatives(bandit: Sample) -> None:
    creatives = {(event.campaign_id, event.creative_id) for event in bandit.impressions}
    assert len({creative for _, creative in creatives}) == len(creatives) == 80 + 34 + 46


def test_prices_belong_to_creatives_and_expected_clicks_are_near_the_real_ones(bandit: Sample) -> None:
    prices = {(event.creative_id, event.price_micros) for event in bandit.impressions}
    assert len(prices) == 80 + 34 + 46
    assert all(20_000_000 <= price <= 80_000_000 for _, price in prices)
    assert sum(event.pctr or 0.0 for event in bandit.impressions) == pytest.approx(287, rel=0.05)


def test_budgets_leave_one_campaign_behind_one_exhausted_and_one_with_room(bandit: Sample) -> None:
    budgets = {campaign.campaign_id: campaign.daily_budget_micros for campaign in bandit.campaigns}
    shown = {event.impression_id: event for event in bandit.impressions}
    spent: dict[str, Counter[int]] = {campaign: Counter() for campaign in budgets}
    for click in bandit.clicks:
        impression = shown[click.impression_id]
        # Japan has no summer time: its days begin at 15 h UTC.
        spent[impression.campaign_id][(click.ts + 9 * HOUR_MS) // DAY_MS] += impression.price_micros
    whole_days = range((NOVEMBER_24_MS + 9 * HOUR_MS) // DAY_MS, (DECEMBER_1_MS + 9 * HOUR_MS) // DAY_MS)
    assert len(whole_days) == 7
    assert all(spent["men"][day] > budgets["men"] for day in whole_days)
    assert all(spent["all"][day] < 0.6 * budgets["all"] for day in whole_days)
    assert all(spent["women"][day] < 0.9 * budgets["women"] for day in whole_days)
    assert [campaign.pacing for campaign in bandit.campaigns] == ["even", "even", "asap"]


def test_every_event_is_inside_its_campaigns_flight(bandit: Sample) -> None:
    for campaign in bandit.campaigns:
        assert campaign.start is not None
        assert campaign.end is not None
        assert campaign.start <= bandit.impressions[0].ts
        assert bandit.clicks[-1].ts < campaign.end

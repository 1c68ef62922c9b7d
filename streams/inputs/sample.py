"""The Open Bandit sample as events: 60,000 real impressions, their 287 real clicks, three campaigns.

The dataset holds the user features, the item, the position, the time, the policy and whether a click followed. It has
no prices, pCTR, budgets or click delays: these are computed here, the same at every call. Source and licence:
`open_bandit/ATTRIBUTION.md`.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from statistics import NormalDist
from typing import Final

import xxhash

from schemas.events import Campaign, Click, Features, FeatureValue, Impression

CAMPAIGNS: Final = ("all", "men", "women")
ARMS: Final = ("bts", "random")
EXPERIMENT: Final = "policy"
# The timestamps are UTC: activity is lowest at 19 h UTC, which is 4 h in Japan. Campaign days are Tokyo's.
TIMEZONE: Final = "Asia/Tokyo"
# 24 November to 1 December in Tokyo's time. The data end at midnight UTC, which is 9 h on the last day.
FLIGHT_START_MS: Final = 1_574_521_200_000
FLIGHT_END_MS: Final = 1_575_212_400_000

# Not in the dataset: 20 to 80 yen a click; the mean of all creatives is near 50.
_CHEAPEST_YEN: Final = 20
_PRICE_STEPS: Final = 61
_YEN_MICROS: Final = 1_000_000
# Not in the dataset: the pCTR of a bidder without a model, near the overall click rate. Click rates differ more between
# campaigns than between positions, so a model can do better than this.
_PRIOR_MODEL: Final = "prior-by-position"
_PRIOR: Final = {"1": 0.005, "2": 0.005, "3": 0.0045}
# Not in the dataset: (yen a day, pacing). The campaigns get about 12, 15 and 12 clicks a day. So `all` spends less than
# its even plan, `men` spends more and has used its budget by evening, `women` is on plan all day.
_BUDGETS: Final[dict[str, tuple[int, str]]] = {"all": (1_500, "even"), "men": (500, "even"), "women": (2_000, "asap")}
# Not in the dataset: half of the clicks come within 75 s. 3 % come after the default window of 30 min
# (ln(1800 / 75) / 1.7 = 1.87 standard deviations), so that the demo has clicks outside the window.
_MEDIAN_DELAY_MS: Final = 75_000
_DELAY_SIGMA: Final = 1.7
# The dataset has 32 hex digits; 8 are enough to distinguish a few hundred categories.
_HASH_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """Events in the order of their logs: impressions and clicks each by event time, then id."""

    impressions: list[Impression]
    clicks: list[Click]
    campaigns: list[Campaign]


def open_bandit() -> Sample:
    """The whole sample, the same at every call. Takes about a second and 60 MB."""
    impressions: list[Impression] = []
    clicks: list[Click] = []
    for campaign_id in CAMPAIGNS:
        items = _item_features(campaign_id)
        for arm in ARMS:
            for number, row in enumerate(_rows(f"{arm}_{campaign_id}.csv.gz")):
                impression = _impression(
                    f"{campaign_id}-{arm}-{number:06d}", campaign_id, arm=arm, row=row, items=items
                )
                impressions.append(impression)
                if row["click"] == "1":
                    clicks.append(_click(impression))
    impressions.sort(key=lambda event: (event.ts, event.impression_id))
    clicks.sort(key=lambda event: (event.ts, event.click_id))
    return Sample(impressions, clicks, [_campaign(campaign_id) for campaign_id in CAMPAIGNS])


def click_delay_ms(impression_id: str) -> int:
    """The delay of the click on an impression: log-normal over impressions, computed from the id."""
    # Adding half a step excludes 0 and 1, where the normal quantile is infinite.
    share = (xxhash.xxh3_64_intdigest(f"click delay {impression_id}".encode()) // 2**12 + 0.5) / 2**52
    return round(_MEDIAN_DELAY_MS * math.exp(_DELAY_SIGMA * NormalDist().inv_cdf(share)))


def price_micros(creative_id: str) -> int:
    """The price of a click on a creative: whole yen, computed from the id."""
    return (_CHEAPEST_YEN + xxhash.xxh3_64_intdigest(f"price {creative_id}".encode()) % _PRICE_STEPS) * _YEN_MICROS


def _rows(name: str) -> Iterator[dict[str, str]]:
    data = files("streams.inputs").joinpath("open_bandit", name).read_bytes()
    text = gzip.decompress(data) if name.endswith(".gz") else data
    return csv.DictReader(io.StringIO(text.decode()))


def _item_features(campaign_id: str) -> dict[str, Features]:
    """By item id: one number and three categories, as the dataset names them."""
    by_item: dict[str, Features] = {}
    for row in _rows(f"item_context_{campaign_id}.csv"):
        features: dict[str, FeatureValue] = {"item_feature_0": round(float(row["item_feature_0"]), 4)}
        for name in ("item_feature_1", "item_feature_2", "item_feature_3"):
            features[name] = row[name][:_HASH_DIGITS]
        by_item[row["item_id"]] = features
    return by_item


def _impression(
    impression_id: str, campaign_id: str, *, arm: str, row: dict[str, str], items: dict[str, Features]
) -> Impression:
    # The dataset numbers the items of each campaign from 0, so the id of a creative needs the campaign.
    creative_id = f"{campaign_id}-item-{row['item_id']}"
    users = {name: row[name][:_HASH_DIGITS] for name in row if name.startswith("user_feature_")}
    return Impression(
        impression_id=impression_id,
        ts=_ts_ms(row["timestamp"]),
        campaign_id=campaign_id,
        creative_id=creative_id,
        price_micros=price_micros(creative_id),
        placement=f"position-{row['position']}",
        country="JP",
        pctr=_PRIOR[row["position"]],
        model_version=_PRIOR_MODEL,
        experiment=EXPERIMENT,
        arm=arm,
        features={**users, **items[row["item_id"]]},
    )


def _click(impression: Impression) -> Click:
    delay_ms = click_delay_ms(impression.impression_id)
    return Click(
        click_id=f"click-{impression.impression_id}",
        impression_id=impression.impression_id,
        ts=impression.ts + delay_ms,
    )


def _campaign(campaign_id: str) -> Campaign:
    yen, pacing = _BUDGETS[campaign_id]
    return Campaign(
        campaign_id=campaign_id,
        daily_budget_micros=yen * _YEN_MICROS,
        timezone=TIMEZONE,
        status="active",
        pacing="asap" if pacing == "asap" else "even",
        version=1,
        currency="JPY",
        start=FLIGHT_START_MS,
        end=FLIGHT_END_MS,
    )


def _ts_ms(text: str) -> int:
    # In integers: a float of seconds does not hold milliseconds exactly.
    moment = datetime.fromisoformat(text).astimezone(UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000

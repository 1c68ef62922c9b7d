"""The three records users send: impressions, clicks, campaigns.

Decoding one of these types is the whole validation: msgspec checks presence, type and bounds in one pass. Unknown
fields are passed over, an optional field may be absent or null. Money is integer micros of the campaign's currency,
time is integer milliseconds UTC.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

# 2000-01-01 to 2100-01-01: wide enough for any log, narrow enough to catch seconds or microseconds sent as ms.
MIN_TS_MS = 946_684_800_000
MAX_TS_MS = 4_102_444_799_999
# A million currency units a click. 2^63 / 10^12 leaves nine million such prices per total before a sum could overflow.
MAX_PRICE_MICROS = 1_000_000_000_000
MAX_RECORD_BYTES = 256 * 1024
MAX_ID_CHARS = 256

TsMs = Annotated[int, msgspec.Meta(ge=MIN_TS_MS, le=MAX_TS_MS)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
Label = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARS)]
Micros = Annotated[int, msgspec.Meta(ge=0, le=MAX_PRICE_MICROS)]
Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
FeatureValue = Annotated[str, msgspec.Meta(max_length=1024)] | bool | _Int64 | float
# Bounded so that an outcome, which repeats the impression, can never outgrow what the broker takes.
Features = Annotated[dict[Label, FeatureValue], msgspec.Meta(max_length=256)]


class Impression(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One ad shown. `price_micros` is charged if it is clicked; `pctr` is the bidder's own click probability."""

    impression_id: Id
    ts: TsMs
    campaign_id: Id
    creative_id: Id
    price_micros: Micros
    advertiser_id: Label | None = None
    placement: Label | None = None
    country: Label | None = None
    device: Label | None = None
    user_id: Label | None = None
    bid_micros: Micros | None = None
    pctr: Probability | None = None
    model_version: Label | None = None
    experiment: Label | None = None
    arm: Label | None = None
    features: Features | None = None


class Click(msgspec.Struct, frozen=True, gc=False):
    """One click, naming the impression it was made on."""

    click_id: Id
    impression_id: Id
    ts: TsMs


class Campaign(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a campaign's budget and state; the highest `version` holds."""

    campaign_id: Id
    daily_budget_micros: Annotated[int, msgspec.Meta(ge=0, le=10**15)]
    timezone: Label
    status: Literal["active", "paused"]
    pacing: Literal["even", "asap"]
    version: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    advertiser_id: Label | None = None
    currency: Label | None = None
    start: TsMs | None = None
    end: TsMs | None = None
    max_bid_micros: Micros | None = None

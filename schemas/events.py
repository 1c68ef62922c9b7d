"""The three records that users send: impressions, clicks, campaigns.

Decoding into one of these types is the whole validation: msgspec checks presence, type and bounds in one pass. Unknown
fields are ignored, and so are features that no model can use (`schemas.reading`). An optional field may be absent or
null. Money is in integer micros of the campaign's currency, time in integer milliseconds UTC. JSON has one type of
number, and many exporters write 1700000000000 as 1.7e12: `decode_event` accepts such a number in an integer field when
it is whole.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from schemas.codec import decode

# 2000-01-01 to 2100-01-01, in ms. It is wide enough for any log, and excludes values in seconds or microseconds.
MIN_TS_MS = 946_684_800_000
MAX_TS_MS = 4_102_444_799_999
# A million currency units a click. An int64 sum overflows after 2^63 / 10^12 of them: nine million clicks at this
# price.
MAX_PRICE_MICROS = 1_000_000_000_000
# A billion currency units a day.
MAX_BUDGET_MICROS = 10**15
# A quarter of the 1 MiB that a broker takes by default. So an outcome, which repeats the impression, fits too.
MAX_RECORD_BYTES = 256 * 1024
# Of a record that clickfold writes: what a broker takes as it comes.
MAX_OWN_RECORD_BYTES = 1024 * 1024
MAX_ID_CHARS = 256
# What an impression has most; the rest is left out.
MAX_FEATURES = 256
MAX_FEATURE_CHARS = 1_024

# Event time, ms UTC: `TsMs` in records of users, which has bounds, and `EventMs` in records of clickfold.
TsMs = Annotated[int, msgspec.Meta(ge=MIN_TS_MS, le=MAX_TS_MS, extra={"unit": "ms UTC"})]
EventMs = Annotated[int, msgspec.Meta(extra={"unit": "ms UTC"})]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
Label = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARS)]
Micros = Annotated[int, msgspec.Meta(ge=0, le=MAX_PRICE_MICROS)]
Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
FeatureValue = Annotated[str, msgspec.Meta(max_length=MAX_FEATURE_CHARS)] | bool | _Int64 | float
# Bounded so that an outcome, which repeats the impression, is never larger than the broker takes.
Features = Annotated[dict[Label, FeatureValue], msgspec.Meta(max_length=MAX_FEATURES)]


class Impression(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One ad shown. `price_micros` is charged if it is clicked; `pctr` is the bidder's own click probability."""

    impression_id: Id
    """Names the impression; also the key of the record."""
    ts: TsMs
    """When the ad was shown."""
    campaign_id: Id
    """The campaign that pays."""
    creative_id: Id
    """The ad that was shown."""
    price_micros: Micros
    """Charged for the first click within the window."""
    advertiser_id: Label | None = None
    """Who runs the campaign."""
    placement: Label | None = None
    """Where on the page or in the app."""
    country: Label | None = None
    """Where the user is."""
    device: Label | None = None
    """What the user holds, such as `mobile`."""
    user_id: Label | None = None
    """Who saw it. ClickHouse receives a hash of it; the model never uses it."""
    bid_micros: Micros | None = None
    """What was bid in the auction. Outcomes repeat it."""
    pctr: Probability | None = None
    """Click probability the bidder predicted. Totals sum it up as expected clicks."""
    model_version: Label | None = None
    """The model that made `pctr`."""
    experiment: Label | None = None
    """The experiment the impression takes part in."""
    arm: Label | None = None
    """The arm of that experiment."""
    features: Features | None = None
    """Further inputs of the click model: strings, booleans and numbers by name. Others are left out and counted."""


class Click(msgspec.Struct, frozen=True, gc=False):
    """One click on an impression."""

    click_id: Id
    """Names the click. A second record with this id and equal content is a duplicate."""
    impression_id: Id
    """The impression that was clicked; also the key of the record."""
    ts: TsMs
    """When it was clicked."""


class Campaign(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a campaign's budget and state. The gate judges it before it comes into force, see
    `ads.campaign_history`."""

    campaign_id: Id
    """Names the campaign; also the key of the record."""
    daily_budget_micros: Annotated[int, msgspec.Meta(ge=0, le=MAX_BUDGET_MICROS)]
    """What may be spent in one day of the campaign's time zone."""
    timezone: Label
    """IANA name, such as `Asia/Tokyo`. It decides where a day begins."""
    status: Literal["active", "paused"]
    """A paused campaign takes part in no auction."""
    pacing: Literal["even", "flat", "asap", "curve"]
    """`even` spends the budget over the day by its traffic, `flat` by the clock, `curve` by the shares in `curve`;
    `asap` spends it as fast as it can."""
    version: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    """It grows with each change and is not used again for other content; gaps are allowed."""
    advertiser_id: Label | None = None
    """Who runs the campaign."""
    currency: Label | None = None
    """The currency of all amounts of the campaign, such as `JPY`."""
    start: TsMs | None = None
    """First moment of the flight. Before it no auction is entered."""
    end: TsMs | None = None
    """First moment after the flight."""
    max_bid_micros: Micros | None = None
    """The most it bids. ClickHouse shows it; clickfold does not enforce it."""
    lifetime_budget_micros: Annotated[int, msgspec.Meta(ge=0, le=MAX_BUDGET_MICROS)] | None = None
    """What may be spent in the whole flight, which then has `start` and `end`. What is left of it is shared out among
    the days that are left; no day spends more than `daily_budget_micros`."""
    curve: list[float] | None = None
    """With `pacing` `curve`: the share of the day's budget in each of 24 or 96 equal parts of the local day. A part
    with 0 enters no auction. Where the flight covers a part of the day, the shares of that part count in proportion."""
    min_bid_multiplier: Annotated[float, msgspec.Meta(ge=0.01, le=1.0)] | None = None
    """The least that pacing multiplies bids by; 0.05 where it is not given."""
    max_bid_multiplier: Annotated[float, msgspec.Meta(ge=0.01, le=1.0)] | None = None
    """The most that pacing multiplies bids by; 1 where it is not given."""
    hourly_cap_micros: Annotated[int, msgspec.Meta(ge=1, le=MAX_BUDGET_MICROS)] | None = None
    """What may be spent in each clock hour of its time zone, by the time of the click."""
    dayparts: Label | None = None
    """Hours of the week in which it serves, in its time zone, such as `mon-fri 9-18, sat 10-14`; all where none are
    given."""
    budget_id: Id | None = None
    """Names a budget that the campaign shares with others. They have one time zone and one currency."""
    shared_budget_micros: Annotated[int, msgspec.Meta(ge=0, le=MAX_BUDGET_MICROS)] | None = None
    """What all campaigns of `budget_id` together may spend in a day; the least that one of them says counts."""
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    """In the shared budget: a campaign of higher priority has its money first; 0 where it is not given."""
    frequency_cap: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    """So many impressions at most for one user in `frequency_period_s`. Ad servers count; decisions repeat the cap."""
    frequency_period_s: Annotated[int, msgspec.Meta(ge=60, le=31_536_000)] | None = None
    """The period of `frequency_cap`, in seconds."""


Event = TypeVar("Event", bound=msgspec.Struct)

# The fields above that hold integers. A test compares this list with the types.
INTEGER_FIELDS: Final = frozenset(
    {
        *("ts", "price_micros", "bid_micros", "daily_budget_micros", "version", "start", "end", "max_bid_micros"),
        *("lifetime_budget_micros", "hourly_cap_micros", "shared_budget_micros", "priority"),
        *("frequency_cap", "frequency_period_s"),
    }
)
# A double holds every whole number up to this one; above it, the digits that were written may be others.
_LARGEST_EXACT: Final = 2.0**53


def decode_event(data: bytes, kind: type[Event]) -> Event:
    """The record of `kind` in these bytes; an integer field may be written as 1.7e12 or 1700000000000.0.

    Raises ValueError naming the field and bound, RecursionError when nested too deeply. Costs a second decoding only
    for a record that the strict decoder refuses. For `kind` with other fields, those of the same names are integers.
    """
    try:
        return decode(data, kind)
    except msgspec.ValidationError as refused:
        fields = msgspec.json.decode(data)
        whole = {name: int(fields[name]) for name in INTEGER_FIELDS if _is_whole(fields, name)}
        if not whole:
            raise
        try:
            return msgspec.convert(fields | whole, kind)
        except msgspec.ValidationError as error:
            raise error from refused


def _is_whole(fields: Any, name: str) -> bool:
    value = fields.get(name) if isinstance(fields, dict) else None
    return isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT

"""What the pacing worker decides on a campaign: the record of `ads.pacing` (compacted, keyed by campaign)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from schemas.events import MAX_BUDGET_MICROS, MAX_TS_MS, EventMs

PacingState = Literal[
    "on_plan", "ahead", "behind", "blind", "exhausted", "paused", "unknown", "outside_flight", "outside_hours"
]
STATES: Final[Mapping[PacingState, str]] = {
    "on_plan": "The share spends by the plan what is left of the budget.",
    "ahead": "Clicks that are still expected, or what chance may add to them, take what is left of the budget, "
    "or of the hour's cap.",
    "behind": "The campaign enters every auction: less can be spent than is left.",
    "blind": "Totals are behind. Spend is reckoned and not seen, so the share is a careful one.",
    "exhausted": "The budget of the day is spent: `admit` is 0.",
    "paused": "The campaign's status is `paused`: `admit` is 0.",
    "unknown": "The campaign has totals, but no record of it was accepted, or it was withdrawn: `admit` is 0.",
    "outside_flight": "Before `start`, or at or after `end`: `admit` is 0.",
    "outside_hours": "An hour outside `dayparts`, or without a share of the curve: `admit` is 0.",
}


class PacingDecision(msgspec.Struct, frozen=True):
    """How a campaign takes part in auctions from now on, and the figures behind it.

    An ad server lets it enter a share `admit` of the auctions and multiplies its bids by `bid_multiplier`, until the
    expected spend of what it showed reaches the lease, `allowance_micros`. From `valid_until_ms` on at most
    `safe_admit` holds. A tombstone of its key means that the campaign is forgotten: it stays out.

    Records of version 0.1 end with `clicks`. They are read for one version: such a decision has no lease and does not
    become stale.
    """

    campaign_id: str
    """The campaign; also the key of the record."""
    version: int
    """It grows with every decision on a campaign."""
    event_ms: EventMs
    """Event time of the decision."""
    day_start: EventMs
    """The campaign's local midnight."""
    state: PacingState
    """How spend compares with the plan; see the states below."""
    admit: float
    """Share of auctions that the campaign enters, 0 to 1."""
    budget_micros: int
    """Budget of the day."""
    spend_micros: int
    """Spent since `day_start`."""
    plan_micros: int
    """What the plan would have spent since `day_start`."""
    impressions: int
    """Impressions since `day_start`."""
    clicks: int
    """Billable clicks since `day_start`."""
    bid_multiplier: float = 1.0
    """Bids of the campaign are multiplied by it."""
    allowance_micros: int = MAX_BUDGET_MICROS
    """Lease: expected spend that all ad servers together may show until the next version."""
    valid_until_ms: EventMs = MAX_TS_MS
    """From then on, by the wall clock, the decision is stale: at most `safe_admit` holds."""
    safe_admit: float = 0.0
    """Share of auctions while the decision is stale."""
    click_rate: float = 0.0
    """Click rate by which the lease reckons impressions without `pctr`."""
    counted_to_ms: EventMs = 0
    """What happened before this event time is in the figures; 0 where it is not known."""
    in_flight_micros: int = 0
    """What impressions already shown may still cost in the day: those counted, and those reckoned since."""
    reason: str = ""
    """Why the campaign takes part as it does, in words."""
    frequency_cap: int = 0
    """So many impressions at most for one user in `frequency_period_s`; ad servers count. 0: no bound."""
    frequency_period_s: int = 0
    """The period of `frequency_cap`, in seconds."""

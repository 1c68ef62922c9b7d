"""What the pacing worker decides on a campaign: the record of `ads.pacing` (compacted, keyed by campaign)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from schemas.events import EventMs

PacingState = Literal["on_plan", "ahead", "behind", "exhausted", "paused", "unknown", "outside_flight"]
STATES: Final[Mapping[PacingState, str]] = {
    "on_plan": "Spend is up to 30 minutes ahead of the plan: `admit` falls from 1 to 0 over that range.",
    "ahead": "Spend, plus what shown impressions may still cost, is over 30 minutes ahead of the plan: `admit` is 0.",
    "behind": "Spend is below the plan: `admit` is 1.",
    "exhausted": "The budget of the day is spent: `admit` is 0.",
    "paused": "The campaign's status is `paused`: `admit` is 0.",
    "unknown": "The campaign has totals, but no record of it was accepted, or it was withdrawn: `admit` is 0.",
    "outside_flight": "Before `start`, or at or after `end`: `admit` is 0.",
}


class PacingDecision(msgspec.Struct, frozen=True):
    """The share of auctions that a campaign should enter from now on, and the figures behind it.

    `admit`, from 0 to 1, is the probability with which a bidder should let the campaign take part in an auction.
    `day_start` is the campaign's local midnight in ms UTC, `event_ms` the event time of the decision. `plan_micros` is
    what its plan (even or asap) would have spent of `budget_micros` by then. The `version` grows with each decision on
    a campaign.
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
    """Probability with which a bidder lets the campaign take part in an auction."""
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

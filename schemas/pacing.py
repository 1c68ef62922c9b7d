"""What the pacing worker decides for a campaign: the record of `ads.pacing` (compacted, keyed by campaign)."""

from __future__ import annotations

from typing import Literal

import msgspec

PacingState = Literal["on_plan", "ahead", "behind", "exhausted", "paused", "unknown", "outside_flight"]


class PacingDecision(msgspec.Struct, frozen=True):
    """The share of auctions a campaign should enter from now on, and the figures that led to it.

    `admit` in [0, 1]: the probability with which a bidder should let the campaign take part. `day_start` is the
    campaign's local midnight in ms UTC; `event_ms` the event time the decision was made at. `plan_micros` is what an
    even (or asap) plan would have spent of `budget_micros` by then. `version` only grows per campaign.
    """

    campaign_id: str
    version: int
    event_ms: int
    day_start: int
    state: PacingState
    admit: float
    budget_micros: int
    spend_micros: int
    plan_micros: int
    impressions: int
    clicks: int

"""What the join decided of one impression or click: the record of `ads.outcomes`."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.events import Features

OutcomeKind = Literal["click", "repeat", "unclicked", "orphan"]


class Outcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One decision, emitted exactly once.

    `click`: the billable click of an impression. `repeat`: a later one, never billed. `unclicked`: the window passed;
    only a share of these is kept, each standing for `weight` of them. `orphan`: no impression; only the click's own
    fields and `impression_id` are set. `label` is 1 for `click`, 0 for `unclicked`, absent otherwise: a learner trains
    on the labelled ones. `delay_ms` = `click_ts - ts`, negative when clocks disagree.
    """

    kind: OutcomeKind
    impression_id: str
    join_partition: int
    weight: float = 1.0
    label: int | None = None
    click_id: str | None = None
    click_ts: int | None = None
    delay_ms: int | None = None
    ts: int | None = None
    campaign_id: str | None = None
    creative_id: str | None = None
    price_micros: int | None = None
    advertiser_id: str | None = None
    placement: str | None = None
    country: str | None = None
    device: str | None = None
    user_id: str | None = None
    bid_micros: int | None = None
    pctr: float | None = None
    model_version: str | None = None
    experiment: str | None = None
    arm: str | None = None
    features: Features | None = None

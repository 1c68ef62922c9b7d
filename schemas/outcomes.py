"""What the join decided on one impression or click: the record of `ads.outcomes`."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from schemas.events import EventMs, Features

OutcomeKind = Literal["click", "repeat", "unclicked", "orphan", "shown"]
# How the record of a shown impression begins, as the join writes it: readers can leave it out without decoding it.
SHOWN: Final = b'{"kind":"shown"'
# 1 / negative rate, for the smallest rate anybody should use. A record with a larger weight is damaged.
MAX_WEIGHT = 1e6


class Outcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One decision, emitted exactly once.

    `click`: the billable click on an impression. `repeat`: a later click on it, never billed. `unclicked`: the window
    passed without a click; only a share of these is kept, and each stands for `weight` of them. `orphan`: a click
    without impression; only the fields of the click and `impression_id` are set. `shown`: an impression was accepted
    and nothing is decided about it yet; the same share of impressions is kept as of the unclicked ones, with the same
    weight, and each comes before all that is decided about it. `label` is 1 for `click`, 0 for `unclicked` and absent
    otherwise: a learner trains on labelled outcomes. `delay_ms` is `click_ts - ts`; it is negative when clocks
    disagree.
    """

    kind: OutcomeKind
    """What was decided."""
    impression_id: str
    """The impression, or the one an orphan click names."""
    join_partition: int
    """Partition of the join that decided."""
    weight: float = 1.0
    """How many impressions a record of kind `unclicked` or `shown` stands for; 1 for other kinds."""
    label: int | None = None
    """1 for `click`, 0 for `unclicked`; absent otherwise."""
    click_id: str | None = None
    """The click; absent for `unclicked` and `shown`."""
    click_ts: EventMs | None = None
    """When it was clicked; absent for `unclicked` and `shown`."""
    delay_ms: int | None = None
    """`click_ts - ts`; negative when clocks disagree."""
    ts: EventMs | None = None
    """When the impression was shown; absent for `orphan`, as are all fields below."""
    campaign_id: str | None = None
    """As in the impression."""
    creative_id: str | None = None
    """As in the impression."""
    price_micros: int | None = None
    """As in the impression. It is charged for the kind `click` only."""
    advertiser_id: str | None = None
    """As in the impression."""
    placement: str | None = None
    """As in the impression."""
    country: str | None = None
    """As in the impression."""
    device: str | None = None
    """As in the impression."""
    user_id: str | None = None
    """As in the impression."""
    bid_micros: int | None = None
    """As in the impression."""
    pctr: float | None = None
    """As in the impression."""
    model_version: str | None = None
    """As in the impression."""
    experiment: str | None = None
    """As in the impression."""
    arm: str | None = None
    """As in the impression."""
    features: Features | None = None
    """As in the impression."""

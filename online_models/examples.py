"""Reads one record of `ads.outcomes` for a learner, and says whether it is an example to learn."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.codec import decode
from schemas.events import MAX_TS_MS, MIN_TS_MS
from schemas.outcomes import Outcome

# The label each kind of outcome must carry.
_LABELS: Final = {"click": 1, "unclicked": 0, "repeat": None, "orphan": None}
# 1 / negative rate, for the smallest rate anybody should use. A record with a larger weight is damaged.
_MAX_WEIGHT: Final = 1e6


def read_outcome(value: bytes | None) -> Outcome | None:
    """The outcome, or None when the bytes are not one or when it contradicts itself.

    An outcome with a label is an example: it has a time, a campaign, a creative and a weight, all within bounds.
    Repeats and orphans have no label, so nothing is learned from them.
    """
    try:
        outcome = decode(value or b"", Outcome)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if outcome.label != _LABELS[outcome.kind]:
        return None
    if outcome.label is not None:
        complete = outcome.ts is not None and outcome.campaign_id is not None and outcome.creative_id is not None
        if not complete or not MIN_TS_MS <= (outcome.ts or 0) <= MAX_TS_MS or not 0.0 < outcome.weight <= _MAX_WEIGHT:
            return None
    return outcome

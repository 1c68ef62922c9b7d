"""Reads one record of `ads.outcomes` for a learner, and says whether it is an example to learn."""

from __future__ import annotations

from typing import Final

from schemas.codec import decoder
from schemas.events import MAX_OWN_RECORD_BYTES, MAX_TS_MS, MIN_TS_MS
from schemas.outcomes import MAX_WEIGHT, Outcome
from schemas.reading import Unreadable, read
from schemas.rejects import Reason

# The label each kind of outcome must carry.
LABELS: Final = {"click": 1, "unclicked": 0, "repeat": None, "orphan": None, "shown": None}
_decode = decoder(Outcome).decode


def read_outcome(value: bytes | None) -> Outcome | Unreadable:
    """The outcome, or why the bytes are not one or why it contradicts itself.

    An outcome with a label is an example: it has a time, a campaign, a creative and a weight, all within bounds.
    Other kinds have no label, so nothing is learned from them.
    """
    outcome: Outcome | Unreadable = read(value, _decode, max_bytes=MAX_OWN_RECORD_BYTES)
    if isinstance(outcome, Unreadable):
        return outcome
    if outcome.label != LABELS[outcome.kind]:
        return Unreadable(Reason.UNDECODABLE, f"the label of kind {outcome.kind} is not {outcome.label}")
    if outcome.label is not None:
        complete = outcome.ts is not None and outcome.campaign_id is not None and outcome.creative_id is not None
        if not complete or not MIN_TS_MS <= (outcome.ts or 0) <= MAX_TS_MS or not 0.0 < outcome.weight <= MAX_WEIGHT:
            detail = f"an example needs campaign, creative, a ts within bounds and a weight up to {MAX_WEIGHT:.0f}"
            return Unreadable(Reason.UNDECODABLE, detail)
    return outcome

"""Reads one outcome, of a file or `ads.outcomes`, for a model: what it predicts and learns from, or why it cannot."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from schemas.codec import decoder
from schemas.events import MAX_OWN_RECORD_BYTES, MAX_TS_MS, MIN_TS_MS, EventMs, Features
from schemas.outcomes import MAX_WEIGHT, OutcomeKind
from schemas.reading import Unreadable, read
from schemas.rejects import Reason

# The label each kind of outcome must carry.
LABELS: Final = {"click": 1, "unclicked": 0, "repeat": None, "orphan": None, "shown": None}


# A float holds it exactly, as the scanner reads it.
SafeInt = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class Example(msgspec.Struct, frozen=True, gc=False):
    """The fields of an outcome that a model may see, its label and weight. See `schemas.outcomes.Outcome`."""

    kind: OutcomeKind
    impression_id: str
    join_partition: SafeInt | None = None
    delay_ms: SafeInt | None = None
    ts: EventMs | None = None
    label: int | None = None
    weight: float = 1.0
    campaign_id: str | None = None
    creative_id: str | None = None
    placement: str | None = None
    country: str | None = None
    device: str | None = None
    pctr: float | None = None
    features: Features | None = None


_decode: Any = decoder(Example).decode


def read_example(line: bytes, *, shown: bool = False) -> Example | Unreadable | None:
    """The example of a line; None for one that has no label, as a repeat; or why the line is no outcome.

    With `shown` an impression that was shown is an example without label.
    """
    found: Example | Unreadable = read(line, _decode, max_bytes=MAX_OWN_RECORD_BYTES)
    if isinstance(found, Unreadable):
        return found
    if found.label != LABELS[found.kind]:
        return Unreadable(Reason.UNDECODABLE, f"the label of kind {found.kind} is not {found.label}")
    if found.label is None and not (shown and found.kind == "shown"):
        return None
    if found.ts is None or not MIN_TS_MS <= found.ts <= MAX_TS_MS:
        return Unreadable(Reason.UNDECODABLE, f"ts is {found.ts}; it must be from {MIN_TS_MS} to {MAX_TS_MS}, in ms")
    if not 0.0 < found.weight <= MAX_WEIGHT:
        return Unreadable(
            Reason.UNDECODABLE, f"weight is {found.weight}; it must be above 0 and up to {MAX_WEIGHT:.0f}"
        )
    return found

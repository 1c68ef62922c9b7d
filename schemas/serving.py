"""What `clickfold serve` is asked and what it answers. Decoding into these types checks all but `check_call`."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from schemas.campaigns import CampaignChange
from schemas.events import MAX_FEATURES, Campaign, EventMs, Features, Id, Label, TsMs
from schemas.pacing import PacingDecision

# An auction has tens of candidates. A thousand take about 5 ms, which delay the calls of others.
MAX_CANDIDATES: Final = 1_000


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One ad that may be shown."""

    campaign_id: Id
    """The campaign that would pay."""
    creative_id: Id
    """The ad."""
    features: Features | None = None
    """Further inputs of the click model that belong to this candidate: strings, booleans and finite numbers by name."""


class PredictCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One auction: what its candidates share, and the candidates. Names and bounds are those of an impression."""

    ts: TsMs
    """When the ad would be shown."""
    candidates: Annotated[list[Candidate], msgspec.Meta(min_length=1, max_length=MAX_CANDIDATES)]
    """The ads to predict, in the order of the answer."""
    placement: Label | None = None
    """Where on the page or in the app."""
    country: Label | None = None
    """Where the user is."""
    device: Label | None = None
    """What the user holds, such as `mobile`."""
    features: Features | None = None
    """Inputs of the click model that all candidates share. One of a candidate stands in place of that of its name."""


class ModelFacts(msgspec.Struct, frozen=True):
    """The model that serves."""

    model: str
    """Name of the model."""
    shard: int
    """Partition of `ads.outcomes` it has learned from."""
    version: int
    """Its version; the impression's `model_version` should name it."""
    event_ms: EventMs
    """Event time up to which it has learned."""


class Prediction(ModelFacts, frozen=True):
    """The answer to one call: one whole version of a model has made all probabilities."""

    probabilities: list[Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)]]
    """The click probability of each candidate, in their order."""
    pacing: dict[str, PacingDecision]
    """The last decision on each campaign of the call; a campaign without one is left out."""


class CampaignList(msgspec.Struct, frozen=True):
    """Every campaign in force."""

    campaigns: list[Campaign]
    """In the order of their ids."""


class CampaignFacts(msgspec.Struct, frozen=True):
    """One campaign, and what was last decided on it."""

    campaign: Campaign
    """What is in force, or was just written."""
    decision: PacingDecision | None
    """The last decision on it, if there is one."""
    in_force_ms: EventMs | None = None
    """After a change: since when it is in force; null while the worker `pace` has not judged it."""


class CampaignPast(msgspec.Struct, frozen=True):
    """What was accepted of one campaign."""

    changes: list[CampaignChange]
    """In the order in which they came into force."""


class Refused(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a call has no prediction."""

    error: str
    """One sentence: what is wrong, the bound, the remedy."""
    field: str | None = None
    """The field that is wrong, such as `candidates[3].features.price`."""


def check_call(call: PredictCall) -> Refused | None:
    """What is wrong with the number of features that a candidate has with those of the call, if it is too high."""
    shared = call.features
    if not shared:
        return None
    for number, candidate in enumerate(call.candidates):
        own = candidate.features
        if own and len(own) + len(shared) > MAX_FEATURES and len({*own, *shared}) > MAX_FEATURES:
            field = f"candidates[{number}].features"
            text = f"{field} has {len(own)} and the call {len(shared)}; give at most {MAX_FEATURES} of different names"
            return Refused(text, field)
    return None


def merged(call: PredictCall, candidate: Candidate) -> Features:
    """The features of a candidate as its impression should have them: those of the call first."""
    return {**(call.features or {}), **(candidate.features or {})}

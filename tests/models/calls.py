"""Calls of `clickfold serve`, and the outcomes that they would become."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from online_models.mixture.examples import Example
from schemas.events import MAX_TS_MS, MIN_TS_MS
from schemas.serving import Candidate, PredictCall, merged
from tests.factories import T0

_texts = st.text(st.characters(codec="utf-8"), max_size=6)
# Names with an underscore share a field; some are those of the clicks that models of tests have learned.
_names = st.sampled_from(["n", "tag_a", "tag_b", "tag_", "score", "f1", "ü"]) | _texts
_numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1)
_features = st.dictionaries(_names, _texts | st.booleans() | _numbers, max_size=5)
_ids = st.sampled_from(["c1", "c2", "x1"]) | _texts.filter(bool)


@st.composite
def calls(draw: st.DrawFn, most: int = 6) -> PredictCall:
    """Any call that has an answer."""
    shared = draw(_features)
    candidates = [Candidate(draw(_ids), draw(_ids), draw(_features) or None) for _ in range(draw(st.integers(1, most)))]
    ts = draw(st.integers(MIN_TS_MS, MAX_TS_MS) | st.just(T0))
    placement, country, device = (draw(st.none() | _texts) for _ in range(3))
    return PredictCall(ts, candidates, placement, country, device, shared or None)


def shown(call: PredictCall, candidate: Candidate) -> Example:
    """The outcome of an impression of this candidate, not clicked."""
    given: dict[str, Any] = {name: getattr(call, name) for name in ("ts", "placement", "country", "device")}
    features = merged(call, candidate)
    return Example(
        "unclicked", "i", label=0, campaign_id=candidate.campaign_id, creative_id=candidate.creative_id,
        features=features or None, **given,
    )  # fmt: skip

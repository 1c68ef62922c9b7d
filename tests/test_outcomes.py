"""Records of `ads.outcomes`, which are put together from the text of their impressions."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.bounds import JoinBounds
from schemas.codec import decode, encode
from schemas.events import MIN_TS_MS, Click, Impression
from schemas.outcomes import SHOWN, Outcome
from schemas.records import Records
from streams.join.outcomes import Outcomes
from streams.join.scanned import ImpressionDecoder, ScannedImpressions

_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
_labels = st.none() | _texts
_impressions = st.builds(
    Impression,
    impression_id=_texts,
    ts=st.integers(MIN_TS_MS, MIN_TS_MS + 100),
    campaign_id=_texts,
    creative_id=_texts,
    price_micros=st.integers(0, 1_000),
    country=_labels,
    arm=_labels,
    bid_micros=st.none() | st.integers(0, 9),
    pctr=st.none() | st.floats(0.0, 1.0),
    features=st.none() | st.dictionaries(_texts, _texts | st.booleans() | st.integers(0, 9), max_size=2),
)


def _scanned(impression: Impression) -> ScannedImpressions:
    key, value = impression.impression_id.encode(), encode(impression)
    records = Records("impressions", 0, [0], [-1], [key], [value])
    events = ImpressionDecoder(JoinBounds()).decode(records).events
    assert isinstance(events, ScannedImpressions)
    return events


@given(_impressions, _texts, st.sampled_from(["click", "repeat", "unclicked", "shown"]))
def test_an_outcome_decodes_to_all_fields_of_its_impression(impression: Impression, click_id: str, kind: str) -> None:
    outcomes, first = Outcomes(3, 4, sampled_weight=20.0), np.zeros(1, np.int64)
    click = Click(click_id, impression.impression_id, impression.ts + 7)
    clicked = kind in {"click", "repeat"}
    if clicked:
        out = outcomes.clicked(impression, click, repeat=kind == "repeat")
    else:
        put_out = outcomes.shown if kind == "shown" else outcomes.unclicked
        (out,) = put_out(_scanned(impression), first)
    assert (out.value or b"").startswith(SHOWN) == (kind == "shown")
    # Readers that do not know the default find it in the record.
    assert (b'"weight":1.0,' if clicked else b'"weight":20.0,') in (out.value or b"")
    assert decode(out.value or b"", Outcome) == Outcome(
        kind=kind,  # type: ignore[arg-type]  # a Literal
        join_partition=3,
        weight=1.0 if clicked else 20.0,
        label={"click": 1, "unclicked": 0}.get(kind),
        click_id=click_id if clicked else None,
        click_ts=click.ts if clicked else None,
        delay_ms=7 if clicked else None,
        **msgspec.structs.asdict(impression),
    )


def test_outcomes_have_the_fields_of_impressions_last_and_in_their_order() -> None:
    names = [field.name for field in msgspec.structs.fields(Impression)]
    assert [field.name for field in msgspec.structs.fields(Outcome)][-len(names) + 1 :] == names[1:]

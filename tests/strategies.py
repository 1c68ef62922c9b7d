"""Small adversarial logs: few ids, times around every bound, copies, contradictions and rubbish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import strategies as st

from schemas.bounds import JoinBounds
from schemas.codec import encode
from schemas.records import Record, Records
from schemas.seals import SealRecord

_DEEP = b'{"unknown":' + b"[" * 100_000
_DEEP_BUT_WHOLE = b'{"unknown":' + b"[" * 16 + b"]" * 16 + b"}"
_BAD = [b"{", b"[]", b"{}", b'{"impression_id": ""}', b'{"impression_id":"\xff"}', _DEEP, _DEEP_BUT_WHOLE]
T0 = 1_700_000_040_000 - 60  # just before a minute's end, so that tiny spans cross minutes
BOUNDS = JoinBounds(window_ms=100, skew_ms=10, lateness_ms=20, future_ms=15, dedupe_ms=125, negative_rate=1.0)
# Distances at which something changes, and one beside: W, S, L, D, W + S, and the sums that bounds are made of.
_STEPS = sorted({step + beside for step in (0, 10, 15, 20, 100, 110, 125, 145, 230) for beside in (-1, 0, 1)})


def bounds() -> st.SearchStrategy[JoinBounds]:
    """Tiny bounds, with every one at its edge now and then."""
    return st.builds(
        lambda window, skew, lateness, future, more, rate, jump: JoinBounds(
            window_ms=window,
            skew_ms=skew,
            lateness_ms=lateness,
            future_ms=future,
            dedupe_ms=window + skew + more,
            negative_rate=rate,
            jump_ms=jump,
        ),
        st.sampled_from([1, 20, 100]),
        st.sampled_from([0, 10]),
        st.sampled_from([0, 20, 60]),
        st.sampled_from([0, 15]),
        st.sampled_from([0, 20, 100]),
        st.sampled_from([1.0, 0.5, 0.0]),
        st.sampled_from([0, 0, 50, 300]),
    )


@st.composite
def impression_logs(draw: st.DrawFn, most: int = 14) -> list[Record]:
    """An impression log with duplicates, conflicts, reused ids, late, future and undecodable records."""
    return draw(
        _logs(
            st.builds(
                _impression,
                _ids,
                _times(),
                st.integers(0, 2),
                st.sampled_from([None, 0.25]),
                st.sampled_from(_FEATURES),
            ),
            most,
        )
    )


@st.composite
def click_logs(draw: st.DrawFn, most: int = 12) -> list[Record]:
    """A click log of the same kind."""
    return draw(_logs(st.builds(_click, st.integers(0, 4), _ids, _times()), most))


_ids = st.sampled_from(["a", "b", "c", "d", "e"])


def _times() -> st.SearchStrategy[int]:
    return st.builds(
        lambda step, more: T0 + step + more, st.sampled_from(_STEPS), st.sampled_from([0, 0, 60, 300, 900])
    )


# What a model cannot use is left out; the impression stays. Two that differ only there are duplicates.
_FEATURES: list[Any] = [None, {}, {"a": 1}, {"a": 1, "b": None}, {"b": [1]}, {"a": 1, "c": 2**63}, [1], "x", {"d": {}}]


def _impression(impression_id: str, ts: int, variant: int, pctr: float | None, features: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "impression_id": impression_id,
        "ts": ts,
        "campaign_id": f"c{variant % 2}",
        "creative_id": "x",
        "price_micros": 1_000 + variant,
    }
    if features is not None:
        made["features"] = features
    return made if pctr is None else {**made, "pctr": pctr, "country": ["", None, "de"][variant]}


def _click(click_id: int, impression_id: str, ts: int) -> dict[str, Any]:
    return {"click_id": f"k{click_id}", "impression_id": impression_id, "ts": ts}


@st.composite
def _logs(draw: st.DrawFn, events: st.SearchStrategy[dict[str, Any]], most: int) -> list[Record]:
    records: list[Record] = []
    offset = draw(st.integers(0, 3))
    for event in draw(st.lists(events, max_size=most)):
        # Times lean towards rising, so that watermarks move.
        shape = draw(
            st.sampled_from(["good"] * 12 + ["copy"] * 3 + ["key", "bad", "none", "missing", "future", "edge", "float"])
        )
        key: bytes | None = event["impression_id"].encode()
        value: bytes | None = orjson.dumps(event)
        stamped = -1
        if shape == "copy" and records:
            earlier = draw(st.sampled_from(records))
            key, value, stamped = earlier.key, earlier.value, earlier.record_ts_ms
        elif shape == "key":
            key = draw(st.sampled_from([None, b"z"]))
        elif shape == "bad":
            value = draw(st.sampled_from(_BAD))
        elif shape == "none":
            value = None
        elif shape == "missing":
            value = orjson.dumps({name: event[name] for name in event if name != "ts"})
        elif shape == "future":
            stamped = event["ts"] - 16
        elif shape == "edge":
            stamped = event["ts"] - 15
        elif shape == "float":
            value = orjson.dumps({**event, "ts": event["ts"] + draw(st.sampled_from([0.0, 0.0, 0.5]))})
        records.append(Record(offset, stamped, key, value))
        offset += draw(st.sampled_from([1, 1, 1, 3]))
    return records


def side_log(seals: Sequence[SealRecord], partition: int = 0) -> Records:
    """These seals as the side log gives them."""
    key = str(partition).encode()
    return columns("seals", [Record(offset, -1, key, encode(seal)) for offset, seal in enumerate(seals)], partition)


def columns(log: str, records: Sequence[Record], partition: int = 0) -> Records:
    """A batch of the fold's own form."""
    return Records(
        log,
        partition,
        [record.offset for record in records],
        [record.record_ts_ms for record in records],
        [record.key for record in records],
        [record.value for record in records],
    )

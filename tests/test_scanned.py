"""Which impressions kernels read and which msgspec does; the values are the same, the time is not."""

from __future__ import annotations

import pytest

from schemas.bounds import JoinBounds
from schemas.events import Impression
from schemas.records import Records
from streams.join.decode import DecodedBatch
from streams.join.scanned import ImpressionDecoder, ScannedImpressions
from tests.factories import T0, impression_json

BOUNDS = JoinBounds(future_ms=15)


def decoded(
    value: bytes, record_ts_ms: int, *, former: bool = False
) -> tuple[ScannedImpressions, DecodedBatch[Impression]]:
    records = Records("impressions", 0, [5, 6], [record_ts_ms] * 2, [b"a"] * 2, [value] * 2)
    batch = ImpressionDecoder(BOUNDS, former=former).decode(records)
    assert isinstance(batch.events, ScannedImpressions)
    return batch.events, batch


@pytest.mark.parametrize("record_ts_ms", [T0 - 15, T0, T0 + 99, -1])
def test_usual_impressions_are_not_left_to_msgspec(record_ts_ms: int) -> None:
    events, batch = decoded(impression_json("a", T0), record_ts_ms)
    assert events.left.tolist() == [False, False]
    assert batch.refused == []
    assert [event.ts for event in events] == [T0, T0]


@pytest.mark.parametrize("record_ts_ms", [T0 - 16, 0])
def test_an_impression_just_above_the_future_bound_is_refused(record_ts_ms: int) -> None:
    _, batch = decoded(impression_json("a", T0), record_ts_ms)
    assert [row for row, _, _ in batch.refused] == [0, 1]


def test_what_the_scanner_is_not_sure_of_is_left_to_msgspec() -> None:
    events, batch = decoded(impression_json("a", T0, arm="a\nb"), T0)
    assert events.left.tolist() == [True, True]
    assert batch.refused == []


def test_impressions_of_fold_version_1_are_all_left_to_msgspec() -> None:
    events, _ = decoded(impression_json("a", T0), T0, former=True)
    assert events.left.tolist() == [True, True]
    assert [event.impression_id for event in events] == ["a", "a"]

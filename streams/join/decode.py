"""Bytes to events: checks each record by itself, without the records before it. `scanned` does so for impressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.bounds import JoinBounds
from schemas.codec import decoder
from schemas.events import MAX_RECORD_BYTES, Click, Impression
from schemas.reading import Unreadable, all_flat, read_click
from schemas.records import Records
from schemas.rejects import Reason
from streams.join.former import read_former

Event = TypeVar("Event", Impression, Click)

_impression_id = attrgetter("impression_id")
_ts = attrgetter("ts")
_decode: Callable[[bytes], Click] = decoder(Click).decode


@dataclass(frozen=True, slots=True)
class DecodedBatch(Generic[Event]):
    """The good records of a batch as equally long columns, and the refused ones as (row, reason, detail).

    `rows` are the places of the good records in the batch, `ts` their event times, ms.
    `features_left_out` counts those that no model can use.
    """

    rows: Sequence[int]
    events: Sequence[Event]
    ts: npt.NDArray[np.int64]
    refused: list[tuple[int, Reason, str]]
    features_left_out: int = 0


class ClickDecoder:
    """Decodes the log of clicks. Nearly every batch has no bad record; it is decoded without a Python loop."""

    def __init__(self, bounds: JoinBounds, *, former: bool = False) -> None:
        """`former`: by the rules of fold version 1, see `streams.join.former`."""
        self._former = former
        self._future_ms = bounds.future_ms

    def decode(self, records: Records) -> DecodedBatch[Click]:
        """Checks in this order: size, nesting, form and constant bounds, key, future. Bad records raise nothing."""
        values: list[bytes] = list(records.values)  # type: ignore[arg-type]  # a tombstone raises TypeError
        try:
            if max(map(len, values), default=0) <= MAX_RECORD_BYTES and (self._former or all_flat(values)):
                events = list(map(_decode, values))
                if list(map(str.encode, map(_impression_id, events))) == list(records.keys):
                    ts = np.fromiter(map(_ts, events), np.int64, len(events))
                    stamped = np.asarray(records.timestamps, np.int64)
                    if not np.any((ts > stamped + self._future_ms) & (stamped >= 0)):
                        return DecodedBatch(range(len(events)), events, ts, [])
        except (TypeError, ValueError, RecursionError):
            pass
        return self._one_by_one(records)

    def _one_by_one(self, records: Records) -> DecodedBatch[Click]:
        rows: list[int] = []
        events: list[Click] = []
        refused: list[tuple[int, Reason, str]] = []
        columns = zip(records.keys, records.values, records.timestamps, strict=True)
        for row, (key, value, stamped_ms) in enumerate(columns):
            judged: Click | Unreadable = read_former(value, _decode) if self._former else read_click(value)
            if not isinstance(judged, Unreadable):
                judged = misplaced(judged, key, stamped_ms, self._future_ms) or judged
            if isinstance(judged, Unreadable):
                refused.append((row, judged.reason, judged.detail))
                continue
            rows.append(row)
            events.append(judged)
        return DecodedBatch(rows, events, np.fromiter(map(_ts, events), np.int64, len(events)), refused)


def misplaced(event: Impression | Click, key: bytes | None, stamped_ms: int, future_ms: int) -> Unreadable | None:
    """What is wrong with a record beside its value: its key, or its `ts` against the record's own timestamp."""
    if key != event.impression_id.encode():
        return Unreadable(
            Reason.KEY, "the Kafka key is not the impression_id, so the two logs may not meet in one partition"
        )
    if 0 <= stamped_ms < event.ts - future_ms:
        return Unreadable(
            Reason.FUTURE, f"ts {event.ts} is {event.ts - stamped_ms} ms after the record's own timestamp"
        )
    return None

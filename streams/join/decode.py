"""Bytes to events: checks each record by itself, without the records before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.bounds import JoinBounds
from schemas.codec import decoder
from schemas.events import MAX_RECORD_BYTES, Click, Impression, decode_event
from schemas.records import Records
from schemas.rejects import Reason

Event = TypeVar("Event", Impression, Click)

# msgspec's own error is a ValueError. Invalid UTF-8 raises Python's, deeply nested unknown fields a RecursionError.
_UNDECODABLE = (ValueError, RecursionError)
_impression_id = attrgetter("impression_id")
_ts = attrgetter("ts")


@dataclass(frozen=True, slots=True)
class DecodedBatch(Generic[Event]):
    """The good records of a batch as equally long columns, and the refused ones as (row, reason, detail).

    `rows` are the indexes of the good records in the batch, `ts` their event times, ms.
    """

    rows: Sequence[int]
    events: list[Event]
    ts: npt.NDArray[np.int64]
    refused: list[tuple[int, Reason, str]]


class EventDecoder(Generic[Event]):
    """Decodes one log. Nearly every batch has no bad record; it is decoded without a Python loop."""

    def __init__(self, kind: type[Event], bounds: JoinBounds) -> None:
        self._kind: type[Event] = kind
        self._decode: Callable[[Any], Event] = decoder(kind).decode
        self._future_ms = bounds.future_ms

    def decode(self, records: Records) -> DecodedBatch[Event]:
        """Checks in this order: size, form and constant bounds, key, future. Bad records raise nothing."""
        try:
            if max(map(len, records.values), default=0) <= MAX_RECORD_BYTES:  # type: ignore[arg-type]  # None: TypeError
                events = list(map(self._decode, records.values))
                if list(map(str.encode, map(_impression_id, events))) == records.keys:
                    ts = np.fromiter(map(_ts, events), np.int64, len(events))
                    stamped = np.asarray(records.timestamps, np.int64)
                    if not np.any((ts > stamped + self._future_ms) & (stamped >= 0)):
                        return DecodedBatch(range(len(events)), events, ts, [])
        except (TypeError, *_UNDECODABLE):
            pass
        return self._one_by_one(records)

    def _one_by_one(self, records: Records) -> DecodedBatch[Event]:
        rows: list[int] = []
        events: list[Event] = []
        refused: list[tuple[int, Reason, str]] = []
        columns = zip(records.keys, records.values, records.timestamps, strict=True)
        for row, (key, value, stamped_ms) in enumerate(columns):
            judged: Event | tuple[Reason, str] = self._judge(key, value, stamped_ms)
            if isinstance(judged, tuple):
                refused.append((row, judged[0], judged[1]))
            else:
                rows.append(row)
                events.append(judged)
        return DecodedBatch(rows, events, np.fromiter(map(_ts, events), np.int64, len(events)), refused)

    def _judge(self, key: bytes | None, value: bytes | None, stamped_ms: int) -> Event | tuple[Reason, str]:
        if value is None:
            return Reason.TOMBSTONE, "the record has no value"
        if len(value) > MAX_RECORD_BYTES:
            return Reason.TOO_LARGE, f"{len(value)} bytes, more than {MAX_RECORD_BYTES}"
        try:
            event = decode_event(value, self._kind)
        except _UNDECODABLE as error:
            return Reason.UNDECODABLE, str(error) or "nested too deeply"
        if key != event.impression_id.encode():
            return Reason.KEY, "the Kafka key is not the impression_id, so the two logs may not meet in one partition"
        if 0 <= stamped_ms < event.ts - self._future_ms:
            return Reason.FUTURE, f"ts {event.ts} is {event.ts - stamped_ms} ms after the record's own timestamp"
        return event

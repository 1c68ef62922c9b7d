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
from schemas.events import MAX_RECORD_BYTES, Click, Impression
from schemas.reading import Unreadable, all_flat, read_click, read_impression
from schemas.records import Records
from schemas.rejects import Reason
from streams.join.former import read_former

Event = TypeVar("Event", Impression, Click)

_impression_id = attrgetter("impression_id")
_ts = attrgetter("ts")


@dataclass(frozen=True, slots=True)
class DecodedBatch(Generic[Event]):
    """The good records of a batch as equally long columns, and the refused ones as (row, reason, detail).

    `rows` are the places of the good records in the batch, `ts` their event times, ms; `payloads` decode to `events`.
    `features_left_out` counts those that no model can use.
    """

    rows: Sequence[int]
    events: list[Event]
    payloads: Sequence[bytes]
    ts: npt.NDArray[np.int64]
    refused: list[tuple[int, Reason, str]]
    features_left_out: int = 0


class EventDecoder(Generic[Event]):
    """Decodes one log. Nearly every batch has no bad record; it is decoded without a Python loop."""

    def __init__(self, kind: type[Event], bounds: JoinBounds, *, former: bool = False) -> None:
        """`former`: by the rules of fold version 1, see `streams.join.former`."""
        self._former = former
        self._kind: type[Any] = kind
        self._decode: Callable[[Any], Event] = decoder(kind).decode
        self._future_ms = bounds.future_ms

    def decode(self, records: Records) -> DecodedBatch[Event]:
        """Checks in this order: size, nesting, form and constant bounds, key, future. Bad records raise nothing."""
        values: list[bytes] = records.values  # type: ignore[assignment]  # a tombstone raises TypeError
        try:
            if max(map(len, values), default=0) <= MAX_RECORD_BYTES and (self._former or all_flat(values)):
                events = list(map(self._decode, values))
                if list(map(str.encode, map(_impression_id, events))) == records.keys:
                    ts = np.fromiter(map(_ts, events), np.int64, len(events))
                    stamped = np.asarray(records.timestamps, np.int64)
                    if not np.any((ts > stamped + self._future_ms) & (stamped >= 0)):
                        return DecodedBatch(range(len(events)), events, values, ts, [])
        except (TypeError, ValueError, RecursionError):
            pass
        return self._one_by_one(records)

    def _one_by_one(self, records: Records) -> DecodedBatch[Event]:
        rows: list[int] = []
        events: list[Event] = []
        payloads: list[bytes] = []
        refused: list[tuple[int, Reason, str]] = []
        features_left_out = 0
        columns = zip(records.keys, records.values, records.timestamps, strict=True)
        for row, (key, value, stamped_ms) in enumerate(columns):
            judged = self._read(value)
            if not isinstance(judged, Unreadable):
                event, payload, left_out = judged
                judged = self._misplaced(event, key, stamped_ms) or judged
            if isinstance(judged, Unreadable):
                refused.append((row, judged.reason, judged.detail))
                continue
            rows.append(row)
            events.append(event)
            payloads.append(payload)
            features_left_out += left_out
        ts = np.fromiter(map(_ts, events), np.int64, len(events))
        return DecodedBatch(rows, events, payloads, ts, refused, features_left_out)

    def _read(self, value: bytes | None) -> tuple[Event, bytes, int] | Unreadable:
        """The event, bytes that decode to it, and how many of its features are left out; or why it is none."""
        event: Any
        if self._former:
            event = read_former(value, self._decode)
        elif self._kind is Impression:
            return read_impression(value)  # type: ignore[return-value]  # Event is Impression here
        else:
            event = read_click(value)
        return event if isinstance(event, Unreadable) else (event, value or b"", 0)

    def _misplaced(self, event: Event, key: bytes | None, stamped_ms: int) -> Unreadable | None:
        """What is wrong with the record beside its value."""
        if key != event.impression_id.encode():
            return Unreadable(
                Reason.KEY, "the Kafka key is not the impression_id, so the two logs may not meet in one partition"
            )
        if 0 <= stamped_ms < event.ts - self._future_ms:
            return Unreadable(
                Reason.FUTURE, f"ts {event.ts} is {event.ts - stamped_ms} ms after the record's own timestamp"
            )
        return None

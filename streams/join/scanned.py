"""Bytes to impressions: kernels read nearly all of them without an object each, msgspec decodes the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt
import xxhash

from schemas.bounds import JoinBounds
from schemas.codec import decoder
from schemas.events import Impression
from schemas.reading import ReadImpression, Unreadable, read_impression
from schemas.records import Records
from schemas.rejects import Reason
from streams.join.decode import DecodedBatch, misplaced
from streams.join.former import read_former
from streams.join.index import Hashes
from streams.kernels.scan import CAMPAIGN, FIELDS, LEFT, PLAIN, ROW, scan
from streams.kernels.slices import Slices

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_decode: Callable[[bytes], Impression] = decoder(Impression).decode
_hash = xxhash.xxh3_64_intdigest
_BRACE: Final = ord("{")


class ScannedImpressions(Sequence[Impression]):
    """Good impressions of a batch. One is decoded when it is asked for; what counting needs is in arrays.

    `rows` are those of `streams.kernels.scan`, and `values` what they were read from. Names of impressions that are
    `left` to msgspec are not in them.
    """

    def __init__(
        self,
        rows: npt.NDArray[np.void],
        values: Slices,
        left: dict[int, Impression],
        plain: npt.NDArray[np.bool_],
        cleaned: Mapping[int, bytes] = MappingProxyType({}),
    ) -> None:
        """The values decode to the impressions, but for those that were `cleaned`, by place."""
        self._plain = plain
        self._values = values
        self._cleaned = cleaned
        self.rows = rows
        self.buffer = values.buffer
        self.starts: Int64s = np.ascontiguousarray(values.spans[:, 0])
        self.left: npt.NDArray[np.bool_] = np.zeros(len(rows), np.bool_)
        self._decoded = left
        for place, event in left.items():
            self.left[place] = True
            pctr = np.nan if event.pctr is None else event.pctr
            rows[place] = (event.ts, event.price_micros, pctr, _hash(event.impression_id.encode()), 0)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Impression: ...
    @overload
    def __getitem__(self, place: slice) -> list[Impression]: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        event = self._decoded.get(place)
        if event is None:
            event = self._decoded[place] = _decode(self._payload(place))
        return event

    def _payload(self, place: int) -> bytes:
        return self._cleaned.get(place) or self._values[place] or b""

    def plain(self, places: Int64s) -> Iterator[tuple[bytes, bytes] | None]:
        """Of each impression at these places that is one JSON object of known fields, the campaign, and the text behind
        the opening brace; None for any other.
        """
        text = self.buffer.data
        values, campaigns = self._values.spans[places].tolist(), self.rows["spans"][places, CAMPAIGN].tolist()
        for plain, (start, length), span in zip(self._plain[places].tolist(), values, campaigns, strict=True):
            # There may be spaces before the brace.
            if plain and text[start] == _BRACE:
                campaign = start + (span >> 16)
                yield (
                    text[campaign : campaign + (span & 0xFFFF)].tobytes(),
                    text[start + 1 : start + length].tobytes(),
                )
            else:
                yield None

    def __iter__(self) -> Iterator[Impression]:
        return map(self.__getitem__, range(len(self)))

    @property
    def ts(self) -> Int64s:
        """Event times, ms."""
        return np.ascontiguousarray(self.rows["ts"])

    @property
    def hashes(self) -> Hashes:
        """xxh3-64 of the ids."""
        return np.ascontiguousarray(self.rows["hash"])

    def payloads(self, places: Int64s) -> Slices:
        """Bytes that decode to the impressions at these places."""
        if not self._cleaned:
            return self._values.at(places)
        return Slices.of(list(map(self._payload, places.tolist())))

    def prices_and_pctrs(self, places: Int64s) -> tuple[Int64s, Float64s]:
        """Prices in micros and predicted click probabilities, nan for none, of the impressions at these places."""
        return self.rows["price"][places], self.rows["pctr"][places]


class ImpressionDecoder:
    """Decodes the log of impressions. msgspec and `schemas.reading` are the rule; kernels are only faster."""

    def __init__(self, bounds: JoinBounds, *, former: bool = False) -> None:
        """`former`: by the rules of fold version 1, see `streams.join.former`."""
        self._former = former
        self._future_ms = bounds.future_ms
        # What `scan` remembers about the order of fields.
        self._after = np.full(FIELDS + 1, FIELDS, np.int64)

    def decode(self, records: Records) -> DecodedBatch[Impression]:
        """Checks in this order: size, nesting, form and constant bounds, key, future. Bad records raise nothing."""
        rows, results = np.empty(len(records), ROW), np.zeros(len(records), np.int8)
        values, keys = Slices.of(records.values), Slices.of(records.keys)
        if not self._former:
            scan(*values.arrays, *keys.arrays, rows, results, self._after)
        stamped = np.asarray(records.timestamps, np.int64)
        doubtful = (results == LEFT) | ((rows["ts"] > stamped + self._future_ms) & (stamped >= 0))
        if not doubtful.any():
            events = ScannedImpressions(rows, values, {}, results == PLAIN)
            return DecodedBatch(range(len(rows)), events, events.ts, [])
        good = np.ones(len(records), np.bool_)
        refused: list[tuple[int, Reason, str]] = []
        read: dict[int, ReadImpression] = {}
        for row in np.flatnonzero(doubtful).tolist():
            judged = self._read(records, row)
            if isinstance(judged, Unreadable):
                refused.append((row, judged.reason, judged.detail))
                good[row] = False
            else:
                read[row] = judged
        places = np.flatnonzero(good)
        chosen: list[int] = places.tolist()
        left = {place: read[row].impression for place, row in enumerate(chosen) if row in read}
        cleaned = {
            place: read[row].payload
            for place, row in enumerate(chosen)
            if row in read and read[row].payload != records.values[row]
        }
        plain = (results == PLAIN) & ~doubtful
        events = ScannedImpressions(rows[places], values.at(places), left, plain[places], cleaned)
        features_left_out = sum(each.features_left_out for each in read.values())
        return DecodedBatch(chosen, events, events.ts, refused, features_left_out)

    def _read(self, records: Records, row: int) -> ReadImpression | Unreadable:
        value = records.values[row]
        if self._former:
            event = read_former(value, _decode)
            judged = event if isinstance(event, Unreadable) else ReadImpression(event, value or b"", 0)
        else:
            judged = read_impression(value)
        if isinstance(judged, Unreadable):
            return judged
        fault = misplaced(judged.impression, records.keys[row], records.timestamps[row], self._future_ms)
        return fault or judged

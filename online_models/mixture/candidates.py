"""Candidates of one call to rows: what they share is read once, and each text is hashed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from itertools import chain
from typing import Final

import numpy as np

from online_models.features import scaled
from online_models.mixture.layout import FIELDS, HOUR, NAMED
from online_models.mixture.rows import BOUND, PRIME, SEED, Fields, Rows
from online_models.mixture.selection import Selection
from schemas.compiled import BYTES, kernel, read, written
from schemas.serving import PredictCall, merged
from schemas.totals import HOUR_MS

_SEED, _PRIME, _BOUND = np.uint64(SEED), np.uint64(PRIME), np.uint64(BOUND)
_CAMPAIGN: Final = NAMED.index("campaign_id")
_CREATIVE: Final = NAMED.index("creative_id")
_SHARED: Final = [(NAMED.index(name), name) for name in ("placement", "country", "device")]


@kernel(BYTES, read("i8"), written("u8"))
def hash_texts(text: np.ndarray, lengths: np.ndarray, hashes: np.ndarray) -> None:
    """The hash of each name and category, as `rows.text_hash`. Texts are end to end; a length of -1 is no category."""
    at = 0
    for each in range(len(hashes)):
        found = _SEED
        for part in range(2):
            length = lengths[2 * each + part]
            if part == 1 and length >= 0:
                found = (found ^ _BOUND) * _PRIME
            for _ in range(length):
                found = (found ^ np.uint64(text[at])) * _PRIME
                at += 1
        hashes[each] = found


class _Slots:
    """Slots as columns. A field is its number, or FIELDS and the place of its name among the texts."""

    def __init__(self, texts: dict[tuple[str, str | None], int]) -> None:
        self._texts = texts
        # The name as it is hashed, and its field.
        self._named: dict[str, tuple[str, int]] = {}
        self._fields: list[int] = []
        self._places: list[int] = []
        # Slots that are numbers, with their values.
        self._numbers: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._fields)

    def add_named(self, field: int, name: str, text: str) -> None:
        self._fields.append(field)
        self._places.append(self._texts.setdefault((name, text), len(self._texts)))

    def add_features(self, features: Mapping[str, str | bool | int | float]) -> None:
        """In the order of `rows.slots_of`."""
        for name, value in features.items():
            dotted, field = self._named.get(name) or self._name(name)
            if isinstance(value, str):
                self.add_named(field, dotted, value)
            elif isinstance(value, bool):
                _, field = self._name(name[: name.find("_") + 1] or name)
                self.add_named(field, dotted, "t" if value else "f")
            else:
                self._numbers[len(self._fields)] = scaled(value)
                self._fields.append(field)
                self._places.append(field - FIELDS)

    def _name(self, name: str) -> tuple[str, int]:
        dotted = f".{name}"
        found = self._named[name] = dotted, FIELDS + self._texts.setdefault((dotted, None), len(self._texts))
        return found

    def columns(self, times: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Fields, places of texts, values, and whether they are numbers; repeated so many times."""
        values, numbers = np.ones(len(self)), np.zeros(len(self), np.uint8)
        at = list(self._numbers)
        values[at], numbers[at] = list(self._numbers.values()), 1
        fields, places = np.array(self._fields, np.int64), np.array(self._places, np.int64)
        return np.tile(fields, times), np.tile(places, times), np.tile(values, times), np.tile(numbers, times)


def candidate_rows(call: PredictCall, known: Fields, selection: Selection) -> Rows:
    """A row for each candidate, as a reader makes it of the outcome with the features `merged`.

    Changes nothing: a field that the model does not know has, in each row, the number that it would get there.
    """
    texts: dict[tuple[str, str | None], int] = {}
    shared, own, ends = _Slots(texts), _Slots(texts), list[int]()
    for field, name in _SHARED:
        text = getattr(call, name)
        if text is not None:
            shared.add_named(field, name, text)
    shared.add_named(HOUR, "hour", str(call.ts // HOUR_MS % 24))
    common = call.features or {}
    if common and not all(common.keys().isdisjoint(each.features or ()) for each in call.candidates):
        common = {}
    shared.add_features(common)
    for candidate in call.candidates:
        own.add_named(_CAMPAIGN, "campaign_id", candidate.campaign_id)
        own.add_named(_CREATIVE, "creative_id", candidate.creative_id)
        own.add_features(candidate.features or {} if common else merged(call, candidate))
        ends.append(len(own))
    hashes, rows = _hashes(texts), np.arange(len(ends))
    row_of = np.concatenate((np.repeat(rows, len(shared)), np.repeat(rows, np.diff(ends, prepend=0))))
    columns = zip(shared.columns(len(rows)), own.columns(1), strict=True)
    fields, places, values, numbers = map(np.concatenate, columns)
    numbered = _numbered(fields, row_of, texts, hashes, known)
    # Stable, so that of one field what is shared comes first.
    order = np.argsort(row_of * FIELDS + numbered, kind="stable")
    start = np.concatenate((np.zeros(1, np.int64), ends + len(shared) * (rows + 1)))
    # The selection knows fields by their hashes. One that is new has none in `known`, so each slot brings its own.
    named = copy(known)
    named.hashes = np.concatenate((known.hashes, hashes))[fields[order]]
    start, keys, values, numbers, slots = selection.of(
        named, start, hashes[places[order]], values[order], numbers[order], np.arange(len(order))
    )
    columns_of_rows = np.zeros(len(rows), np.int8), np.ones(len(rows)), np.full(len(rows), call.ts)
    return Rows.of(start, keys, values, numbers, numbered[order][slots], *columns_of_rows)


def _hashes(texts: Iterable[tuple[str, str | None]]) -> np.ndarray:
    parts = list(chain.from_iterable(texts))
    joined = "".join(filter(None, parts))
    text = joined.encode()
    if len(text) == len(joined):
        lengths = [-1 if part is None else len(part) for part in parts]
    else:
        lengths = [-1 if part is None else len(part.encode()) for part in parts]
    hashes = np.empty(len(parts) // 2, np.uint64)
    hash_texts(np.frombuffer(text, np.uint8), np.array(lengths, np.int64), hashes)
    return hashes


def _numbered(
    fields: np.ndarray,
    row_of: np.ndarray,
    texts: Mapping[tuple[str, str | None], int],
    hashes: np.ndarray,
    known: Fields,
) -> np.ndarray:
    """The number of each slot's field."""
    number_of = np.arange(FIELDS + len(hashes))
    for (_, category), place in texts.items():
        if category is None:
            number_of[FIELDS + place] = known.known(int(hashes[place]))
    numbered: np.ndarray = number_of[fields]
    new: dict[int, dict[int, int]] = {}
    # Shared slots stand before own ones, as they do in a row.
    for slot in np.flatnonzero(numbered < 0).tolist():
        of_row = new.setdefault(int(row_of[slot]), {})
        numbered[slot] = min(of_row.setdefault(int(fields[slot]), known.count + len(of_row)), FIELDS - 1)
    return numbered

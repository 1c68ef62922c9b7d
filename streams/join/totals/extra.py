"""The names that impressions have in extra dimensions, read from their features and nothing else of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.codec import decoder
from schemas.dimensions import ExtraDimension, extra_names, name_of
from schemas.events import MAX_ID_CHARS, FeatureValue, Impression
from streams.join.scanned import ScannedImpressions

Int64s = npt.NDArray[np.int64]


class ExtraNames:
    """The extra dimensions of a run; false when it has none."""

    def __init__(self, dimensions: Sequence[ExtraDimension]) -> None:
        self._dimensions = dimensions
        self.names = [dimension.name for dimension in dimensions]
        self._decode = _features_decoder(tuple(dimension.feature for dimension in dimensions))
        self._getters = [attrgetter(f"_{number}") for number in range(len(dimensions))]

    def __len__(self) -> int:
        return len(self._dimensions)

    def of_scanned(self, impressions: ScannedImpressions, places: Int64s, ts_ms: Int64s) -> list[list[str]]:
        """A column of names for each dimension, of the impressions at these places with these event times."""
        if ts_ms.max(initial=0) < min(dimension.since_ms for dimension in self._dimensions):
            return [[""] * len(places) for _ in self._dimensions]
        features = list(map(self._decode, impressions.payloads(places)))
        columns = []
        for get, dimension in zip(self._getters, self._dimensions, strict=True):
            # Nearly all names are short texts: for these no function is called.
            column = [
                value if type(value) is str and len(value) <= MAX_ID_CHARS else name_of(value)
                for value in map(get, features)
            ]
            if dimension.since_ms:
                for number in np.flatnonzero(ts_ms < dimension.since_ms).tolist():
                    column[number] = ""
            columns.append(column)
        return columns

    def of_events(self, impressions: Sequence[Impression]) -> list[list[str]]:
        """A column of names for each dimension, of impressions that were decoded."""
        rows = [extra_names(impression, self._dimensions) for impression in impressions]
        return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in self._dimensions]


@functools.cache
def _features_decoder(wanted: tuple[str, ...]) -> Callable[[Any], Any]:
    """Takes an impression that was accepted before. Gives its features as a struct of the wanted ones alone.

    The decoder passes over all that is not wanted.
    """
    fields = [(f"_{number}", FeatureValue | None, None) for number in range(len(wanted))]
    names = {f"_{number}": feature for number, feature in enumerate(wanted)}
    features = msgspec.defstruct("CountedFeatures", fields, rename=names, frozen=True, gc=False)
    absent = features()
    event = msgspec.defstruct("Counted", [("features", features | None, None)], frozen=True, gc=False)
    decode = decoder(event).decode
    return lambda payload: decode(payload).features or absent

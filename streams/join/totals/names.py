"""Codes of the names of a quarter-hour, in each dimension in the order in which the names first came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.totals import DIMENSIONS
from streams.join.scanned import ScannedImpressions
from streams.kernels import names as kernels
from streams.kernels.columns import find_partitions, write_dimensions, write_names
from streams.kernels.slices import Slices

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


def code_columns(dimensions: int) -> int:
    """Columns of codes: a multiple of four, as codes of 16 bits are compared four at a time."""
    return -(-dimensions // 4) * 4


# Room at first, doubled whenever it is full: the names of a small advertiser.
_FIRST_NAMES = 128


class Names:
    """Absent and empty names are code 0 of each dimension. `extra` dimensions follow those of `DIMENSIONS`."""

    def __init__(self, extra: int = 0) -> None:
        self.dimensions = len(DIMENSIONS) + extra
        self.columns_wide = code_columns(self.dimensions)
        self._slots: Int32s = np.zeros(2 * _FIRST_NAMES, np.int32)
        self._entries: Int64s = np.zeros((_FIRST_NAMES, kernels.ENTRY), np.int64)
        # Room for the names of one impression, each of the greatest length, and as much again.
        self._texts: npt.NDArray[np.uint8] = np.zeros(2 * self.dimensions * kernels.MAX_NAME_BYTES, np.uint8)
        self._state: Int64s = np.zeros(kernels.NEXT_CODES + self.dimensions, np.int64)
        self._state[kernels.NEXT_CODES :] = 1
        # By dimension and code; as far as they were asked for.
        self._read: list[list[str]] = [[""] for _ in range(self.dimensions)]
        # The entry of each dimension and code, of so many entries.
        self._numbers: Int32s = np.zeros((self.dimensions, _FIRST_NAMES), np.int32)
        self._numbered = 0
        # A 0 for each code of a dimension.
        self._marks: Int32s = np.zeros(_FIRST_NAMES, np.int32)
        self._written = np.empty(_FIRST_NAMES, np.uint8)

    @property
    def counts(self) -> list[int]:
        """How many codes each dimension has, the one of the empty name included."""
        counts: list[int] = self._state[kernels.NEXT_CODES :].tolist()
        return counts

    @property
    def texts(self) -> list[list[str]]:
        """The names of each dimension by code."""
        return [self.texts_of(dimension) for dimension in range(self.dimensions)]

    def texts_of(self, dimension: int) -> list[str]:
        """The names of a dimension by code."""
        self._number_new()
        texts = self._read[dimension]
        new = self._entries[self._numbers[dimension, len(texts) : self.counts[dimension]]]
        if len(new):
            first = int(new[0, kernels.START])
            data = self._texts[first : int(self._state[kernels.TEXT_BYTES])].tobytes()
            starts = (new[:, kernels.START] - first).tolist()
            for start, length in zip(starts, new[:, kernels.LENGTH].tolist(), strict=True):
                texts.append(data[start : start + length].decode())
        return texts

    def columns(self, codes: Int32s) -> msgspec.Raw:
        """The names of codes, shape (n, code columns), as a list of a `NameColumn` for each dimension, encoded."""
        self._number_new()
        if len(self._marks) < self._numbers.shape[1]:
            self._marks = np.zeros(self._numbers.shape[1], np.int32)
        distinct, places = np.empty(len(codes), np.int32), np.empty(len(codes), np.int32)
        table = self._numbers, self._entries, self._texts, self._marks
        return self._encoded(lambda target: write_dimensions(codes, *table, distinct, places, target))

    def written(self, dimension: int, codes: Int32s) -> msgspec.Raw:
        """The names of codes of one dimension as a list in MessagePack."""
        self._number_new()
        table = self._numbers[dimension], self._entries, self._texts
        return self._encoded(lambda target: write_names(codes, *table, target))

    def _encoded(self, write: Callable[[npt.NDArray[np.uint8]], int]) -> msgspec.Raw:
        """What `write` puts into an array, which is made larger until that suffices."""
        while (size := write(self._written)) > len(self._written):
            self._written = np.empty(2 * size, np.uint8)
        return msgspec.Raw(self._written[:size].tobytes())

    def partitions(self, dimension: int, codes: Int32s, partitions: int) -> Int32s:
        """The partition in which Java's partitioner puts each code's name."""
        self._number_new()
        found = np.empty(len(codes), np.int32)
        find_partitions(codes, self._numbers[dimension], self._entries, self._texts, partitions, found)
        return found

    def _number_new(self) -> None:
        first, stop = self._numbered + 1, int(self._state[kernels.NAMES]) + 1
        if first == stop:
            return
        new = self._entries[first:stop]
        dimensions, codes = new[:, kernels.DIMENSION], new[:, kernels.CODE]
        width = int(codes.max()) + 1
        if width > self._numbers.shape[1]:
            wider = np.zeros((self.dimensions, 2 * width), np.int32)
            wider[:, : self._numbers.shape[1]] = self._numbers
            self._numbers = wider
        self._numbers[dimensions, codes] = np.arange(first, stop)
        self._numbered = stop - 1

    def coded(self, impressions: ScannedImpressions, places: Int64s, dimensions: Sequence[int]) -> Int32s:
        """The codes of the impressions at these places, shape (n, code columns); 0 for all but these dimensions."""
        codes = np.zeros((len(places), self.columns_wide), np.int32)
        wanted = np.zeros(len(DIMENSIONS), np.bool_)
        wanted[list(dimensions)] = True
        done = 0
        while done < len(places):
            done += kernels.code_scanned(
                *(impressions.buffer, impressions.starts, impressions.rows, places[done:], wanted),
                *(self._slots, self._entries, self._texts, self._state, codes[done:]),
            )
            if done < len(places):
                self._grow()
        # A kernel has read no names of those that msgspec has decoded.
        for number in np.flatnonzero(impressions.left[places]).tolist() if impressions.left.any() else ():
            event = impressions[int(places[number])]
            named = [getattr(event, DIMENSIONS[dimension]) for dimension in dimensions]
            codes[number, list(dimensions)] = self.codes_of(dimensions, named)
        return codes

    def codes_of(self, dimensions: Sequence[int] | Int64s, texts: Sequence[str | None]) -> Int32s:
        """The codes of texts, each of its dimension."""
        packed = Slices.of([(text or "").encode() for text in texts])
        codes, of = np.empty(len(texts), np.int32), np.asarray(dimensions, np.int64)
        done = 0
        while done < len(texts):
            table = self._slots, self._entries, self._texts, self._state
            done += kernels.code_texts(packed.buffer, packed.spans[done:], of[done:], *table, codes[done:])
            if done < len(texts):
                self._grow()
        return codes

    def code_extra(self, codes: Int32s, names: Sequence[Sequence[str]]) -> None:
        """Writes the codes of the extra dimensions, given a column of names for each of them."""
        for dimension, texts in enumerate(names, len(DIMENSIONS)):
            # In the order in which they first come, as codes are given.
            distinct = list(dict.fromkeys(texts))
            coded = self.codes_of(np.full(len(distinct), dimension, np.int64), distinct).tolist()
            code_of = dict(zip(distinct, coded, strict=True))
            codes[:, dimension] = list(map(code_of.__getitem__, texts))

    def _grow(self) -> None:
        """Doubles whatever has no room for the names of another impression."""
        names, text_bytes = self._state[: kernels.NEXT_CODES].tolist()
        more = self.dimensions
        if names + more >= len(self._entries):
            self._entries = _grown(self._entries, 2 * len(self._entries))
        if 2 * (names + more) >= len(self._slots):
            self._slots = np.zeros(2 * len(self._slots), np.int32)
            kernels.fill_name_slots(self._slots, self._entries, self._state)
        if text_bytes + more * kernels.MAX_NAME_BYTES + kernels.TEXT_MARGIN > len(self._texts):
            self._texts = _grown(self._texts, 2 * len(self._texts))


def _grown(array: npt.NDArray[Any], room: int) -> npt.NDArray[Any]:
    # New zeros and not a longer copy: pages that are never written take no memory.
    grown = np.zeros((room, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown

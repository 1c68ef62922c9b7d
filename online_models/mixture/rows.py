"""Batches of rows as columns, and how an outcome becomes slots: hashed categories and numbers of numbered fields."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final

import numpy as np

from online_models.features import Shown, scaled
from online_models.mixture.layout import FIELDS, HOUR, NAMED, SERVED_COLUMNS
from schemas.totals import HOUR_MS

# Raise it when the same outcome gets other slots. Models of another version are refused.
HASH_VERSION: Final = 1
# FNV-1a, 64 bits (G. Fowler, L. C. Noll, K.-P. Vo): a byte a step, so a scanner hashes while it looks for the end.
SEED: Final = 0xCBF29CE484222325
PRIME: Final = 0x100000001B3
_MASK: Final = (1 << 64) - 1
# Between a name and its category, so that no name can look like another name and its category.
BOUND: Final = 0x100
# A long text is hashed byte by byte; most texts repeat.
_CACHED: Final = 1 << 16
# Columns of `Rows` with an entry for each slot; the others have one for each row.
OF_SLOTS: Final = ("keys", "values", "numbers", "fields", "seen")


@dataclass(slots=True)
class Rows:
    """Rows as the columns of the kernel. `start` has one entry more than there are rows.

    `seen`, `served` and `predicted` are filled when a row is shown.
    """

    start: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    numbers: np.ndarray
    fields: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    ts: np.ndarray
    seen: np.ndarray
    served: np.ndarray
    predicted: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls) -> Rows:
        """No rows."""
        whole, real = np.zeros(0, np.int64), np.zeros(0)
        keys, numbers, labels = np.zeros(0, np.uint64), np.zeros(0, np.uint8), np.zeros(0, np.int8)
        return cls.of(np.zeros(1, np.int64), keys, real, numbers, whole, labels, real, whole)

    @classmethod
    def of(
        cls,
        start: np.ndarray,
        keys: np.ndarray,
        values: np.ndarray,
        numbers: np.ndarray,
        field_of: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        ts: np.ndarray,
    ) -> Rows:
        """Rows that were not shown yet."""
        rows = len(labels)
        seen, served = np.zeros(len(keys), np.uint8), np.zeros((rows, SERVED_COLUMNS))
        return cls(start, keys, values, numbers, field_of, labels, weights, ts, seen, served, np.zeros(rows))

    def columns(self) -> tuple[np.ndarray, ...]:
        """In the order of the kernel's arguments."""
        return tuple(getattr(self, each.name) for each in fields(self))

    def followed_by(self, rows: Rows) -> Rows:
        """These rows and then those."""
        if not len(self):
            return rows
        columns = zip(self.columns()[1:], rows.columns()[1:], strict=True)
        joined = (np.concatenate((self.start, self.start[-1] + rows.start[1:])), *map(np.concatenate, columns))
        return Rows(*joined)

    def behind(self, row: int) -> Rows:
        """The rows from this one on."""
        slots, own = slice(int(self.start[row]), None), slice(row, None)
        columns = {
            each.name: getattr(self, each.name)[slots if each.name in OF_SLOTS else own].copy() for each in fields(self)
        }
        return Rows(**columns | {"start": self.start[own] - self.start[row]})

    def ordered(self, order: np.ndarray) -> Rows:
        """The rows with these numbers, in this order."""
        start, slots = gathered(self.start[:-1][order], np.diff(self.start)[order])
        columns = {
            each.name: getattr(self, each.name)[slots if each.name in OF_SLOTS else order] for each in fields(self)[1:]
        }
        return Rows(start, **columns)


def gathered(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For rows whose slots begin at `starts`: where each begins if they are put end to end, and all their slots."""
    start = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(lengths, out=start[1:])
    return start, np.arange(start[-1]) + np.repeat(starts - start[:-1], lengths)


class Fields:
    """The numbers of fields, given in the order in which they appear. The last number is shared by all further ones."""

    def __init__(self) -> None:
        # The hash of each field's name, in the order of their numbers; 0 for numbers that are not given yet.
        self.hashes = np.zeros(FIELDS, np.uint64)
        self.count = 0
        self._numbers: dict[int, int] = {}
        for name in (*NAMED, "hour"):
            self.number(text_hash(name))

    def copy(self) -> Fields:
        """The same numbers, apart."""
        found = Fields()
        found.take(self.hashes)
        return found

    def take(self, hashes: np.ndarray) -> None:
        """Takes the numbers that others have given."""
        self.hashes[:] = hashes
        self.count = int(np.count_nonzero(hashes))
        self._numbers = {}

    def known(self, name: int) -> int:
        """The number of the field with this hash; -1 if it has none."""
        if len(self._numbers) != self.count:
            # The scanner has given numbers since.
            self._numbers = {each: number for number, each in enumerate(self.hashes[: self.count].tolist())}
        return self._numbers.get(name, -1)

    def number(self, name: int) -> int:
        """The number of the field with this hash, given if it is new."""
        known = self.known(name)
        if known >= 0:
            return known
        if self.count >= FIELDS - 1:
            return FIELDS - 1
        self._numbers[name] = self.count
        self.hashes[self.count] = name
        self.count += 1
        return self.count - 1


def slots_of(shown: Shown, known: Fields) -> list[tuple[int, int, float, bool]]:
    """Field, key, value and whether it is a number, of each feature.

    A boolean whose name has an underscore is a category of the field named by what stands before it, such as all of a
    row's tags. That field may have several in one row.
    """
    slots = []
    for number, name in enumerate(NAMED):
        text = getattr(shown, name)
        if text is not None:
            slots.append((number, text_hash(name, text), 1.0, False))
    slots.append((HOUR, text_hash("hour", str((shown.ts or 0) // HOUR_MS % 24)), 1.0, False))
    for name, value in (shown.features or {}).items():
        hashed = text_hash(f".{name}")
        if isinstance(value, str):
            slots.append((known.number(hashed), text_hash(f".{name}", value), 1.0, False))
        elif isinstance(value, bool):
            group = name[: name.find("_") + 1] or name
            field = known.number(text_hash(f".{group}"))
            slots.append((field, text_hash(f".{name}", "t" if value else "f"), 1.0, False))
        elif math.isfinite(value):
            slots.append((known.number(hashed), hashed, scaled(value), True))
    return slots


def rows_of(shown: Iterable[Shown], known: Fields) -> Rows:
    """The rows of impressions, without labels: each of weight 1 and not clicked."""
    start, slots, ts = [0], list[tuple[int, int, float, bool]](), list[int]()
    for each in shown:
        slots += sorted(slots_of(each, known), key=lambda slot: slot[0])
        start.append(len(slots))
        ts.append(each.ts or 0)
    field_of, keys, values, numbers = zip(*slots, strict=True) if slots else ((), (), (), ())
    return Rows.of(
        np.array(start, np.int64),
        np.array(keys, np.uint64),
        np.array(values, np.float64),
        np.array(numbers, np.uint8),
        np.array(field_of, np.int64),
        np.zeros(len(ts), np.int8),
        np.ones(len(ts)),
        np.array(ts, np.int64),
    )


@lru_cache(maxsize=_CACHED)
def text_hash(name: str, category: str | None = None) -> int:
    """The hash of a name, or of a name and its category."""
    found = SEED
    for byte in name.encode():
        found = (found ^ byte) * PRIME & _MASK
    if category is not None:
        found = (found ^ BOUND) * PRIME & _MASK
        for byte in category.encode():
            found = (found ^ byte) * PRIME & _MASK
    return found

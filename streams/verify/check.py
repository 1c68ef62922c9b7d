"""Comparisons of what was found with the truth, and their results."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import xxhash

from schemas.codec import encode

_MAX_SHOWN = 5


@dataclass
class Check:
    """One comparison: how many values were compared, how many differ, and the first differences.

    `notes` say what was left out, and why. At most `max_shown` differences are kept.
    """

    name: str
    compared: int = 0
    differing: int = 0
    first: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    max_shown: int = _MAX_SHOWN

    def differ(self, text: str, *, times: int = 1) -> None:
        """Records a difference, which counts `times`."""
        self.differing += times
        if len(self.first) < self.max_shown:
            self.first.append(text)

    def compare(self, found: Mapping[Any, Any], wanted: Mapping[Any, Any], *, names: Sequence[str] = ()) -> None:
        """Compares two tables key by key; a key that only one of them has is a difference.

        Where values are tuples, `names` are those of their parts, and only parts that differ are shown.
        """
        self.compared += len(wanted)
        differing = [key for key in wanted.keys() | found.keys() if found.get(key) != wanted.get(key)]
        for key in sorted(differing, key=repr)[: self.max_shown]:
            self.differ(f"{key}: {_difference(found.get(key), wanted.get(key), names)}", times=0)
        self.differing += len(differing)


class Checks:
    """The checks of one verification by name, in the order of their first use."""

    def __init__(self, max_shown: int = _MAX_SHOWN) -> None:
        """`max_shown`: how many differences each check keeps."""
        self._max_shown = max_shown
        self._checks: dict[str, Check] = {}

    def __iter__(self) -> Iterator[Check]:
        return iter(self._checks.values())

    def named(self, name: str) -> Check:
        """The check of this name, made at its first use."""
        return self._checks.setdefault(name, Check(name, max_shown=self._max_shown))


def _difference(found: Any, wanted: Any, names: Sequence[str]) -> str:
    if names and found is not None and wanted is not None:
        parts = zip(names, found, wanted, strict=True)
        return ", ".join(f"{name} {ours}, the truth is {theirs}" for name, ours, theirs in parts if ours != theirs)
    return f"found {found}, the truth is {wanted}"


class HashedValues:
    """A multiset of values, each with a time. It keeps 16 bytes for each: a hash and the time."""

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._times_ms = array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    def among(self, hashes: Collection[int]) -> set[int]:
        """Those of the hashes that are of a value here."""
        asked = np.array(list(hashes), np.uint64)
        return set(asked[np.isin(asked, np.frombuffer(self._hashes, np.uint64))].tolist())

    def add(self, value: Any, *, at_ms: int = 0) -> None:
        """Adds the value once more."""
        self._hashes.append(hash_of(value))
        self._times_ms.append(at_ms)

    def between(self, from_ms: int, to_ms: int) -> HashedValues:
        """The values whose time is at least `from_ms` and below `to_ms`."""
        times_ms = np.frombuffer(self._times_ms, np.int64)
        chosen = (from_ms <= times_ms) & (times_ms < to_ms)
        part = HashedValues()
        part._hashes.frombytes(np.frombuffer(self._hashes, np.uint64)[chosen].tobytes())
        part._times_ms.frombytes(times_ms[chosen].tobytes())
        return part

    def surplus_over(self, other: HashedValues) -> dict[int, int]:
        """Hash -> how many more there are here than in `other`, negative for fewer; without those equally often."""
        ours, theirs = (np.frombuffer(values._hashes, np.uint64) for values in (self, other))
        hashes, hash_indexes = np.unique(np.concatenate((ours, theirs)), return_inverse=True)
        surplus = np.bincount(hash_indexes[: len(ours)], minlength=len(hashes))
        surplus -= np.bincount(hash_indexes[len(ours) :], minlength=len(hashes))
        differing = np.flatnonzero(surplus)
        return dict(zip(hashes[differing].tolist(), surplus[differing].tolist(), strict=True))


def hash_of(value: Any) -> int:
    """A 64-bit hash of a struct, or of a tuple of texts and numbers; equal values have equal hashes."""
    # By its fields: the encoder leaves out a default only where it is the very same object.
    fields = msgspec.structs.astuple(value) if isinstance(value, msgspec.Struct) else value
    return xxhash.xxh3_64_intdigest(encode(fields))


def compare_hashed(
    check: Check,
    found: HashedValues,
    wanted: HashedValues,
    *,
    values: Callable[[Collection[int]], Iterable[tuple[int, Any]]],
) -> None:
    """Records each value that is there too often or not often enough.

    `values` gives (hash, value) for hashes, to name the values. It may leave out values it does not have.
    """
    check.compared += len(wanted)
    surplus = found.surplus_over(wanted)
    value_of = dict(values(surplus.keys())) if surplus else {}
    for hash_, count in sorted(surplus.items()):
        what = "too many" if count > 0 else "missing"
        check.differ(f"{abs(count)} {what}: {value_of.get(hash_, f'hash {hash_:016x}')}", times=abs(count))

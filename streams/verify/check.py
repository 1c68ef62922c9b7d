"""Comparisons, and what came of them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import xxhash

from schemas.codec import encode

_SHOWN = 5


@dataclass
class Check:
    """One comparison: how many values were compared, how many differ (0: all agree), and the first that do.

    `notes` say what was left out, and why.
    """

    name: str
    compared: int = 0
    differing: int = 0
    first: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    most: int = _SHOWN

    def differ(self, text: str, *, times: int = 1) -> None:
        """Notes a difference."""
        self.differing += times
        if len(self.first) < self.most:
            self.first.append(text)

    def compare(self, found: Mapping[Any, Any], wanted: Mapping[Any, Any], *, names: Sequence[str] = ()) -> None:
        """Counts the keys wanted, and notes each key of either whose values are not equal.

        `names` of the parts, where values are tuples: only those that differ are shown.
        """
        self.compared += len(wanted)
        differing = [key for key in wanted.keys() | found.keys() if found.get(key) != wanted.get(key)]
        for key in sorted(differing, key=repr)[: self.most]:
            self.differ(f"{key}: {_told(found.get(key), wanted.get(key), names)}", times=0)
        self.differing += len(differing)


class Checks:
    """The checks of one verification by name, in the order they were begun; `most` differences of each are kept."""

    def __init__(self, most: int = _SHOWN) -> None:
        self._most = most
        self._checks: dict[str, Check] = {}

    def __iter__(self) -> Iterator[Check]:
        return iter(self._checks.values())

    def named(self, name: str) -> Check:
        """The check of this name."""
        return self._checks.setdefault(name, Check(name, most=self._most))


def _told(found: Any, wanted: Any, names: Sequence[str]) -> str:
    if names and found is not None and wanted is not None:
        parts = zip(names, found, wanted, strict=True)
        return ", ".join(f"{name} {ours}, the truth is {theirs}" for name, ours, theirs in parts if ours != theirs)
    return f"found {found}, the truth is {wanted}"


class Pile:
    """A multiset of values, 16 bytes each: their hashes, and a time of each."""

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._times = array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, value: Any, *, at_ms: int = 0) -> None:
        """One more of this value."""
        self._hashes.append(hash_of(value))
        self._times.append(at_ms)

    def between(self, from_ms: int, to_ms: int) -> Pile:
        """Those at times from `from_ms` to, not including, `to_ms`."""
        times = np.frombuffer(self._times, np.int64)
        chosen = (from_ms <= times) & (times < to_ms)
        part = Pile()
        part._hashes.frombytes(np.frombuffer(self._hashes, np.uint64)[chosen].tobytes())
        part._times.frombytes(times[chosen].tobytes())
        return part

    def less(self, other: Pile) -> dict[int, int]:
        """Hash -> how many more there are here than in `other`, fewer being negative; equal ones are left out."""
        ours, theirs = (np.frombuffer(pile._hashes, np.uint64) for pile in (self, other))
        hashes, places = np.unique(np.concatenate((ours, theirs)), return_inverse=True)
        net = np.bincount(places[: len(ours)], minlength=len(hashes))
        net -= np.bincount(places[len(ours) :], minlength=len(hashes))
        differing = np.flatnonzero(net)
        return dict(zip(hashes[differing].tolist(), net[differing].tolist(), strict=True))


def hash_of(value: Any) -> int:
    """The same for equal structs, or tuples of names and numbers."""
    # By its fields: encoding a struct leaves out a default only where it is the very same object.
    fields = msgspec.structs.astuple(value) if isinstance(value, msgspec.Struct) else value
    return xxhash.xxh3_64_intdigest(encode(fields))


def compare_piles(
    check: Check, found: Pile, wanted: Pile, *, values: Callable[[Collection[int]], Iterable[tuple[int, Any]]]
) -> None:
    """Notes each value there are too many or too few of; `values` gives (hash, value) for some hashes, as it can."""
    check.compared += len(wanted)
    net = found.less(wanted)
    named = dict(values(net.keys())) if net else {}
    for one, more in sorted(net.items()):
        said = "too many" if more > 0 else "missing"
        check.differ(f"{abs(more)} {said}: {named.get(one, f'hash {one:016x}')}", times=abs(more))

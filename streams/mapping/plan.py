"""The plan of a mapping: its rules as the numbers by which a kernel makes events.

Not every rule is of a kind that the kernel knows: `strptime` patterns, hashes, click rates from a path, and features by
other patterns than `object.*` are not. A mapping with such a rule has no plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.codec import encode
from streams.kernels import rules as kernel
from streams.kernels.events import SCRATCH, VALUE_BYTES, make_events
from streams.kernels.rules import CONDITION, RULE, TAKEN
from streams.kernels.slices import MARGIN, Slices
from streams.mapping.language import EVENTS, Condition, Declared, InputMapping, origin_ms, paths_of
from streams.mapping.money import Money
from streams.mapping.places import Found
from streams.mapping.times import ISO
from streams.mapping.times import UNITS as TIME_UNITS
from streams.mapping.values import Unfit

Int64s = npt.NDArray[np.int64]
_NONE: Final = -1
# What factors of money are at most: products with them fit 64 bits.
_MOST_FACTOR: Final = 2**40


class Ready(NamedTuple):
    """A rule with its constant and its default as values of the event, None for none. `is_needed`: a record without a
    value is refused."""

    declared: Declared
    constant: Any
    default: Any
    is_needed: bool


class Made(NamedTuple):
    """By record whether it is LEFT, TAKEN or OTHER; of those taken the events, the ids as bytes, and the times."""

    results: npt.NDArray[np.int8]
    taken: Int64s
    values: Slices
    keys: Slices
    times_ms: Int64s


class Plan:
    """What a kernel needs to make the events of one mapping from the slots of its paths."""

    def __init__(
        self, conditions: Int64s, rules: Int64s, sources: Int64s, nulls: int, words: Int64s, texts: bytes
    ) -> None:
        self._arrays = (conditions, rules, sources, nulls, words, np.frombuffer(texts + bytes(MARGIN), np.uint8))
        fixed = rules[:, [kernel.PREFIX_LENGTH, kernel.FIXED_LENGTH]]
        # Of one event besides what its record has: usual, and at most.
        self._usual = int(fixed.sum()) + VALUE_BYTES
        self._most = self._usual + VALUE_BYTES * len(rules) + len(texts) * (1 + len(sources))
        self._copies = 1 + len(sources)

    def made(self, found: Found) -> Made:
        """The events of a batch."""
        count, lengths = len(found.values), np.maximum(found.values.spans[:, 1], 0)
        size = int(lengths.sum()) + self._usual * count + self._most + self._copies * int(lengths.max(initial=0))
        buffer = np.empty(size + MARGIN, np.uint8)
        spans, keys = np.empty((count, 2), np.int64), np.empty((count, 2), np.int64)
        times, results, scratch = np.empty(count, np.int64), np.empty(count, np.int8), np.empty(SCRATCH, np.int64)
        done = used = 0
        while True:
            done = make_events(
                *(*found.values.arrays, found.slots, found.results, *self._arrays),
                *(done, used, scratch, buffer[:-MARGIN], spans, keys, times, results),
            )
            taken = np.flatnonzero(results[:done] == TAKEN)
            if done == count:
                break
            # Values that are used several times take more than all records have.
            used = int(spans[taken[-1]].sum()) if len(taken) else 0
            buffer = np.concatenate((buffer[:used], np.empty(2 * len(buffer), np.uint8)))
        return Made(results, taken, Slices(buffer, spans[taken]), Slices(buffer, keys[taken]), times[taken])


def planned(mapping: InputMapping, ready: Sequence[Ready], slots: Mapping[str, int]) -> Plan | None:
    """The plan, None where a rule is of a kind that the kernel does not know. `slots` are by the text of a path."""
    try:
        return _Planner(mapping, slots).plan(ready)
    except _Unplanned:
        return None


class _Unplanned(Exception):
    """A rule is of a kind that the kernel does not know."""


class _Planner:
    def __init__(self, mapping: InputMapping, slots: Mapping[str, int]) -> None:
        self._mapping = mapping
        self._slots = slots
        self._texts = bytearray()
        self._words: list[tuple[int, int]] = []
        self._sources: list[int] = []
        self._rules: list[list[int]] = []

    def plan(self, ready: Sequence[Ready]) -> Plan:
        nulls = self._add_words(self._mapping.null)[1]
        conditions = [self._condition(self._slots[path.text], each) for path, each, _ in self._mapping.where]
        by_name = {each.declared.name: each for each in ready}
        for name in EVENTS[self._mapping.log].__struct_fields__:
            if name == "features":
                self._add_features([each for each in ready if each.declared.kind == "feature"])
            elif name in by_name:
                self._add_rule(name, by_name[name])
        return Plan(
            np.array(conditions, np.int64).reshape(-1, CONDITION),
            np.array(self._rules, np.int64).reshape(-1, RULE),
            np.array(self._sources, np.int64),
            nulls,
            np.array(self._words, np.int64).reshape(-1, 2),
            bytes(self._texts),
        )

    def _add_features(self, ready: Sequence[Ready]) -> None:
        patterns = self._mapping.patterns
        if not ready and not patterns:
            return
        if len(patterns) > 1 or any(each.glob != "*" or not each.parent.steps for each in patterns):
            raise _Unplanned
        slot = self._slots[patterns[0].parent.text] if patterns else _NONE
        self._add("features", kernel.FEATURES, numbers=(slot, 0, 0))
        for each in ready:
            self._add_rule(each.declared.name.removeprefix("features."), each)
        self._add("", kernel.NO_MORE)

    def _add_rule(self, name: str, ready: Ready) -> None:
        rule = ready.declared.rule
        is_key, is_time = name == "impression_id" and ready.declared.kind != "feature", ready.declared.kind == "time"
        fixed = ready.constant if ready.constant is not None else ready.default
        # Where an event begins to have its key and its time, they are those of the record.
        if rule.hash_with or isinstance(rule.click_rate, str) or ((is_key or is_time) and fixed is not None):
            raise _Unplanned
        # The kernel reads numbers as JSON has them.
        if rule.decimal or rule.currency:
            raise _Unplanned
        written = b"" if fixed is None else encode(fixed)
        if ready.constant is not None:
            self._add(name, kernel.FIXED_VALUE, fixed=written)
            return
        sources = [self._slots[path] for path in rule.join or paths_of(rule)]
        op, numbers = self._op(ready.declared)
        if op in (kernel.LABEL, kernel.JOINED):
            numbers = (*numbers[:2], int(is_key))
        self._add(name, op, sources, fixed=written, numbers=numbers, is_needed=ready.is_needed)

    def _op(self, declared: Declared) -> tuple[int, tuple[int, int, int]]:
        """What the kernel does for a field with a path, and its three numbers."""
        rule = declared.rule
        if rule.join:
            between = encode(rule.with_)[1:-1]
            if between != rule.with_.encode():
                raise _Unplanned
            return kernel.JOINED, (*self._add_text(between), 0)
        match declared.kind:
            case "time":
                if rule.pattern:
                    raise _Unplanned
                if rule.unit == ISO:
                    return kernel.DATE, (int(not rule.zone), 0, 0)
                times, parts = TIME_UNITS[rule.unit] if rule.unit else (0, 1)
                return kernel.MOMENT, (times, parts, origin_ms(rule))
            case "money":
                return kernel.MONEY, self._factor(declared)
            case "share":
                return kernel.SHARE, (0, 0, 0)
            case "feature" if rule.as_ != "text":
                return kernel.NUMERIC if rule.as_ else kernel.PLAIN, (0, 0, 0)
            case _:
                return kernel.LABEL, (0, 0, 0)

    def _factor(self, declared: Declared) -> tuple[int, int, int]:
        rule = declared.rule
        assert not isinstance(rule.click_rate, str)
        try:
            factor = Money(rule.unit, rule.cpm, rule.click_rate).factor()
        except Unfit as error:  # it refuses every record
            raise _Unplanned from error
        if max(factor.numerator, factor.denominator) > _MOST_FACTOR:
            raise _Unplanned
        return factor.numerator, factor.denominator, int(not rule.unit)

    def _condition(self, slot: int, condition: Condition) -> list[int]:
        exists = _NONE if condition.exists is None else int(condition.exists)
        wanted, unwanted = (
            (0, _NONE) if words is None else self._add_words(words) for words in (condition.is_, condition.not_)
        )
        return [slot, exists, *wanted, *unwanted]

    def _add(
        self,
        name: str,
        op: int,
        sources: Sequence[int] = (),
        *,
        fixed: bytes = b"",
        numbers: tuple[int, int, int] = (0, 0, 0),
        is_needed: bool = False,
    ) -> None:
        prefix = self._add_text(b"," + encode(name) + b":" if name or op != kernel.NO_MORE else b"")
        first = len(self._sources)
        self._sources += sources
        self._rules.append([op, *prefix, first, len(sources), int(is_needed), *self._add_text(fixed), *numbers])

    def _add_words(self, words: Sequence[str]) -> tuple[int, int]:
        """The number of the first of these words, and how many they are."""
        first = len(self._words)
        self._words += [self._add_text(word.encode()) for word in words]
        return first, len(words)

    def _add_text(self, text: bytes) -> tuple[int, int]:
        start = len(self._texts)
        self._texts += text
        return start, len(text)

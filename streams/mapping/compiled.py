"""A mapping made ready: batches of records in, events as bytes out, with why the others are refused.

It works by column. Most columns have values of one type that pass as they are, which `set(map(type, …))` shows at the
speed of C; a rule looks at single values only where that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

import msgspec
import numpy as np

from schemas.errors import SettingsError
from streams.kernels.rules import LEFT, OTHER
from streams.kernels.slices import Numbers, Slices
from streams.mapping.language import (
    EVENTS,
    Condition,
    Declared,
    InputMapping,
    comparable,
    paths_of,
)
from streams.mapping.paths import FieldPath, field_path
from streams.mapping.places import Places
from streams.mapping.plan import Made, Plan, Ready, planned
from streams.mapping.readers import reader_of
from streams.mapping.rows import JsonReader, Rows, TextRows
from streams.mapping.values import PLAIN, Unfit, hashed, plain, text

_NULLS: Final = (None, "")
# The encoder of `schemas.codec`, without a call around it.
_encode: Final = msgspec.json.Encoder().encode
_NONE: Final = type(None)


class Refused(NamedTuple):
    """Why a record was refused: the name of the rule, empty when it is no record at all, and the whole sentence."""

    rule: str
    detail: str


@dataclass(slots=True)
class Mapped:
    """What a batch became. The columns have one entry for each event; `places` are where it was in the batch, in order,
    and `keys` are the ids of the impressions.

    `refused` is by place. `others` are records that the conditions leave to another input.
    """

    places: Sequence[int]
    keys: Sequence[bytes]
    times_ms: Sequence[int]
    values: Sequence[bytes]
    refused: dict[int, Refused] = field(default_factory=dict)
    others: int = 0


class Compiled:
    """The mapping of one input, made ready. `salts` are by the variables that rules name.

    Raises SettingsError when a salt is missing.
    """

    def __init__(self, mapping: InputMapping, salts: Mapping[str, str] | None = None) -> None:
        self.mapping = mapping
        self._where = [(path, _holds(condition)) for path, condition, _ in mapping.where]
        self._fields = [_Field(each, mapping, salts or {}) for each in mapping.fields]
        self._features = [_Field(each, mapping, salts or {}) for each in mapping.features]
        self._patterns = mapping.patterns
        names = [each.name for each in mapping.fields]
        if self._features or self._patterns:
            names.append("features")
        order = [one for one in EVENTS[mapping.log].__struct_fields__ if one in names]
        self._order = [names.index(one) for one in order]
        # As the event, without its checks, which the join makes.
        self._event: Any = msgspec.defstruct(
            "Event", [(name, Any, None) for name in order], omit_defaults=True, gc=False
        )
        self._id, self._ts = names.index("impression_id"), names.index("ts")
        self.reader = JsonReader(self.paths(), self._patterns)
        # The plan, and the places for which it was made: a reader of several inputs has others than one's own.
        self._planned: tuple[Places, Plan | None] | None = None

    def paths(self) -> list[FieldPath]:
        """Every path that is read."""
        rules = [path for each in (*self._fields, *self._features) for path in each.paths]
        return [*rules, *(path for path, _ in self._where)]

    def missing(self, names: Sequence[str]) -> Declared | None:
        """A rule that finds nothing in a file with these columns, although it has no default and is not optional."""
        known = set(names)
        for each in (*self._fields, *self._features):
            if each.is_needed and each.sources:
                found = [path.text in known or path.steps[0] in known for path in each.sources]
                if not (all(found) if each.declared.rule.join else any(found)):
                    return each.declared
        return None

    def map(self, rows: Rows) -> Mapped:
        """The events of a batch. Of JSON texts a kernel makes most of them; the others, and all where a rule is of no
        kind that it knows, are mapped by column."""
        plan = self._plan(rows.places) if isinstance(rows, TextRows) else None
        if plan is None or not isinstance(rows, TextRows):
            return self._by_column(rows)
        made = plan.made(rows.found)
        left = np.flatnonzero(made.results == LEFT)
        others = int((made.results == OTHER).sum())
        if not len(left):
            return Mapped(Numbers(made.taken), _all(made.keys), Numbers(made.times_ms), _all(made.values), {}, others)
        return _merged(made, others, left.tolist(), self._by_column(rows.at(left.tolist())))

    def _plan(self, places: Places) -> Plan | None:
        if self._planned is None or self._planned[0] is not places:
            ready = [each.ready() for each in (*self._fields, *self._features)]
            self._planned = places, planned(self.mapping, ready, places.slots)
        return self._planned[1]

    def _by_column(self, rows: Rows) -> Mapped:
        keep = self._kept(rows)
        count, broken = len(rows), rows.broken
        pick = _picked(keep) if len(keep) < count else None
        refused = {place: Refused("", why) for place, why in broken.items()}
        others = count - len(keep) - len(broken)
        failed: dict[int, Refused] = {}
        columns: list[Sequence[Any]] = [each.column(rows, pick, failed) for each in self._fields]
        if self._features or self._patterns:
            columns.append(self._featured(rows, pick, failed, len(keep)))
        if not keep:
            return Mapped([], [], [], [], refused, others)
        if failed:
            refused |= {keep[place]: why for place, why in failed.items()}
            good = _picked([place for place in range(len(keep)) if place not in failed])
            columns = [good(column) for column in columns]
            keep = list(good(keep))
            if not keep:
                return Mapped([], [], [], [], refused, others)
        events = map(self._event, *(columns[place] for place in self._order))
        values = list(map(_encode, events))
        return Mapped(keep, list(map(str.encode, columns[self._id])), list(columns[self._ts]), values, refused, others)

    def never_matching(self, rows: Rows) -> list[SettingsError]:
        """The rules of which no path matches in any of these records, and those that refuse every record.

        A rule with a default, or one that says `optional`, may match nothing.
        """
        keep = self._kept(rows)
        wrong = []
        if len(rows) and len(rows) == len(rows.broken):
            return []
        for path, condition, place in self.mapping.where:
            if condition.exists is None and not _any(rows.column(path)):
                wrong.append(SettingsError(f"{place}, where {path.text}: {_nothing(len(rows))}"))
        if not keep:
            return wrong
        pick = _picked(keep) if len(keep) < len(rows) else None
        useless = (each.useless(rows, pick, len(keep)) for each in (*self._fields, *self._features))
        return [*wrong, *(error for error in useless if error is not None)]

    def _kept(self, rows: Rows) -> list[int]:
        """The places of the records that are of this input."""
        keep = range(len(rows)) if not rows.broken else [at for at in range(len(rows)) if at not in rows.broken]
        for path, holds in self._where:
            column = rows.column(path)
            keep = [place for place in keep if holds(column[place])]
        return list(keep)

    def _featured(
        self, rows: Rows, pick: Callable[[Any], Any] | None, failed: dict[int, Refused], count: int
    ) -> list[dict[str, Any] | None]:
        named = [(each.short, each.column(rows, pick, failed)) for each in self._features]
        patterns = [fields for each in self._patterns if (fields := rows.matching(each)) is not None]
        if not named and not patterns:
            return [None] * count
        matched = [_taken(fields, pick) for fields in patterns]
        found: list[dict[str, Any] | None] = []
        for place in range(count):
            features: dict[str, Any] = {}
            for each in reversed(matched):
                features |= each[place]
            for name, column in named:
                if column[place] is not None:
                    features[name] = column[place]
            if not set(map(type, features.values())) <= PLAIN:
                features = {name: plain(value) for name, value in features.items()}
            found.append(features or None)
        return found


class _Field:
    """One rule made ready."""

    def __init__(self, declared: Declared, mapping: InputMapping, salts: Mapping[str, str]) -> None:
        self.declared, rule = declared, declared.rule
        self.short = declared.name.removeprefix("features.")
        self._rule = rule
        self._nulls = frozenset(mapping.null)
        self.sources = [field_path(each) for each in (rule.join or paths_of(rule))]
        self._rate = field_path(rule.click_rate) if isinstance(rule.click_rate, str) else None
        self.paths = [*self.sources, *([self._rate] if self._rate else [])]
        required = {one.name for one in msgspec.structs.fields(EVENTS[mapping.log]) if one.required}
        self._required = declared.name in required
        self.is_needed = rule.constant is None and rule.default is None and not rule.optional
        self._one, self._many = reader_of(declared)
        self._salt = b""
        if rule.hash_with:
            if not salts.get(rule.hash_with):
                raise SettingsError(
                    f"{declared.where}: the variable {rule.hash_with} is empty; set it to the salt of the hash"
                )
            self._salt = salts[rule.hash_with].encode()
        self._default = None if rule.default is None else self._fixed(rule.default)
        self._constant = None if rule.constant is None else self._fixed(rule.constant)

    def ready(self) -> Ready:
        """What a plan needs to know of it."""
        return Ready(self.declared, self._constant, self._default, self._required and self._default is None)

    def column(self, rows: Rows, pick: Callable[[Any], Any] | None, failed: dict[int, Refused]) -> Sequence[Any]:
        """The values of the field; why a record has none is added to `failed`, by its place among those picked."""
        if self._constant is not None:
            return [self._constant] * (len(rows) if pick is None else len(pick(range(len(rows)))))
        values = self._values(rows, pick)
        if not values:
            return []
        if self._rate is None and (found := self._all(values)) is not None:
            return found
        rates = _taken(rows.column(self._rate), pick) if self._rate is not None else None
        column = []
        for place, value in enumerate(values):
            try:
                column.append(self._read(value, rates[place] if rates is not None else None))
            except Unfit as error:
                column.append(None)
                failed.setdefault(place, self._refused(str(error)))
        return column

    def useless(self, rows: Rows, pick: Callable[[Any], Any] | None, count: int) -> SettingsError | None:
        """Why the rule is of no use for all of these records; None when it is of use for one."""
        if not self.is_needed:
            return None
        place = self.declared.where
        if not _any(self._values(rows, pick)):
            return SettingsError(f"{place}: {_nothing(count)}; a rule that may match nothing says optional = true")
        failed: dict[int, Refused] = {}
        self.column(rows, pick, failed)
        if len(failed) < count:
            return None
        return SettingsError(f"{failed[0].detail}; so are all of the first {count:,} records")

    def _values(self, rows: Rows, pick: Callable[[Any], Any] | None) -> Sequence[Any]:
        columns = [_taken(rows.column(path), pick) for path in self.sources]
        if self._nulls:
            nulls = self._nulls
            columns = [
                [None if isinstance(value, str) and value in nulls else value for value in column] for column in columns
            ]
        if self._rule.join:
            return [self._joined(parts) for parts in zip(*columns, strict=True)]
        if len(columns) == 1:
            only: Sequence[Any] = columns[0]
            return only
        return [next((value for value in row if value not in _NULLS), None) for row in zip(*columns, strict=True)]

    def _all(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """All values at once, when their type allows it."""
        types = set(map(type, values))
        if self._salt or (str in types and "" in values):
            return None
        if _NONE in types:
            return None if self._required and self._default is None else self._all_there(values, types - {_NONE})
        return self._many_of(values, types)

    def _all_there(self, values: Sequence[Any], types: set[type]) -> Sequence[Any] | None:
        """The same where some are absent."""
        if not types:
            return [self._default] * len(values)
        found = self._many_of([value for value in values if value is not None], types)
        if found is None:
            return None
        following = iter(found)
        return [self._default if value is None else next(following) for value in values]

    def _many_of(self, values: Sequence[Any], types: set[type]) -> Sequence[Any] | None:
        try:
            return self._many(values, types)
        except (Unfit, ArithmeticError):
            return None

    def _joined(self, parts: tuple[Any, ...]) -> Any:
        if any(part in _NULLS for part in parts):
            return None
        try:
            return self._rule.with_.join(map(text, parts))
        except Unfit:
            return list(parts)  # which is refused, and shown

    def _read(self, value: Any, rate: Any) -> Any:
        if value is None or value == "":
            if self._default is not None or not self._required:
                return self._default
            paths = " or ".join(path.text for path in self.sources)
            raise Unfit(f"there is no {paths}")
        if self._rate is not None:
            if rate in _NULLS:
                raise Unfit(f"there is no {self._rate.text}, the click rate")
            return self._one(value, rate)
        found = self._one(value)
        if self._salt:
            return hashed(self._salt, found)
        return found

    def _fixed(self, value: Any) -> Any:
        try:
            return self._one(value)
        except Unfit as error:
            raise SettingsError(self._refused(str(error)).detail) from error

    def _refused(self, why: str) -> Refused:
        return Refused(self.declared.name, f"{self.declared.where}: {why}")


def _all(texts: Slices) -> Sequence[bytes]:
    """The same as type checkers see it: of those taken none is missing."""
    return cast(Sequence[bytes], texts)


def _merged(made: Made, others: int, left: list[int], mapped: Mapped) -> Mapped:
    """What a kernel made and what the records became that it left, in the order of the batch."""
    places = [*made.taken.tolist(), *(left[place] for place in mapped.places)]
    order = np.argsort(np.array(places, np.int64), kind="stable").tolist()

    def both(kernels: Sequence[Any], columns: Sequence[Any]) -> list[Any]:
        every = [*kernels, *columns]
        return [every[place] for place in order]

    return Mapped(
        sorted(places),
        both(made.keys, mapped.keys),
        both(made.times_ms.tolist(), mapped.times_ms),
        both(made.values, mapped.values),
        {left[place]: why for place, why in mapped.refused.items()},
        others + mapped.others,
    )


def _holds(condition: Condition) -> Callable[[Any], bool]:
    wanted, unwanted, exists = condition.is_, condition.not_, condition.exists

    def holds(value: Any) -> bool:
        there = value is not None and value != ""
        if exists is not None and there is not exists:
            return False
        compared = comparable(value) if there else ""
        return (wanted is None or compared in wanted) and (unwanted is None or compared not in unwanted)

    return holds


def _picked(places: list[int]) -> Callable[[Any], Any]:
    if len(places) > 1:
        return itemgetter(*places)
    return lambda column: [column[place] for place in places]


def _taken(column: Any, pick: Callable[[Any], Any] | None) -> Any:
    return column if pick is None else pick(column)


def _any(values: Sequence[Any]) -> bool:
    return any(value is not None and value != "" for value in values)


def _nothing(count: int) -> str:
    return f"the path matches nothing in {'the first record' if count == 1 else f'any of the first {count:,} records'}"

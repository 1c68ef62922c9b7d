"""What a sample of records holds, by path: values, and what they look like."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from streams.mapping.money import Money
from streams.mapping.times import ISO, UNITS, Times
from streams.mapping.values import Unfit, number

_PLAIN_NAME: Final = re.compile(r"[^.\[\]\"'*]+")
_DEEPEST: Final = 6
_MOST: Final = 0.9
# How dates are written as digits, and as servers and people write them.
_PATTERNS: Final = (
    "%Y%m%d%H%M%S%f",
    "%Y%m%d%H%M%S",
    "%y%m%d%H",
    "%Y%m%d%H",
    "%Y%m%d",
    "%d/%b/%Y:%H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S %z",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    # Of days up to the twelfth also the day first.
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M %p",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d-%m-%Y %H:%M:%S",
)
# What an amount may have before or behind its digits.
_AROUND: Final = re.compile(r"([^\d.,+-]{0,4})[+-]?\d[\d.,]*([^\d.,+-]{0,4})")
_MOST_LOOKED_AT: Final = 20


@dataclass
class Column:
    """The values at one path, with None for records that have none."""

    path: str
    values: list[Any] = field(default_factory=list)
    several: int = 1
    """The most elements of a list of which the path takes the first."""

    @cached_property
    def there(self) -> list[Any]:
        """The values that are there."""
        return [value for value in self.values if value is not None and value != ""]

    @cached_property
    def distinct(self) -> set[str]:
        """The different values as text."""
        return set(map(str, self.there))

    @property
    def share(self) -> float:
        """The part of the records that has a value."""
        return len(self.there) / max(len(self.values), 1)

    @property
    def name(self) -> str:
        """Its last name, in lower case without marks between words."""
        return _joined_words(re.split(r"[.\[]", self.path.rstrip("]"))[-1])

    @property
    def names(self) -> tuple[str, ...]:
        """Its last two names, and its last one: `userid` and `id` of `user.id`."""
        parts = [part for part in map(_joined_words, re.split(r"[.\[]", self.path)) if part and not part.isdigit()]
        return tuple(dict.fromkeys(("".join(parts[-2:]), self.name)))

    @cached_property
    def time(self) -> dict[str, str] | None:
        """How its values are times: a unit or a pattern; None when they are none."""
        if not self.there:
            return None
        if self._are_times(Times()):
            return {}
        for unit in (*UNITS, ISO):
            if self._are_times(Times(unit)):
                return {"unit": unit}
        for pattern in _PATTERNS:
            # A pattern of digits alone reads numbers of other lengths too: the date must read as it is written.
            if self._are_times(Times(pattern=pattern)) and self._reads_as_written(pattern):
                return {"pattern": pattern}
        return None

    @property
    def is_day_unclear(self) -> bool:
        """Whether its dates may have the day first or the month."""
        pattern = (self.time or {}).get("pattern", "")
        return "%m/%d" in pattern and self._are_times(Times(pattern=pattern.replace("%m/%d", "%d/%m")))

    @cached_property
    def money(self) -> tuple[dict[str, str], list[Any]] | None:
        """How its texts are amounts, besides the unit, and the amounts; None when they are none."""
        if self.numbers is not None:
            return {}, self.numbers
        looked_at = [_AROUND.fullmatch(str(value)) for value in self.there[:_MOST_LOOKED_AT]]
        signs = {text.strip() for match in looked_at if match is not None for text in match.groups()} - {""} or {""}
        if len(signs) > 1:
            return None
        sign = signs.pop()
        for decimal in ("", ","):
            found = _fit(Money(decimal=decimal, currency=sign).amount, self.there)
            if self._are_most(found):
                return {key: way for key, way in (("decimal", decimal), ("currency", sign)) if way}, found
        return None

    def moment(self) -> str:
        """Its first value as a moment, for a comment."""
        how = self.time or {}
        found = _fit(Times(how.get("unit", ""), how.get("pattern", "")).one, self.there)[0]
        return datetime.fromtimestamp(found / 1_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

    @cached_property
    def numbers(self) -> list[Any] | None:
        """Its values that are numbers; None when these are not most."""
        found = _fit(number, self.there)
        return found if self._are_most(found) else None

    def _are_times(self, times: Times) -> bool:
        return self._are_most(_fit(times.one, self.there))

    def _are_most(self, found: list[Any]) -> bool:
        """Whether so many of the values fit that the others are errors of the data."""
        return bool(found) and len(found) >= _MOST * len(self.there)

    def _reads_as_written(self, pattern: str) -> bool:
        if re.sub(r"%[a-zA-Z]", "", pattern):
            return True
        digits = pattern.replace("%Y", "0000").replace("%f", "000")
        width = len(re.sub(r"%[a-zA-Z]", "00", digits))
        return all(len(str(value)) == width for value in self.there)


def _fit(read: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    """What is read of the values that can be."""
    found = []
    for value in values:
        try:
            found.append(read(value))
        except Unfit:
            continue
    return found


def columns_of(records: Sequence[Any]) -> dict[str, Column]:
    """The columns of records by path, in the order in which they come."""
    found: dict[str, Column] = {}
    for place, record in enumerate(records):
        for path, value, several in _leaves(record, "", 0, 1):
            column = found.setdefault(path, Column(path))
            column.several = max(column.several, several)
            column.values += [None] * (place - len(column.values))
            column.values.append(value)
    for column in found.values():
        column.values += [None] * (len(records) - len(column.values))
    return found


def _leaves(value: Any, path: str, depth: int, several: int) -> Iterator[tuple[str, Any, int]]:
    pairs: Iterable[tuple[str, Any]]
    if isinstance(value, dict) and depth < _DEEPEST:
        pairs = ((_within(path, str(name)), inner) for name, inner in value.items())
    elif isinstance(value, list) and value and depth < _DEEPEST and isinstance(value[0], dict):
        pairs = [(f"{path}[0]", value[0])]
        several = max(several, len(value))
    else:
        if path and not isinstance(value, dict | list):
            yield path, value, several
        return
    for inner_path, inner in pairs:
        yield from _leaves(inner, inner_path, depth + 1, several)


def _joined_words(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def _within(path: str, name: str) -> str:
    if _PLAIN_NAME.fullmatch(name):
        return f"{path}.{name}" if path else name
    quote = "'" if "'" not in name else '"'
    return f"{path}[{quote}{name}{quote}]"

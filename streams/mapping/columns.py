"""What a sample of records holds, by path: values, and what they look like."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

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
    "%m/%d/%Y %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
)


@dataclass
class Column:
    """The values at one path, with None for records that have none."""

    path: str
    values: list[Any] = field(default_factory=list)

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
        return re.sub(r"[\W_]", "", re.split(r"[.\[]", self.path.rstrip("]"))[-1]).lower()

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
        digits = pattern.replace("%Y", "0000").replace("%f", "000")
        width = len(re.sub(r"%[a-zA-Z]", "00", digits))
        return (
            "%b" in pattern
            or "%m/" in pattern
            or "%d." in pattern
            or all(len(str(value)) == width for value in self.there)
        )


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
        for path, value in _leaves(record, "", 0):
            column = found.setdefault(path, Column(path))
            column.values += [None] * (place - len(column.values))
            column.values.append(value)
    for column in found.values():
        column.values += [None] * (len(records) - len(column.values))
    return found


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    pairs: Iterable[tuple[str, Any]]
    if isinstance(value, dict) and depth < _DEEPEST:
        pairs = ((_within(path, str(name)), inner) for name, inner in value.items())
    elif isinstance(value, list) and value and depth < _DEEPEST and isinstance(value[0], dict):
        pairs = [(f"{path}[0]", value[0])]
    else:
        if path and not isinstance(value, dict | list):
            yield path, value
        return
    for inner_path, inner in pairs:
        yield from _leaves(inner, inner_path, depth + 1)


def _within(path: str, name: str) -> str:
    if _PLAIN_NAME.fullmatch(name):
        return f"{path}.{name}" if path else name
    quote = "'" if "'" not in name else '"'
    return f"{path}[{quote}{name}{quote}]"

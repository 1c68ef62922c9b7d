"""Records of one batch, by column: JSON texts, objects, or a table. A value that is not there is None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, Protocol

import msgspec

from schemas.codec import decoder
from schemas.reading import Unreadable
from schemas.records import Headers
from streams.kernels.places import LEFT
from streams.mapping.paths import FieldPath, FieldPattern, walk
from streams.mapping.places import Found, Places

_LEAF: Final[dict[str, Any]] = {}
_NO_OBJECT: Final = "it is no JSON object"
_NO_TEXT: Final = "the record has no value"
_EMPTY: Final = b"{}"
# From so many texts on a kernel finds the values. For fewer it takes longer to call, and a process that reads no more
# loads no kernels.
FEW_TEXTS: Final = 50


class Rows(Protocol):
    """Records of which the values of a path are one column."""

    @property
    def broken(self) -> Mapping[int, str]:
        """Why a record is none, by its place in the batch. Its values are None."""
        ...

    def __len__(self) -> int: ...

    def column(self, path: FieldPath) -> Sequence[Any]:
        """The value at the path in each record."""
        ...

    def matching(self, pattern: FieldPattern) -> list[dict[str, Any]] | None:
        """By record the fields that match the pattern, in their order; None where no record has any."""
        ...


# Makes records of the values of a topic and the headers beside them, and says why some are none.
ReadValues = Callable[[Sequence[bytes | None], Sequence[Headers]], tuple[Rows, Mapping[int, Unreadable]]]


class ObjectRows:
    """Records as dicts."""

    def __init__(self, rows: Sequence[Any], broken: Mapping[int, str] | None = None) -> None:
        self._rows = rows
        self.broken = broken or {}

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, path: FieldPath) -> Sequence[Any]:
        """The value at the path in each record."""
        steps = path.steps
        return [walk(row, steps) for row in self._rows]

    def record(self, place: int) -> Any:
        """One record as it is."""
        return self._rows[place]

    def matching(self, pattern: FieldPattern) -> list[dict[str, Any]]:
        """By record the fields that match the pattern, in their order."""
        return _matching((walk(row, pattern.parent.steps) for row in self._rows), pattern)


class TableRows:
    """Records as columns by name. A path is first looked up as the name of a column, then within a column."""

    def __init__(
        self, columns: Mapping[str, Sequence[Any]], rows: int, broken: Mapping[int, str] | None = None
    ) -> None:
        self.columns = columns
        self._rows = rows
        self.broken = broken or {}

    def __len__(self) -> int:
        return self._rows

    def column(self, path: FieldPath) -> Sequence[Any]:
        """The value at the path in each record."""
        found = self.columns.get(path.text)
        if found is not None:
            return found
        inner = self.columns.get(str(path.steps[0]))
        if inner is None:
            return [None] * self._rows
        return [walk(value, path.steps[1:]) for value in inner]

    def record(self, place: int) -> Any:
        """One record as it is."""
        return {name: column[place] for name, column in self.columns.items()}

    def matching(self, pattern: FieldPattern) -> list[dict[str, Any]] | None:
        """By record the fields that match: of an object in a column, or columns whose whole names match."""
        if pattern.parent.steps and str(pattern.parent.steps[0]) in self.columns:
            found = _matching(iter(self.column(pattern.parent)), pattern)
            # A typed file has a place for each field in each row, which is null where the row has none.
            return [{name: value for name, value in each.items() if value is not None} for each in found]
        before = f"{pattern.parent.text}." if pattern.parent.text else ""
        names = [
            (name, name.removeprefix(before))
            for name in self.columns
            if name.startswith(before) and pattern.takes(name.removeprefix(before))
        ]
        if not names:
            return None
        columns = [self.columns[name] for name, _ in names]
        return [
            {short: value for (_, short), value in zip(names, row, strict=True) if value is not None and value != ""}
            for row in zip(*columns, strict=True)
        ]


def _matching(objects: Any, pattern: FieldPattern) -> list[dict[str, Any]]:
    takes = pattern.takes
    if pattern.glob == "*":
        return [value if isinstance(value, dict) else {} for value in objects]
    return [
        {name: inner for name, inner in value.items() if takes(name)} if isinstance(value, dict) else {}
        for value in objects
    ]


class _StructRows:
    """Records decoded into a struct that has only the fields that some path names. `apart` are those that are not, by
    their place, where the struct of `rows` is empty."""

    def __init__(
        self,
        rows: list[Any],
        places: Mapping[str, tuple[Any, tuple[str | int, ...]]],
        broken: Mapping[int, str],
        apart: Mapping[int, Any],
    ) -> None:
        self._rows = rows
        self._places = places
        self.broken = broken
        self._apart = apart

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, path: FieldPath) -> Sequence[Any]:
        get, rest = self._places[path.text]
        try:
            found = list(map(get, self._rows))
        except AttributeError:  # an object around it is null
            found = [_value_or_none(get, row) for row in self._rows]
        if rest:
            found = [walk(value, rest) for value in found]
        for place, row in self._apart.items():
            found[place] = walk(row, path.steps)
        return found

    def matching(self, pattern: FieldPattern) -> list[dict[str, Any]]:
        return _matching(iter(self.column(pattern.parent)), pattern)


def _value_or_none(get: Any, row: Any) -> Any:
    try:
        return get(row)
    except AttributeError:
        return None


class TextRows:
    """Records as JSON texts. A kernel finds the values in most of them; the others are decoded, and all where a path of
    no plan is asked for.
    """

    def __init__(self, texts: Sequence[bytes | None], places: Places, decoded: Callable[[Sequence[Any]], Rows]) -> None:
        self._texts = texts
        self._decode = decoded
        self.places = places

    def __len__(self) -> int:
        return len(self._texts)

    @cached_property
    def found(self) -> Found:
        """Where the values are. A text that is read is an object."""
        return self.places.found(self._texts)

    @cached_property
    def broken(self) -> Mapping[int, str]:
        """As of any rows."""
        left = (self.found.results == LEFT).nonzero()[0].tolist()
        rows = self.at(left) if left else None
        return {left[place]: why for place, why in rows.broken.items()} if rows is not None else {}

    def at(self, places: Sequence[int]) -> Rows:
        """The records at these places, decoded. What one becomes does not depend on those beside it."""
        return self._decode([self._texts[place] for place in places])

    @cached_property
    def _decoded(self) -> Rows:
        return self._decode(list(self._texts))

    def column(self, path: FieldPath) -> Sequence[Any]:
        """The value at the path in each record."""
        return self._decoded.column(path)

    def matching(self, pattern: FieldPattern) -> list[dict[str, Any]] | None:
        """By record the fields that match the pattern, in their order."""
        return self._decoded.matching(pattern)


class JsonReader:
    """Reads JSON texts into rows. Decoding into a struct made for the paths skips all other fields: it takes a half."""

    def __init__(self, paths: Sequence[FieldPath], patterns: Sequence[FieldPattern]) -> None:
        wanted = [*paths, *(pattern.parent for pattern in patterns)]
        self._attributes: dict[str, tuple[Any, tuple[str | int, ...]]] = {}
        self._decode: Any = None
        self._places = Places.of(wanted)
        if any(not path.steps for path in wanted):
            return  # a pattern of the record itself: all of its fields are wanted
        tree: dict[str, Any] = {}
        for path in wanted:
            _grow(tree, _names(path))
        kind, numbers = _struct(tree)
        self._decode = decoder(kind).decode
        self._empty = kind()
        for path in wanted:
            names, node, attributes = _names(path), numbers, []
            for name in names:
                attribute, inner = node[name]
                attributes.append(attribute)
                if not inner:
                    break
                node = inner
            self._attributes[path.text] = attrgetter(".".join(attributes)), path.steps[len(attributes) :]

    def rows(self, texts: Sequence[bytes | None]) -> Rows:
        """The rows of these texts, one object each. A text that is not there is a broken row."""
        if self._places is None or len(texts) < FEW_TEXTS:
            return self.decoded(list(texts))
        return TextRows(texts, self._places, self.decoded)

    def decoded(self, texts: Sequence[bytes | None]) -> Rows:
        """The same, decoded at once."""
        broken: dict[int, str] = {}
        if None in texts:
            broken = {place: _NO_TEXT for place, text in enumerate(texts) if text is None}
        there: Any = [text if text is not None else _EMPTY for text in texts] if broken else texts
        if self._decode is None:
            return ObjectRows([_object(text, place, broken) for place, text in enumerate(there)], broken)
        try:
            return _StructRows(list(map(self._decode, there)), self._attributes, broken, {})
        except (ValueError, RecursionError):
            pass  # one of them is broken, or has a value in place of an object
        rows, apart = [], {}
        for place, text in enumerate(there):
            try:
                row = self._decode(text)
            except (ValueError, RecursionError):
                row, apart[place] = self._empty, _object(text, place, broken)
            rows.append(row)
        return _StructRows(rows, self._attributes, broken, apart)


def _object(text: bytes, place: int, broken: dict[int, str]) -> Any:
    """The object that a text is, and None where it is none; then `broken` says why."""
    try:
        row = decoder(Any).decode(text)
    except (ValueError, RecursionError) as error:
        broken.setdefault(place, f"it is no JSON: {error}")
        return None
    if not isinstance(row, dict):
        broken.setdefault(place, _NO_OBJECT)
        return None
    return row


def _names(path: FieldPath) -> list[str]:
    """The names before the first place in a list."""
    names: list[str] = []
    for step in path.steps:
        if isinstance(step, int):
            break
        names.append(step)
    return names


def _grow(tree: dict[str, Any], names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if tree.get(name) is _LEAF:
            return
        if place == len(names) - 1:
            tree[name] = _LEAF
        else:
            tree = tree.setdefault(name, {})


def _struct(tree: dict[str, Any]) -> tuple[Any, dict[str, tuple[str, Any]]]:
    """A struct with these fields, and by name its attribute and the same of the struct within."""
    fields: list[Any] = []
    numbers: dict[str, tuple[str, Any]] = {}
    for place, (name, inner) in enumerate(tree.items()):
        attribute = f"f{place}"
        if inner is _LEAF:
            fields.append((attribute, Any, msgspec.field(default=None, name=name)))
            numbers[name] = attribute, None
        else:
            kind, within = _struct(inner)
            fields.append((attribute, kind | None, msgspec.field(default=None, name=name)))
            numbers[name] = attribute, within
    return msgspec.defstruct("Record", fields, gc=False), numbers

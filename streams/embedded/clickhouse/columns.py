"""Where a column of the Native format ends: the type's name says how its values are laid out.

clickhouse-connect reads the type's name. The columns are skipped, not decoded: their bytes are passed on as they are,
and no value is made. Layouts are those that the engine writes without a protocol version; source: src/DataTypes in
ClickHouse's repository, in the folder of serializations.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from clickhouse_connect.datatypes import (
    container,
    dynamic,
    geometric,
    network,
    numeric,
    special,
    string,
    temporal,
    vector,
)
from clickhouse_connect.datatypes.base import ArrayType, ClickHouseType
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.exceptions import InternalError

# `byte_size` bytes a value.
_FIXED: Final = (
    *(ArrayType, numeric.BigInt, numeric.Bool, numeric.Decimal, numeric.Enum, string.FixedString, special.UUID),
    *(network.IPv4, network.IPv6, temporal.Date, temporal.DateTimeBase, temporal.TimeBase, vector.QBit),
)
_SELF_DESCRIBING: Final = (dynamic.Dynamic, dynamic.JSON)
_PassOver: TypeAlias = Callable[[int], None]
# Names that stand for other types.
_ALIASES: Final = {
    geometric.Point: "Tuple(Float64, Float64)",
    geometric.Ring: "Array(Point)",
    geometric.LineString: "Array(Point)",
    geometric.MultiPoint: "Array(Point)",
    geometric.Polygon: "Array(Array(Point))",
    geometric.MultiLineString: "Array(Array(Point))",
    geometric.MultiPolygon: "Array(Array(Array(Point)))",
}


class LayoutError(Exception):
    """A column whose end cannot be found; the text says why."""


class Cursor:
    """A position in bytes. Whatever goes beyond their end raises LayoutError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def skip(self, count: int) -> bytes:
        """Go `count` bytes on and return them."""
        start = self.at
        self.pass_over(count)
        return self.data[start : self.at]

    def pass_over(self, count: int) -> None:
        """Go `count` bytes on."""
        self.at += count
        if self.at > len(self.data):
            raise LayoutError(f"{self.at - len(self.data)} bytes are missing at the end")

    def number(self) -> int:
        """A number of variable length (LEB128)."""
        value = shift = 0
        while True:
            byte = self.skip(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def uint64(self) -> int:
        """A number of eight bytes."""
        return int.from_bytes(self.skip(8), "little")

    def expect(self, *numbers: int) -> int:
        """A number of eight bytes that is one of these: the version of a layout. Raises LayoutError for another."""
        number = self.uint64()
        if number not in numbers:
            raise LayoutError(f"version {number} of a layout is not known")
        return number

    def text(self) -> str:
        """A string with its length before it."""
        return self.skip(self.number()).decode()

    def pass_over_texts(self, count: int) -> None:
        """Go over `count` strings with their lengths before them."""
        data, at = self.data, self.at
        try:
            for _ in range(count):
                length = data[at]
                at += 1
                if length >= 0x80:
                    self.at = at - 1
                    length = self.number()
                    at = self.at
                at += length
        except IndexError:
            at = len(data) + 1
        self.at = at
        self.pass_over(0)


def column_type(name: str) -> ClickHouseType:
    """The type of that name. Raises LayoutError for one whose columns cannot be passed over, or that is not known."""
    try:
        kind = get_from_name(name)
    except InternalError:
        raise LayoutError(f"the type {name} is not known") from None
    _check(kind)
    return kind


def is_self_describing(kind: ClickHouseType) -> bool:
    """Whether types stand within the column."""
    return isinstance(kind, _SELF_DESCRIBING) or any(map(is_self_describing, _elements(kind)))


def pass_over_column(cursor: Cursor, kind: ClickHouseType, rows: int) -> None:
    """Go over the column of `rows` values, at least one."""
    _begin(cursor, kind)(rows)


def _check(kind: ClickHouseType) -> None:
    known = (*_FIXED, *_SELF_DESCRIBING, string.String, container.Tuple)
    if not isinstance(kind, known) and not _elements(kind):
        raise LayoutError(f"where values of {kind.name} end is not known")
    for element in _elements(kind):
        _check(element)


def _elements(kind: ClickHouseType) -> Sequence[ClickHouseType]:
    alias = _ALIASES.get(type(kind))
    if alias is not None:
        return (get_from_name(alias),)
    if isinstance(kind, (container.Array, special.SimpleAggregateFunction)):
        return (kind.element_type,)
    if isinstance(kind, container.Map):
        return (kind.key_type, kind.value_type)
    if isinstance(kind, (container.Tuple, container.Nested, dynamic.Variant)):
        return tuple(kind.element_types)
    return tuple(kind.typed_types) if isinstance(kind, dynamic.JSON) else ()


def _begin(cursor: Cursor, kind: ClickHouseType) -> _PassOver:
    """Goes over what stands before the values of a whole column, and gives what goes over a number of values."""
    if kind.low_card:
        cursor.pass_over(8)
        return functools.partial(_pass_over_dictionary, cursor, _begin_plain(cursor, kind))
    plain = _begin_plain(cursor, kind)
    return functools.partial(_pass_over_nullable, cursor, plain) if "Nullable" in kind.wrappers else plain


def _begin_plain(cursor: Cursor, kind: ClickHouseType) -> _PassOver:
    if isinstance(kind, string.String):
        return cursor.pass_over_texts
    if isinstance(kind, dynamic.Dynamic):
        return _begin_dynamic(cursor)
    if isinstance(kind, dynamic.JSON):
        return _begin_json(cursor, kind)
    if isinstance(kind, dynamic.Variant):
        cursor.expect(0)
    elements = [_begin(cursor, element) for element in _elements(kind)]
    if isinstance(kind, dynamic.Variant):
        return functools.partial(_pass_over_variants, cursor, elements)
    if isinstance(kind, (container.Array, container.Map, container.Nested)):
        return functools.partial(_pass_over_lists, cursor, elements)
    if elements:
        return functools.partial(_pass_over_all, elements)
    # A tuple of nothing has a byte for each.
    width = 1 if isinstance(kind, container.Tuple) else kind.byte_size
    return lambda rows: cursor.pass_over(rows * width)


def _begin_dynamic(cursor: Cursor) -> _PassOver:
    # Version 2 has no number of types before the types.
    if cursor.expect(1, 2) == 1:
        cursor.number()
    kinds = {name: column_type(name) for name in [cursor.text() for _ in range(cursor.number())]}
    # What has none of these types is kept as text, under this name.
    kinds["SharedVariant"] = get_from_name("String")
    cursor.expect(0)
    # By the names that types have for the client, as clickhouse-connect sorts them.
    names = sorted(kinds, key=lambda name: name if name == "SharedVariant" else kinds[name].name)
    return functools.partial(_pass_over_variants, cursor, [_begin(cursor, kinds[name]) for name in names])


def _begin_json(cursor: Cursor, kind: dynamic.JSON) -> _PassOver:
    version = cursor.expect(0, 1, 2)
    if version == 1:
        return cursor.pass_over_texts
    if version == 0:
        cursor.number()
    paths = [cursor.text() for _ in range(cursor.number())]
    typed = [_begin(cursor, each) for each in kind.typed_types]
    # What has a path of its own, and the rest.
    others = [_begin_dynamic(cursor) for _ in paths]
    return functools.partial(_pass_over_all, [*typed, *others, _begin(cursor, get_from_name("Map(String, String)"))])


def _pass_over_all(elements: Sequence[_PassOver], rows: int) -> None:
    if rows:
        for element in elements:
            element(rows)


def _pass_over_nullable(cursor: Cursor, plain: _PassOver, rows: int) -> None:
    cursor.pass_over(rows)
    plain(rows)


def _pass_over_dictionary(cursor: Cursor, plain: _PassOver, _: int) -> None:
    # Flags above; the lowest byte is the width of a key as a power of two.
    width = 1 << (cursor.uint64() & 0xFF)
    plain(cursor.uint64())
    cursor.pass_over(cursor.uint64() * width)


def _pass_over_lists(cursor: Cursor, elements: Sequence[_PassOver], rows: int) -> None:
    # The last offset is the number of all elements.
    cursor.pass_over(8 * (rows - 1))
    _pass_over_all(elements, cursor.uint64())


def _pass_over_variants(cursor: Cursor, elements: Sequence[_PassOver], rows: int) -> None:
    discriminators = cursor.skip(rows)
    for number, element in enumerate(elements):
        _pass_over_all((element,), discriminators.count(number))

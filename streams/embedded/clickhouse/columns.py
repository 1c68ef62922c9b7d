"""Where a column of the Native format ends: the type's name says how its values are laid out.

clickhouse-connect reads the type's name. The columns are skipped, not decoded: their bytes are passed on as they are,
and no value is made. Layouts are those that the engine writes without a protocol version; source: src/DataTypes in
ClickHouse's repository, in the folder of serializations.
"""

from collections.abc import Sequence
from typing import Final

from clickhouse_connect.datatypes import container, dynamic, geometric, network, numeric, special, string, temporal
from clickhouse_connect.datatypes.base import ArrayType, ClickHouseType
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.exceptions import InternalError

# `byte_size` bytes a value.
_FIXED: Final = (
    *(ArrayType, numeric.BigInt, numeric.Bool, numeric.Decimal, numeric.Enum, string.FixedString, special.UUID),
    *(network.IPv4, network.IPv6, temporal.Date, temporal.DateTimeBase, temporal.TimeBase),
)
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
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise LayoutError(f"{self.at - len(self.data)} bytes are missing at the end")
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
    """The type of that name. Raises LayoutError for one whose columns cannot be skipped, or that is not known."""
    try:
        kind = get_from_name(name)
    except InternalError:
        raise LayoutError(f"the type {name} is not known") from None
    _check(kind)
    return kind


def pass_over_column(cursor: Cursor, kind: ClickHouseType, rows: int) -> None:
    """Go over the column of `rows` values, at least one."""
    _pass_over_prefix(cursor, kind)
    _pass_over_values(cursor, kind, rows)


def _check(kind: ClickHouseType) -> None:
    if not isinstance(kind, (*_FIXED, string.String, container.Tuple)) and not _elements(kind):
        raise LayoutError(f"values of {kind.name} are not laid out one by one")
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
    return ()


def _pass_over_prefix(cursor: Cursor, kind: ClickHouseType) -> None:
    """What stands before the values of the whole column, also for types within."""
    if kind.low_card:
        cursor.pass_over(8)
        return
    if isinstance(kind, dynamic.Variant) and cursor.uint64() != 0:
        raise LayoutError(f"values of {kind.name} are not laid out one by one")
    for element in _elements(kind):
        _pass_over_prefix(cursor, element)


def _pass_over_values(cursor: Cursor, kind: ClickHouseType, rows: int) -> None:
    if not rows:
        return
    if kind.low_card:
        # Flags above; the lowest byte is the width of a key as a power of two.
        width = 1 << (cursor.uint64() & 0xFF)
        _pass_over_plain(cursor, kind, cursor.uint64())
        cursor.pass_over(cursor.uint64() * width)
        return
    if "Nullable" in kind.wrappers:
        cursor.pass_over(rows)
    _pass_over_plain(cursor, kind, rows)


def _pass_over_plain(cursor: Cursor, kind: ClickHouseType, rows: int) -> None:
    elements = _elements(kind)
    if isinstance(kind, string.String):
        cursor.pass_over_texts(rows)
    elif isinstance(kind, dynamic.Variant):
        discriminators = cursor.skip(rows)
        for number, element in enumerate(elements):
            _pass_over_values(cursor, element, discriminators.count(number))
    elif isinstance(kind, (container.Array, container.Map, container.Nested)):
        # The last offset is the number of all elements.
        cursor.pass_over(8 * (rows - 1))
        count = cursor.uint64()
        for element in elements:
            _pass_over_values(cursor, element, count)
    elif elements:
        for element in elements:
            _pass_over_values(cursor, element, rows)
    elif isinstance(kind, container.Tuple):
        cursor.pass_over(rows)
    else:
        cursor.pass_over(rows * kind.byte_size)

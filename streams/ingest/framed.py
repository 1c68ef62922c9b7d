"""Values as the serializers of a schema registry write them: which schema, then the value in the form that it says.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from uuid import UUID

from schemas.zigzag import zigzag

_NUMBERED: Final = 0
_GLOBAL: Final = 1
_NUMBER_BYTES: Final = 5
_GUID_BYTES: Final = 17
_MOST_INDEXES: Final = 100


class GlobalId(NamedTuple):
    """The number of a version of a schema in Apicurio, which is another than that of its content."""

    number: int

    def __str__(self) -> str:
        return f"with the global id {self.number}"


# The number of a schema in its registry, its GUID, or Apicurio's other number.
SchemaId = int | str | GlobalId


class Framed(NamedTuple):
    """The schema of a value, and where its body begins.

    `message` is the message of a Protobuf schema where a header names it: the path of its indexes, or its name, empty
    for the first. None: indexes begin the body.
    """

    schema: SchemaId
    start: int
    message: tuple[int, ...] | str | None = None


# What makes an object of a value's body, given the message of `Framed`. It raises ValueError that says why not.
Decode = Callable[[bytes, tuple[int, ...] | str | None], Any]


def schema_of(value: bytes | None) -> Framed | None:
    """The schema of a value that begins with it; None for a value without one, such as plain JSON."""
    if not value or value[0] > _GLOBAL:
        return None
    if value[0] == _NUMBERED and len(value) >= _NUMBER_BYTES:
        return Framed(int.from_bytes(value[1:_NUMBER_BYTES], "big"), _NUMBER_BYTES)
    if value[0] == _GLOBAL and len(value) >= _GUID_BYTES:
        return Framed(str(UUID(bytes=value[1:_GUID_BYTES])), _GUID_BYTES)
    return None


def message_indexes(body: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of a Protobuf schema a body is, from the outermost in, and where the message begins.

    Raises ValueError for a body that is none.
    """
    try:
        count, at = zigzag(body, 0)
        if count == 0:
            return (0,), at
        if not 0 < count <= _MOST_INDEXES:
            raise ValueError(f"there are {count}")
        indexes = []
        for _ in range(count):
            index, at = zigzag(body, at)
            indexes.append(index)
    except ValueError as error:
        raise ValueError(f"the message indexes are wrong: {error}") from error
    return tuple(indexes), at

"""Values as the serializers of a schema registry write them: which schema, then the value in the form that it says.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

# The number of a schema in its registry, or its GUID.
SchemaId = int | str

_NUMBERED: Final = 0
_GLOBAL: Final = 1
_NUMBER_BYTES: Final = 5
_GUID_BYTES: Final = 17
# As the number of a varint's bytes: ten have 70 bits.
_LONGEST_NUMBER: Final = 10
_MOST_INDEXES: Final = 100


def schema_of(value: bytes) -> tuple[SchemaId, int] | None:
    """The schema of a value, and where its body begins; None for a value without one, such as plain JSON."""
    if not value or value[0] > _GLOBAL:
        return None
    if value[0] == _NUMBERED and len(value) >= _NUMBER_BYTES:
        return int.from_bytes(value[1:_NUMBER_BYTES], "big"), _NUMBER_BYTES
    if value[0] == _GLOBAL and len(value) >= _GUID_BYTES:
        return str(UUID(bytes=value[1:_GUID_BYTES])), _GUID_BYTES
    return None


def message_indexes(body: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of a Protobuf schema a body is, from the outermost in, and where the message begins.

    Raises ValueError for a body that is none.
    """
    count, at = _number(body, 0)
    if count == 0:
        return (0,), at
    if not 0 < count <= _MOST_INDEXES:
        raise ValueError(f"{count} message indexes")
    indexes = []
    for _ in range(count):
        index, at = _number(body, at)
        indexes.append(index)
    return tuple(indexes), at


def _number(body: bytes, at: int) -> tuple[int, int]:
    bits = 0
    for place, byte in enumerate(body[at : at + _LONGEST_NUMBER]):
        bits |= (byte & 127) << (7 * place)
        if byte < 128:
            return (bits >> 1) ^ -(bits & 1), at + place + 1
    raise ValueError("the message indexes are cut off")

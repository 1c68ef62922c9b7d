"""Answers in the Native format for clients that name a `client_protocol_version`, such as clickhouse-go.

The engine writes Native as for a client that names none, and has no setting for it. Clients that name a version expect
more around the same columns: information about each block, and for each column a byte that says how it is serialized.
Inserts are without both at every version: ClickHouse reads them over HTTP as of version 0, and clickhouse-go sends them
so. Source: the reader and the writer of Native in src/Formats, block information and the numbers of versions in
src/Core of ClickHouse's repository.
"""

import functools
import json
import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from streams.embedded.clickhouse import wire
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.connection import Connection
from streams.embedded.clickhouse.statement import Statement

if TYPE_CHECKING:
    from clickhouse_connect.datatypes.base import ClickHouseType

# ClickHouse's names, without what all of them begin with. Versions before the first one, of 2018, do not know a type
# that the engine writes to all.
LOW_CARDINALITY_TYPE: Final = 54405
CUSTOM_SERIALIZATION: Final = 54454
V2_DYNAMIC_AND_JSON_SERIALIZATION: Final = 54473
OUT_OF_ORDER_BUCKETS_IN_AGGREGATION: Final = 54480
# From this one on strings are laid out in another way.
STRING_WITH_SIZE_STREAM_SERIALIZATION: Final = 54492
# Fields 1 (no overflow row) and 2 (no bucket); from 54480 on field 3 (a list without entries); the end.
_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff"
_NO_BUCKETS, _END = b"\x03\x00", b"\x00"
_DEFAULT_SERIALIZATION: Final = b"\x00"
_TEXT: Final = re.compile(r"'([A-Za-z][\w+/-]*)'")


def protocol_version(text: str) -> int:
    """The version that a client names, 0 for none. Raises BodyError for what is no version that is served."""
    if not text:
        return 0
    if not text.isascii() or not text.isdecimal():
        message = f"Cannot parse client_protocol_version {text[:40]!r}: it must be a number, such as 54460."
        raise wire.BodyError(400, message, code=Code.CANNOT_PARSE_NUMBER)
    # Digits without a bound would take quadratic time to read.
    version = int(text) if len(text) <= 20 else STRING_WITH_SIZE_STREAM_SERIALIZATION
    oldest, newest = LOW_CARDINALITY_TYPE, STRING_WITH_SIZE_STREAM_SERIALIZATION - 1
    if version and not oldest <= version <= newest:
        message = f"client_protocol_version {text[:40]} is not served; name one from {oldest} to {newest}, or none."
        raise wire.BodyError(400, message, code=Code.PROTOCOL_VERSION_MISMATCH)
    return version


def column_types(
    connection: Connection,
    statement: Statement,
    answer: bytes,
    version: int,
    *,
    own_zone: str,
    parameters: Mapping[str, str],
) -> Sequence[str]:
    """The types of the columns of a query with their time zones, which the engine leaves out of DateTime. None where
    they are not needed, or the statement is no query.

    To ask takes 5 to 13 ms of CPU. For clients of the version of clickhouse-connect, which clickfold's own commands
    are, it is done where the SQL or its `parameters` name another zone than `own_zone`, in which the answer says to
    show times: a column that is stored with another is shown to them in that.
    """
    if not version or b"\x08DateTime" not in answer:
        return ()
    if version < CUSTOM_SERIALIZATION:
        texts = {*_TEXT.findall(statement.sql), *parameters.values()} - {own_zone}
        if texts.isdisjoint(_zones()):
            return ()
    try:
        described = connection.query(
            f"DESCRIBE TABLE (\n{statement.without_format}\n)", "JSONCompactColumns", parameters
        )
    except RuntimeError:
        return ()
    types: list[str] = json.loads(described.bytes())[1]
    return types


def encoded(answer: bytes, version: int, column_types: Sequence[str] = ()) -> Iterator[bytes]:
    """The blocks of a Native `answer` as the version expects them, one by one.

    `column_types` are the types with their time zones, where they are known. Raises BodyError 501 for a type whose
    columns cannot be passed on, at the first block.
    """
    from streams.embedded.clickhouse import columns  # its reader of types takes 0.3 s to import

    cursor = columns.Cursor(answer)
    kinds: dict[str, ClickHouseType] = {}
    try:
        while cursor.at < len(answer):
            start = cursor.at
            count, rows = cursor.number(), cursor.number()
            parts = [_block_info(version), answer[start : cursor.at]]
            for number in range(count):
                start = cursor.at
                cursor.text()
                name_end = cursor.at
                name = cursor.text()
                # Only these lose their zone, not those in Nullable and so on.
                zoned = column_types[number] if name == "DateTime" and number < len(column_types) else name
                parts += (answer[start:name_end], _text(zoned), _serialization(version))
                start = cursor.at
                kind = kinds[name] = kinds.get(name) or columns.column_type(name)
                if version >= V2_DYNAMIC_AND_JSON_SERIALIZATION and columns.is_self_describing(kind):
                    raise columns.LayoutError(f"this version lays {name} out in another way")
                if rows:
                    columns.pass_over_column(cursor, kind, rows)
                parts.append(answer[start : cursor.at])
            yield b"".join(parts)
    except columns.LayoutError as failure:
        remedy = "Cast the column, or use RowBinary"
        text = f"Native with a client_protocol_version cannot be served here: {failure}. {remedy}."
        raise wire.BodyError(501, text) from None


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _block_info(version: int) -> bytes:
    return _BLOCK_INFO + (_NO_BUCKETS if version >= OUT_OF_ORDER_BUCKETS_IN_AGGREGATION else b"") + _END


def _serialization(version: int) -> bytes:
    return _DEFAULT_SERIALIZATION if version >= CUSTOM_SERIALIZATION else b""


def _text(text: str) -> bytes:
    from clickhouse_connect.driver.common import write_leb128

    data, written = text.encode(), bytearray()
    write_leb128(len(data), written)
    return bytes(written + data)

"""What decodes the values of one schema: Avro, Protobuf or JSON, to objects as a mapping reads them."""

from __future__ import annotations

import io
from typing import Any, Final

import msgspec

from schemas.codec import decoder
from schemas.errors import SettingsError
from streams.ingest.framed import Decode
from streams.ingest.protobuf import protobuf_decoder

# What fastavro raises for bytes that are not of the schema.
_WRONG: Final = (ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, RecursionError)


class SchemaText(msgspec.Struct, frozen=True):
    """A schema as a registry has it: AVRO, PROTOBUF or JSON. `references` are the names and texts of those that it
    builds on, each behind those that it builds on itself."""

    kind: str
    text: str
    references: tuple[tuple[str, str], ...] = ()


def decoder_of(schema: SchemaText) -> Decode:
    """What makes an object of a value's body, or raises ValueError that says why not.

    Raises ValueError for a schema that cannot be used, SettingsError where a package is missing.
    """
    try:
        match schema.kind:
            case "AVRO":
                return _avro(schema)
            case "PROTOBUF":
                return protobuf_decoder(schema.text, schema.references)
            case "JSON":
                decode = decoder(Any).decode
                return lambda body, _: decode(body)
    except ImportError as error:
        raise SettingsError(
            f"values are {schema.kind}, which needs {error.name}: `pip install 'clickfold[registry]'`"
        ) from error
    raise ValueError(f"its schema is of the type {schema.kind}; AVRO, PROTOBUF and JSON are read")


def _avro(schema: SchemaText) -> Decode:
    import fastavro

    named: dict[str, Any] = {}
    try:
        for _, text in schema.references:
            fastavro.parse_schema(msgspec.json.decode(text), named_schemas=named)
        parsed = fastavro.parse_schema(msgspec.json.decode(schema.text), named_schemas=named)
    except (*_WRONG, fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
        raise ValueError(f"its schema is no Avro schema: {error}") from error

    def decode(body: bytes, _: object) -> Any:
        stream = io.BytesIO(body)
        try:
            found = fastavro.schemaless_reader(stream, parsed, None)
        except _WRONG as error:
            raise ValueError(f"it is not of its Avro schema: {str(error) or type(error).__name__}") from error
        if stream.tell() != len(body):
            raise ValueError(f"{len(body) - stream.tell()} bytes follow the value of its Avro schema")
        return found

    return decode

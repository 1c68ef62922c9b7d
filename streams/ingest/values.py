"""The values of a source as records that a mapping reads: JSON, what a schema says, and the data of CloudEvents."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from schemas.codec import decoder
from schemas.reading import Unreadable
from schemas.records import Headers
from schemas.rejects import Reason
from streams.ingest.framed import Decode, Framed, SchemaId, schema_of
from streams.ingest.said import NOTHING, Said, frame, media_type, said
from streams.mapping.compiled import Compiled
from streams.mapping.paths import field_pattern
from streams.mapping.rows import JsonReader, ObjectRows, Rows

_json: Final = decoder(Any).decode
_NO_VALUE: Final = Unreadable(Reason.TOMBSTONE, "the record has no value")


class Decoders(Protocol):
    """`streams.ingest.schemas.Schemas`, which asks a registry; here it only decodes."""

    def decoder(self, schema: SchemaId) -> Decode | Unreadable:
        """What decodes values of a schema that is known, or why they cannot be."""
        ...


class Values:
    """Reads values. `schemas`: those of a registry, which must be known by then; None where values are plain.

    Only what the mappings name is read of plain JSON.
    """

    def __init__(self, inputs: Iterable[Compiled], schemas: Decoders | None = None) -> None:
        """`inputs` are the mappings; without any, whole records are read."""
        inputs = list(inputs)
        patterns = [pattern for each in inputs for pattern in each.mapping.patterns]
        self._json = JsonReader(
            [path for each in inputs for path in each.paths()], patterns if inputs else [field_pattern("*")]
        )
        self._schemas = schemas

    def rows(
        self, values: Sequence[bytes | None], headers: Sequence[Headers] | None = None
    ) -> tuple[Rows, Mapping[int, Unreadable]]:
        """The records, and why some are none. `headers` say what their values are, where they are wanted."""
        if headers is None and self._schemas is None:
            return self._plain(values, None)
        told = [NOTHING] * len(values) if headers is None else list(map(said, headers))
        framed: Sequence[Framed | None] = [None] * len(values)
        if self._schemas is not None:
            framed = list(map(schema_of, values)) if headers is None else list(map(frame, values, told))
        if not any(framed) and (headers is None or all(each is NOTHING for each in told)):
            return self._plain(values, headers)
        found: list[Any] = []
        wrong: dict[int, Unreadable] = {}
        for place, (value, each, frame_) in enumerate(zip(values, told, framed, strict=True)):
            one = each if isinstance(each, Unreadable) else self._record(value, each, frame_)
            if isinstance(one, Unreadable):
                wrong[place], one = one, None
            found.append(one)
        return ObjectRows(found, {place: each.detail for place, each in wrong.items()}), wrong

    def _plain(
        self, values: Sequence[bytes | None], headers: Sequence[Headers] | None
    ) -> tuple[Rows, Mapping[int, Unreadable]]:
        rows = self._json.rows(values)
        return rows, {place: _broken(values[place], why, headers) for place, why in rows.broken.items()}

    def _record(self, value: bytes | None, headers: Said, framed: Framed | None) -> Any:
        """The record of one value: an event in binary mode becomes what it is in structured mode."""
        if headers.attributes is not None:
            return self._event(value, headers.attributes, framed or headers.framed)
        if value is None:
            return _NO_VALUE
        found = self._decoded(value, framed or headers.framed)
        if isinstance(found, Unreadable | dict):
            return found
        return Unreadable(Reason.UNDECODABLE, "it is no object with fields")

    def _event(self, value: bytes | None, attributes: Mapping[str, str], framed: Framed | None) -> Any:
        """An event as the JSON format at https://github.com/cloudevents/spec has it."""
        if value is None:
            return dict(attributes)
        media = media_type(attributes.get("datacontenttype", ""))
        if framed is not None or media in ("", "application/json", "text/json") or media.endswith("+json"):
            data = self._decoded(value, framed)
            return data if isinstance(data, Unreadable) else {**attributes, "data": data}
        try:
            return {**attributes, "data": value.decode()}
        except UnicodeDecodeError:
            return {**attributes, "data_base64": b64encode(value).decode()}

    def _decoded(self, value: bytes, framed: Framed | None) -> Any:
        try:
            if framed is None:
                return _json(value)
            if self._schemas is None:
                return Unreadable(Reason.SCHEMA, f"schema {framed.schema} describes it: set SCHEMA_REGISTRY_URL")
            decode = self._schemas.decoder(framed.schema)
            return decode if isinstance(decode, Unreadable) else decode(value[framed.start :], framed.message)
        except (ValueError, RecursionError) as error:
            return Unreadable(Reason.UNDECODABLE, str(error))


def _broken(value: bytes | None, why: str, headers: Sequence[Headers] | None) -> Unreadable:
    """Why a value is no record, when nothing but JSON was looked for."""
    if value is None:
        return _NO_VALUE
    framed = schema_of(value)
    if framed is not None:
        why = f"it is no JSON; if schema {framed.schema} of a registry describes it, set SCHEMA_REGISTRY_URL"
    elif headers is None and not value.lstrip().startswith(b"{"):
        why += "; if its headers say what it is, write headers = true into the mapping"
    return Unreadable(Reason.UNDECODABLE, why)

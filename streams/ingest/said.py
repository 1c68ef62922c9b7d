"""What the headers of a record say of its value: that it is the data of a CloudEvent, and which schema it has.

CloudEvents: Kafka's protocol binding at https://github.com/cloudevents/spec
Schemas: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
and the headers of https://github.com/Apicurio/apicurio-registry
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from schemas.reading import Unreadable
from schemas.records import MOST_HEADER_BYTES, MOST_HEADERS, Headers
from schemas.rejects import Reason
from streams.ingest.framed import Framed, GlobalId, SchemaId, message_indexes, schema_of

_CONTENT_TYPE: Final = "content-type"
_ATTRIBUTE: Final = "ce_"
# Each event has it, and nothing else does.
_BINARY: Final = "ce_specversion"
_CONFLUENT: Final = "__value_schema_id"
# What is read of Apicurio's, with the kind of number that each has.
_APICURIO: Final = {"apicurio.value.globalId": GlobalId, "apicurio.value.contentId": int}
_APICURIO_ENCODING: Final = "apicurio.value.encoding"
_APICURIO_MESSAGE: Final = "apicurio.protobuf.type"
_NUMBER_BYTES: Final = 8
_EVENTS: Final = "application/cloudevents"
_EVENTS_AS_JSON: Final = (_EVENTS, f"{_EVENTS}+json")
_BATCH: Final = f"{_EVENTS}-batch"


class Said(NamedTuple):
    """The attributes of the CloudEvent of which the value is the data, and the schema of the value; None for none."""

    attributes: Mapping[str, str] | None = None
    framed: Framed | None = None


NOTHING: Final = Said()


def said(headers: Headers) -> Said | Unreadable:
    """What the headers of a record say, or why they cannot be used. Other headers are passed over."""
    if headers is None:
        return _wrong(
            f"its headers are malformed, more than {MOST_HEADERS}, or longer than {MOST_HEADER_BYTES} bytes together"
        )
    if not headers:
        return NOTHING
    # Of several headers with one name the last counts, as for Kafka's own clients.
    found = {name: value for name, value in headers if value is not None}
    try:
        attributes = _attributes(found)
        framed = _framed(found)
    except UnicodeDecodeError as error:
        return _wrong(f"one of its headers is no UTF-8: {error}")
    except ValueError as error:
        return _wrong(str(error))
    return Said(attributes, framed) if attributes is not None or framed is not None else NOTHING


def frames(values: Sequence[bytes | None], headers: Sequence[Headers] | None) -> list[Framed | None]:
    """The schema of each value, as its headers say it, else its beginning."""
    if headers is None:
        return list(map(schema_of, values))
    return [frame(value, said(own)) for value, own in zip(values, headers, strict=True)]


def frame(value: bytes | None, headers: Said | Unreadable) -> Framed | None:
    """The schema of one value."""
    if value is None or isinstance(headers, Unreadable):
        return None
    return headers.framed or schema_of(value)


def telling(headers: Sequence[Headers]) -> int:
    """Of how many records the headers say something of their values."""
    return sum(each is not NOTHING for each in map(said, headers))


def passed_over(headers: Sequence[Headers]) -> str:
    """A hint for a mapping that does not read the headers of records of which most say what their values are."""
    count = telling(headers)
    if 2 * count <= len(headers):
        return ""
    return (
        f"; {count:,} of {len(headers):,} records have headers that say what their values are, as of CloudEvents in "
        "binary mode: write headers = true above the tables of the mapping to read them"
    )


def media_type(text: str) -> str:
    """A media type without its parameters."""
    return text.partition(";")[0].strip().lower()


def _attributes(found: Mapping[str, bytes]) -> dict[str, str] | None:
    """The attributes of an event in binary mode. Raises ValueError for events that are not read."""
    content = next((value for name, value in found.items() if name.lower() == _CONTENT_TYPE), b"").decode()
    media = media_type(content)
    if media.startswith(_BATCH):
        raise ValueError(
            f"it is a batch of CloudEvents ({media}), and Kafka's binding has none: send each event as a record"
        )
    if media.startswith(_EVENTS):
        if media not in _EVENTS_AS_JSON:
            raise ValueError(
                f"it is a CloudEvent in the format {media}; {_EVENTS_AS_JSON[1]} and the binary mode are read"
            )
        return None
    if _BINARY not in found:
        return None
    attributes = {
        name.removeprefix(_ATTRIBUTE): value.decode() for name, value in found.items() if name.startswith(_ATTRIBUTE)
    }
    return attributes | {"datacontenttype": content} if content else attributes


def _framed(found: Mapping[str, bytes]) -> Framed | None:
    """The schema of the value. Raises ValueError for headers that name one wrongly."""
    named = found.get(_CONFLUENT)
    if named is not None:
        begun = schema_of(named)
        if begun is None:
            raise ValueError(f"its header {_CONFLUENT} is neither a number nor a GUID of a schema: {named[:20].hex()}")
        rest = named[begun.start :]
        return Framed(begun.schema, 0, message_indexes(rest)[0] if rest else (0,))
    for name, kind in _APICURIO.items():
        if name not in found:
            continue
        if len(found[name]) != _NUMBER_BYTES:
            raise ValueError(
                f"its header {name} has {len(found[name])} bytes; a number of a schema has {_NUMBER_BYTES}"
            )
        if found.get(_APICURIO_ENCODING, b"BINARY").upper() != b"BINARY":
            raise ValueError(
                f"its header {_APICURIO_ENCODING} says that its Avro is JSON; only the binary form is read"
            )
        schema: SchemaId = kind(int.from_bytes(found[name], "big"))
        return Framed(schema, 0, found.get(_APICURIO_MESSAGE, b"").decode())
    return None


def _wrong(why: str) -> Unreadable:
    return Unreadable(Reason.HEADERS, why)

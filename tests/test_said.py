"""What headers say of values: CloudEvents are the same in binary and in structured mode, and schemas are found."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from schemas.errors import SettingsError
from schemas.reading import Unreadable
from schemas.records import MOST_HEADER_BYTES, MOST_HEADERS, Headers
from schemas.rejects import Reason
from streams.ingest.forms import SchemaText
from streams.ingest.framed import Framed, GlobalId
from streams.ingest.said import NOTHING, Said, frames, passed_over, said
from streams.ingest.source import Taken
from streams.ingest.values import Values
from streams.kafka.headers import bounded, unpacked
from streams.mapping.language import read_mapping
from tests.batches import number
from tests.ingesting import EVENTS_MAPPING, Message, binary, event, source, structured
from tests.test_ingest_values import JSON, Shelf, framed

GUID = UUID(int=7)
EVENTS = [event(at, kind="click" if at % 3 == 0 else "view") for at in range(20)]


def taken(messages: list[Message], shelf: Shelf | None = None) -> Taken:
    """What a source that reads headers makes of these."""
    values, headers = [value for value, _ in messages], [own for _, own in messages]
    if shelf is not None:
        shelf.known.learn(values, headers)
    return source(EVENTS_MAPPING, schemas=shelf.known if shelf is not None else None).take(values, headers)


def why(message: Message, shelf: Shelf | None = None) -> Unreadable:
    return taken([message], shelf).refused[0]


# ---- CloudEvents ----------------------------------------------------------------------------------------------------


def test_the_same_events_in_binary_and_structured_mode_give_identical_records() -> None:
    in_structured, in_binary = taken([structured(each) for each in EVENTS]), taken([binary(each) for each in EVENTS])
    assert in_binary == in_structured
    assert (len(in_binary.events["impressions"].keys), len(in_binary.events["clicks"].keys)) == (13, 7)
    # Mixed in one source, and without a content type as in a file.
    mixed = [(structured, binary, lambda one: structured(one, ""))[at % 3](each) for at, each in enumerate(EVENTS)]
    assert taken(mixed) == in_structured


def rows_of(message: Message, shelf: Shelf | None = None) -> Any:
    return Values((), shelf.known if shelf is not None else None).rows([message[0]], [message[1]])[0].record(0)  # type: ignore[attr-defined]  # whole records are objects


def test_data_becomes_what_its_media_type_says() -> None:
    def read(content: str, data: bytes) -> dict[str, Any]:
        found = rows_of(binary(EVENTS[1] | {"datacontenttype": content}, data))
        assert found["datacontenttype"] == content
        return {name: value for name, value in found.items() if name.startswith("data") and name != "datacontenttype"}

    assert read("application/json; charset=utf-8", b'{"a":1}') == {"data": {"a": 1}}
    assert read("application/vnd.shop+json", b"[1]") == {"data": [1]}
    assert read("text/plain", b'{"a":1}') == {"data": '{"a":1}'}
    assert read("application/octet-stream", b"\xff\x00") == {"data_base64": "/wA="}
    assert why(binary(EVENTS[1], b"{")).reason == Reason.UNDECODABLE


def test_an_event_without_data_is_its_attributes_and_a_record_without_value_and_event_is_a_tombstone() -> None:
    attributes = {name: value for name, value in EVENTS[1].items() if name != "data"}
    assert rows_of(binary(attributes)) == rows_of(structured(attributes)) == attributes
    assert why((None, [])) == Unreadable(Reason.TOMBSTONE, "the record has no value")
    # Beside records that headers say something of, and beside plain ones.
    assert taken([binary(EVENTS[1]), (None, [])]).refused[1].reason == Reason.TOMBSTONE
    assert taken([structured(EVENTS[1], ""), (None, [])]).refused[1].reason == Reason.TOMBSTONE


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("application/cloudevents-batch+json", "it is a batch of CloudEvents (application/cloudevents-batch+json)"),
        ("Application/CloudEvents+Avro; x=y", "in the format application/cloudevents+avro"),
    ],
)
def test_batches_and_formats_that_are_not_read_are_refused_for_their_headers(content: str, says: str) -> None:
    refused = why(structured(EVENTS[1], content))
    assert refused.reason == Reason.HEADERS
    assert says in refused.detail


def test_names_of_content_types_may_be_written_in_capitals_and_the_last_of_several_headers_counts() -> None:
    value, headers = binary(EVENTS[1])
    loud = [("Content-Type" if name == "content-type" else name, given) for name, given in headers]
    assert (
        taken([(value, loud)]) == taken([(value, [("ce_type", b"shop.click"), *headers])]) == taken([(value, headers)])
    )


def test_headers_of_other_kinds_are_passed_over() -> None:
    others: list[tuple[str, bytes]] = [("traceparent", b"\xff"), ("ce_id", b"1"), ("content-type", b"application/json")]
    assert said(others) is NOTHING
    assert taken([(structured(EVENTS[1])[0], others)]) == taken([structured(EVENTS[1])])


def test_attributes_that_are_no_utf8_are_refused() -> None:
    value, headers = binary(EVENTS[1])
    assert "no UTF-8" in why((value, [*headers, ("ce_shop", b"\xff")])).detail


# ---- bounds ---------------------------------------------------------------------------------------------------------


def test_headers_are_bounded_in_number_and_size_just_inside_and_just_outside() -> None:
    most = [("a", b"")] * MOST_HEADERS
    largest = [("ab", b"x" * (MOST_HEADER_BYTES - 2))]
    for inside, outside in ((most, [*most, ("a", b"")]), (largest, [*largest, ("c", b"")])):
        assert bounded(inside) == unpacked(packed(inside)) == inside
        assert bounded(outside) is unpacked(packed(outside)) is None
    refused = why((b"{}", None))  # type: ignore[arg-type]  # as the reader gives such headers
    assert refused == Unreadable(
        Reason.HEADERS, "its headers are malformed, more than 100, or longer than 16384 bytes together"
    )


def packed(headers: list[tuple[str, bytes]]) -> bytes:
    texts = (number(len(each)) + each for name, value in headers for each in (name.encode(), value))
    return number(len(headers)) + b"".join(texts)


@pytest.mark.parametrize(
    "wrong", [b"", b"\x80", number(-1), number(1), number(1) + number(-1) + number(0), packed([("a", b"b")]) + b"x"]
)
def test_what_is_no_list_of_headers_is_none(wrong: bytes) -> None:
    assert unpacked(wrong) is None
    assert unpacked(number(1) + number(1) + b"\xff" + number(-1)) is None
    assert unpacked(number(1) + number(1) + b"a" + number(-1)) == [("a", None)]


# ---- schemas --------------------------------------------------------------------------------------------------------


def of_guid(*message: int) -> bytes:
    """The header that Confluent's serializers write; of Protobuf with the path of a message."""
    return b"\1" + GUID.bytes + b"".join(map(number, (len(message), *message) if message else ()))


def test_headers_of_schemas_are_as_confluents_own_client_writes_them() -> None:
    from confluent_kafka.schema_registry.serde import SchemaId as ConfluentId

    assert ConfluentId("AVRO", guid=str(GUID)).guid_to_bytes() == of_guid()
    assert ConfluentId("PROTOBUF", guid=str(GUID), message_indexes=[2, 1]).guid_to_bytes() == of_guid(2, 1)
    assert ConfluentId("AVRO", 42).id_to_bytes() == framed(42, b"")


LONG = (42).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("headers", "schema"),
    [
        ([("__value_schema_id", of_guid())], Framed(str(GUID), 0, (0,))),
        ([("__value_schema_id", framed(42, b""))], Framed(42, 0, (0,))),
        (
            [("__value_schema_id", of_guid(2, 1))],
            Framed(str(GUID), 0, (2, 1)),
        ),
        ([("__key_schema_id", framed(1, b""))], None),
        ([("apicurio.value.contentId", LONG)], Framed(42, 0, "")),
        ([("apicurio.value.globalId", LONG)], Framed(GlobalId(42), 0, "")),
        ([("apicurio.value.globalId", LONG), ("apicurio.protobuf.type", b"Event")], Framed(GlobalId(42), 0, "Event")),
        ([("apicurio.value.contentId", LONG), ("apicurio.value.encoding", b"BINARY")], Framed(42, 0, "")),
    ],
)
def test_the_headers_of_both_vendors_name_a_schema(headers: Headers, schema: Framed | None) -> None:
    assert said(headers) == Said(None, schema)
    assert frames([b"\0\0\0\0\1x"], [headers]) == [schema or Framed(1, 5)]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("__value_schema_id", b"\2abc", "neither a number nor a GUID of a schema: 02616263"),
        ("__value_schema_id", b"\1" + GUID.bytes + b"\x80", "message indexes"),
        ("apicurio.value.globalId", b"\0\0\0\1", "has 4 bytes; a number of a schema has 8"),
    ],
)
def test_a_header_that_names_no_schema_is_refused(name: str, value: bytes, says: str) -> None:
    refused = why((b"{}", [(name, value)]))
    assert refused.reason == Reason.HEADERS
    assert says in refused.detail


def test_avro_as_json_is_refused() -> None:
    headers = [("apicurio.value.contentId", LONG), ("apicurio.value.encoding", b"JSON")]
    assert "only the binary form is read" in why((b"{}", headers)).detail


AVRO = SchemaText("AVRO", '{"type":"record","name":"a","fields":[{"name":"req","type":"string"}]}')
PROTO = SchemaText(
    "PROTOBUF", 'syntax="proto3"; message O { string x = 1; } message E { message I { string req = 1; } }'
)


def test_a_body_is_decoded_by_the_schema_of_its_header_and_beside_others_by_its_beginning() -> None:
    shelf = Shelf(s1=JSON)
    shelf.schemas |= {str(GUID): AVRO, GlobalId(7): PROTO, 7: AVRO}
    messages: list[Message] = [
        (b"\4ab", [("__value_schema_id", of_guid())]),
        (b"\4ab", [("apicurio.value.contentId", (7).to_bytes(8, "big"))]),
        (b"\x0a\x02ab", [("apicurio.value.globalId", (7).to_bytes(8, "big")), ("apicurio.protobuf.type", b"I")]),
        (framed(1, b'{"req":"ab"}'), []),
        (b'{"req":"ab"}', []),
    ]
    values, headers = [value for value, _ in messages], [own for _, own in messages]
    assert shelf.known.unknown(values, headers) == {str(GUID), 7, GlobalId(7), 1}
    shelf.known.learn(values, headers)
    rows, wrong = Values((), shelf.known).rows(values, headers)
    assert wrong == {}
    assert [rows.record(place) for place in range(5)] == [{"req": "ab"}] * 5  # type: ignore[attr-defined]  # as above


def test_the_data_of_an_event_in_binary_mode_may_have_a_schema() -> None:
    shelf = Shelf()
    shelf.schemas |= {str(GUID): AVRO, 3: AVRO}
    attributes = EVENTS[0] | {"datacontenttype": "application/avro"}
    value, headers = binary(attributes, b"\4ab")
    of_header = (value, [*headers, ("__value_schema_id", of_guid())])
    for message in (of_header, binary(attributes, framed(3, b"\4ab"))):
        assert taken([message], shelf).events["clicks"].keys == [b"ab"]


def test_a_schema_of_a_header_is_said_to_be_missing_with_and_without_a_registry() -> None:
    message: Message = (b"x", [("apicurio.value.globalId", LONG)])
    assert why(message, Shelf()) == Unreadable(Reason.SCHEMA, "the registry has no schema with the global id 42")
    assert why(message) == Unreadable(
        Reason.SCHEMA, "schema with the global id 42 describes it: set SCHEMA_REGISTRY_URL"
    )


# ---- what says that headers are wanted ------------------------------------------------------------------------------


def test_without_headers_in_the_mapping_nothing_is_made_of_them() -> None:
    without = source(EVENTS_MAPPING.replace("headers = true", ""))
    assert not without.with_headers
    assert source(EVENTS_MAPPING).with_headers
    assert without.digest != source(EVENTS_MAPPING).digest
    assert without.digest == source(EVENTS_MAPPING.replace("= true", "= false")).digest
    refused = without.take([b"\4ab"]).refused[0]
    assert refused.detail.endswith("if its headers say what it is, write headers = true into the mapping")


def test_headers_is_true_or_false_above_the_tables() -> None:
    with pytest.raises(SettingsError, match=r"m.toml line 2: headers is true or false, above the tables; not 1"):
        read_mapping(EVENTS_MAPPING.replace("= true", "= 1", 1), "m.toml")


def test_a_hint_names_headers_that_most_records_have() -> None:
    headers = [binary(each)[1] for each in EVENTS]
    assert passed_over(headers).startswith("; 20 of 20 records have headers that say what their values are")
    assert passed_over([*headers, *[[]] * 20]) == ""
    assert orjson.loads(structured(EVENTS[0])[0] or b"") == EVENTS[0]

"""The published JSON Schemas are those of the types, and say what decoding enforces."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from schemas.codec import decoder
from schemas.generate import FOLDER, KINDS, field_texts, schema_text, structs, unit_of
from schemas.topics import TOPICS
from streams.warehouse.shapes import ROLES

IMPRESSION = {"impression_id": "i", "ts": 946_684_800_000, "campaign_id": "c", "creative_id": "x", "price_micros": 0}


def published(name: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((FOLDER / f"{name}.json").read_bytes())
    return found


def takes(name: str, value: object) -> bool:
    """Whether the decoder of a kind accepts this value."""
    try:
        decoder(KINDS[name].type).decode(orjson.dumps(value))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", KINDS)
def test_published_schema_is_that_of_the_type(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_bytes() == schema_text(name), "run `make schemas` and commit schemas/json"


def test_every_topic_has_one_schema_and_no_other_file_is_published() -> None:
    assert sorted(kind.role for kind in KINDS.values()) == sorted(TOPICS)
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{name}.json" for name in KINDS)


def test_every_type_is_described() -> None:
    for name in KINDS:
        for title, definition in published(name)["$defs"].items():
            assert definition.get("description"), f"{title} in {name}.json has no description"


def test_every_field_says_what_it_holds() -> None:
    for name in KINDS:
        for struct in structs(KINDS[name].type):
            fields = {field.name for field in msgspec.structs.fields(struct)}
            assert fields == field_texts(struct).keys(), f"{struct.__name__}: a string below each field says what it is"


def test_every_moment_names_its_unit() -> None:
    moments = {"ts", "start", "end", "minute", "quarter", "day_start", "window_start", "window_end"}
    named = {
        "click_ts",
        "event_ms",
        "in_force_ms",
        "floor_ms",
        "confirmed_ms",
        "valid_until_ms",
        "counted_to_ms",
        "record_ts_ms",
        "redriven_ms",
        "impressions_watermark_ms",
        "clicks_watermark_ms",
    }
    for name in KINDS:
        for struct in structs(KINDS[name].type):
            for field in msgspec.structs.fields(struct):
                assert (unit_of(field.type) == "ms UTC") == (field.name in moments | named), (struct, field.name)


def test_topics_name_those_who_write_and_read_them() -> None:
    assert {role for role, topic in TOPICS.items() if "sink" in topic.readers} == set(ROLES)
    workers = {"ingest", "join", "learn", "pace", "sink", "serve"}
    assert {role for role, topic in TOPICS.items() if "you" in topic.writers} == {"impressions", "clicks", "campaigns"}
    for topic in TOPICS.values():
        assert {*topic.writers, *topic.readers} <= workers | {"you", "your bidder", "clickfold rejects redrive"}


@pytest.mark.parametrize("name", ["impression", "click", "campaign"])
def test_fields_a_schema_requires_are_those_decoding_cannot_do_without(name: str) -> None:
    (definition,) = (one for title, one in published(name)["$defs"].items() if title.lower() == name)
    examples: dict[str, object] = {"ts": 946_684_800_000, "version": 1, "status": "paused", "pacing": "asap"}
    whole = {field: examples.get(field, 1 if "micros" in field else "x") for field in definition["required"]}
    assert takes(name, whole)
    for field in definition["required"]:
        assert not takes(name, {other: value for other, value in whole.items() if other != field}), field
    assert all(takes(name, {**whole, field: None}) for field in definition["properties"] if field not in whole)
    assert takes(name, {**whole, "of_tomorrow": {}})
    assert "additionalProperties" not in definition


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [("ts", "minimum", "maximum"), ("price_micros", "minimum", "maximum"), ("impression_id", "minLength", "maxLength")],
)
def test_bounds_a_schema_states_are_those_decoding_enforces(field: str, low: str, high: str) -> None:
    stated = published("impression")["$defs"]["Impression"]["properties"][field]
    inside, outside = (stated[low], stated[high]), (stated[low] - 1, stated[high] + 1)
    if stated["type"] == "string":
        assert all(takes("impression", {**IMPRESSION, field: "i" * length}) for length in inside)
        assert not any(takes("impression", {**IMPRESSION, field: "i" * length}) for length in outside)
    else:
        assert all(takes("impression", {**IMPRESSION, field: value}) for value in inside)
        assert not any(takes("impression", {**IMPRESSION, field: value}) for value in outside)

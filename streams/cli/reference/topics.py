"""`reference/topics.md`: every topic with its configuration and the fields of its records, from the types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import inspect

from schemas.events import MAX_RECORD_BYTES
from schemas.generate import KINDS, Kind, field_texts, prose_of, structs, unit_of
from schemas.pacing import STATES
from schemas.rejects import Reason
from schemas.topics import DAY_MS, TOPICS, Topic, topic_name
from schemas.totals import DIMENSIONS, MEASURES, CampaignTotal
from streams.cli.reference.markdown import NONE, code, codes, page, prose, table

_PARTITIONS: Final = {
    "join": "as many as the inputs: `clickfold init --partitions`",
    "campaign": "as many as the inputs; keyed by campaign with murmur2",
    "shard": "one a model shard: `clickfold init --shards`",
    "one": "one",
}
_SUFFIXES: Final = {"_micros": "millionths of the currency", "_nano": "billionths", "_ms": "ms", "_bytes": "bytes"}
_SIMPLE: Final[dict[type, str]] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.BytesType: "base64 string",
}


def topics_page() -> str:
    """The page."""
    rows = [(f"[`{topic_name(role)}`](#{_anchor(role)})", t.writer, ", ".join(t.readers)) for role, t in TOPICS.items()]
    kinds = {kind.role: (name, kind) for name, kind in KINDS.items()}
    return page(
        "Topics and fields",
        "Records are JSON. Only totals are MessagePack, of the same structure. Topics are named by "
        "`CLICKFOLD_TOPIC_PREFIX` (`ads.`) and their role. Unknown fields are passed over, except in totals, which are "
        "refused; an optional field may be absent or null; a record of yours has at most "
        f"{MAX_RECORD_BYTES // 1024} KiB. JSON Schemas of all records are in the folder `schemas/json`.",
        table(("topic", "written by", "read by"), rows),
        *(part for role, topic in TOPICS.items() for part in _topic(topic, *kinds[role])),
    )


def _anchor(role: str) -> str:
    return topic_name(role).replace(".", "")


def _topic(topic: Topic, name: str, kind: Kind) -> Iterator[str]:
    yield f"## {topic_name(topic.role)}"
    key = kind.key if kind.key == "none" else code(kind.key) if kind.key.isidentifier() else kind.key
    facts = [
        f"key: {key}",
        *(["value: MessagePack"] if kind.packed else []),
        f"partitions: {_PARTITIONS[topic.partitions]}",
        f"kept: {_kept(topic)}",
        f"JSON Schema: `schemas/json/{name}.json`",
    ]
    if topic.config.get("message.timestamp.type") == "LogAppendTime":
        facts.insert(3, "Kafka's timestamp: when the broker received the record (`LogAppendTime`)")
    yield "\n".join(f"- {fact}" for fact in facts)
    kinds = structs(kind.type)
    for struct in kinds:
        if len(kinds) > 1:
            yield f"### {struct.__name__}"
        yield prose(prose_of(struct))
        yield table(("field", "type", "required", "unit", "bounds", "meaning"), _fields(struct, packed=kind.packed))
    if topic.role == "rejects":
        yield "Reasons, checked in this order; the first that holds is given:"
        texts = field_texts(Reason)
        yield table(("reason", "meaning"), ((code(each.value), texts[each.name]) for each in Reason))
    if topic.role == "pacing":
        yield "States:"
        yield table(("state", "meaning"), ((code(state), text) for state, text in STATES.items()))
    if topic.role == "totals":
        yield f"Dimensions, in this order: {codes(DIMENSIONS)}."
        yield "Measures, in this order; each is a sum over the minute and the dimensions:"
        texts, units = field_texts(CampaignTotal), {f.name: _unit(f) for f in msgspec.structs.fields(CampaignTotal)}
        minutes = {name: texts[name].replace("quarter", "minute") for name in MEASURES}
        yield table(("measure", "unit", "meaning"), ((code(m), units[m], minutes[m]) for m in MEASURES))


def _kept(topic: Topic) -> str:
    if topic.config.get("cleanup.policy") == "compact":
        return "the latest record of each key (compacted)"
    if topic.config["retention.ms"] == "-1":
        return "for ever"
    return f"{int(topic.config['retention.ms']) // DAY_MS} days"


def _fields(struct: type, *, packed: bool) -> Iterator[tuple[str, ...]]:
    texts = field_texts(struct)
    config = getattr(struct, "__struct_config__", None)
    if config is not None and config.tag is not None:
        kind = "integer" if isinstance(config.tag, int) else "string"
        yield code(config.tag_field), kind, "yes", NONE, code(str(config.tag)), "Kind of the record."
    for field in msgspec.structs.fields(struct):
        info = inspect.type_info(field.type)
        required = "yes" if field.required else NONE
        yield (
            code(field.encode_name),
            type_text(info, packed=packed),
            required,
            _unit(field),
            _bounds(info),
            texts[field.name],
        )


def _unit(field: msgspec.structs.FieldInfo) -> str:
    named = (unit for suffix, unit in _SUFFIXES.items() if field.name.endswith(suffix))
    return unit_of(field.type) or next(named, NONE)


def type_text(info: inspect.Type, *, packed: bool = False) -> str:
    """The type of a value in JSON, or in MessagePack, in a reader's words."""
    info = _bare(info)
    if packed and isinstance(info, inspect.BytesType):
        return "bytes"
    if isinstance(info, inspect.UnionType):
        return " or ".join(type_text(each) for each in info.types if not isinstance(each, inspect.NoneType))
    if isinstance(info, inspect.LiteralType):
        return "string"
    if isinstance(info, inspect.EnumType):
        return "string"
    if isinstance(info, inspect.ListType):
        of = type_text(info.item_type, packed=packed)
        return f"list of {of.removesuffix('s')}s" if not of.startswith("object") else f"list of {of}"
    if isinstance(info, inspect.DictType):
        return "object"
    if isinstance(info, inspect.StructType):
        return f"object, [{info.cls.__name__}](#{info.cls.__name__.lower()})"
    return _SIMPLE[type(info)]


def _bounds(info: inspect.Type) -> str:
    info = _bare(info)
    if isinstance(info, inspect.UnionType):
        return next((found for each in info.types if (found := _bounds(each))), NONE)
    if isinstance(info, inspect.LiteralType):
        return codes(info.values)
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return _span(info.ge, info.le)
    if isinstance(info, inspect.StrType):
        return _span(info.min_length, info.max_length, " characters")
    if isinstance(info, inspect.DictType):
        return _span(info.min_length, info.max_length, " entries")
    return NONE


def _span(low: Any, high: Any, of: str = "") -> str:
    low, high = (int(each) if isinstance(each, float) and each.is_integer() else each for each in (low, high))
    if low is None and high is None:
        return NONE
    if high is None:
        return f"from {low:,}{of}"
    return f"at most {high:,}{of}" if low is None else f"{low:,} to {high:,}{of}"


def _bare(info: inspect.Type) -> inspect.Type:
    return _bare(info.type) if isinstance(info, inspect.Metadata) else info

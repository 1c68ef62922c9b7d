"""`python -m schemas.generate`: writes schemas/json, one JSON Schema for each kind of record, from the types.

The types are the source. The files are for programs in other languages that produce or read the topics, and show a
change of the wire format in a diff.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from msgspec.inspect import ListType, Metadata, StructType, Type, UnionType

from schemas.campaigns import CampaignChange
from schemas.events import Campaign, Click, Impression
from schemas.models import ModelChoice, ModelManifest, ModelMetrics
from schemas.outcomes import Outcome
from schemas.pacing import PacingDecision
from schemas.packed import PackedCampaignTotals, PackedMinuteTotals
from schemas.rejects import Redriven, Rejected
from schemas.seals import SealRecord
from schemas.topics import topic_name
from schemas.totals import Ledger

FOLDER: Final = Path(__file__).parent / "json"


class Kind(NamedTuple):
    """A type, the role of its topic, what the key of a record is, and whether the value is in MessagePack."""

    type: Any
    role: str
    key: str
    packed: bool = False


KINDS: Final = {
    "impression": Kind(Impression, "impressions", "impression_id"),
    "click": Kind(Click, "clicks", "impression_id"),
    "campaign": Kind(Campaign, "campaigns", "campaign_id"),
    "campaign_change": Kind(CampaignChange, "campaign_history", "campaign_id"),
    "outcome": Kind(Outcome, "outcomes", "model shard"),
    "minute_totals": Kind(PackedMinuteTotals, "totals", "minute", packed=True),
    "campaign_totals": Kind(PackedCampaignTotals, "campaign_totals", "quarter", packed=True),
    "ledger": Kind(Ledger, "ledger", "join_partition"),
    "rejected": Kind(Rejected, "rejects", "none"),
    "redriven": Kind(Redriven, "redriven", "none"),
    "pacing_decision": Kind(PacingDecision, "pacing", "campaign_id"),
    "seal_record": Kind(SealRecord, "seals", "partition"),
    "model": Kind(ModelManifest | ModelChoice, "models", "model, shard and place"),
    "model_metrics": Kind(ModelMetrics, "model_metrics", "model, shard, window and slice"),
}


def schema_text(name: str) -> bytes:
    """The content of one file, for a name of `KINDS`: the same types give the same bytes, with a newline at the end."""
    kind = KINDS[name]
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Value of {topic_name(kind.role)}{', in MessagePack' * kind.packed}; key: {kind.key}",
    }
    whole = {**head, **msgspec.json.schema(kind.type)}
    if kind.packed:
        # There bytes are bytes.
        whole = _without(whole, "contentEncoding")
    described = {struct.__name__: _descriptions(struct) for struct in structs(kind.type)}
    for title, definition in whole["$defs"].items():
        if "description" in definition:
            definition["description"] = flowing(definition["description"])
        for field, text in described.get(title, {}).items():
            definition["properties"][field]["description"] = text
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _without(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, name) for key, each in value.items() if key != name}
    return [_without(each, name) for each in value] if isinstance(value, list) else value


def _descriptions(kind: type) -> dict[str, str]:
    texts = field_texts(kind)
    units = {field.name: unit_of(field.type) for field in msgspec.structs.fields(kind)}
    return {name: f"{text} Unit: {units[name]}." if units[name] else text for name, text in texts.items()}


def unit_of(annotation: Any) -> str:
    """The unit that the type of a field states; empty where it states none."""
    kind = msgspec.inspect.type_info(annotation)
    metadata = [info for info in _types(kind, in_structs=False) if isinstance(info, Metadata)]
    return next((str(info.extra["unit"]) for info in metadata if info.extra), "")


def structs(kind: Any) -> list[type]:
    """The struct types in a type, outer ones first; those of a union in its order."""
    infos = _types(msgspec.inspect.type_info(kind))
    # A dict keeps the order, and each type once.
    return list(dict.fromkeys(info.cls for info in infos if isinstance(info, StructType)))


def _types(info: Type, *, in_structs: bool = True) -> Iterator[Type]:
    yield info
    if isinstance(info, Metadata):
        yield from _types(info.type, in_structs=in_structs)
    elif isinstance(info, UnionType):
        for member in info.types:
            yield from _types(member, in_structs=in_structs)
    elif isinstance(info, ListType):
        yield from _types(info.item_type, in_structs=in_structs)
    elif isinstance(info, StructType) and in_structs:
        for field in info.fields:
            yield from _types(field.type)


def field_texts(kind: type) -> dict[str, str]:
    """What each field of a class, or each member of an enumeration, means: the string below it in the source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for field, below in itertools.pairwise(tree.body):
        target: ast.expr | None = field.target if isinstance(field, ast.AnnAssign) else None
        if isinstance(field, ast.Assign):
            target = field.targets[0]
        text = below.value if isinstance(below, ast.Expr) else None
        if isinstance(target, ast.Name) and isinstance(text, ast.Constant) and isinstance(text.value, str):
            texts[target.id] = flowing(text.value)
    return texts


def prose_of(kind: type) -> str:
    """The docstring of a type, as it is in the source."""
    return inspect.getdoc(kind) or ""


def flowing(docstring: str) -> str:
    """Paragraphs of one line each, without the line breaks of the source."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def main() -> None:
    """Writes all files."""
    FOLDER.mkdir(exist_ok=True)
    for name in KINDS:
        (FOLDER / f"{name}.json").write_bytes(schema_text(name))


if __name__ == "__main__":
    main()

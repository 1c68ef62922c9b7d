"""`python -m schemas.generate`: writes schemas/json, one JSON Schema for each kind of record, from the types.

The types are the source; these files are for whoever produces or reads the topics in another language, or wants to
see a change of the wire format in a diff.
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

from schemas.events import Campaign, Click, Impression
from schemas.models import ModelMetrics, ModelVersion
from schemas.outcomes import Outcome
from schemas.pacing import PacingDecision
from schemas.rejects import Rejected
from schemas.seals import SealRecord
from schemas.topics import topic_name
from schemas.totals import CampaignTotal, Ledger, MinuteTotals

FOLDER: Final = Path(__file__).parent / "json"


class Kind(NamedTuple):
    """A type, the role of the topic that carries it, and what the record's key is."""

    type: Any
    role: str
    key: str


KINDS: Final = {
    "impression": Kind(Impression, "impressions", "impression_id"),
    "click": Kind(Click, "clicks", "impression_id"),
    "campaign": Kind(Campaign, "campaigns", "campaign_id"),
    "outcome": Kind(Outcome, "outcomes", "model shard"),
    "minute_totals": Kind(MinuteTotals, "totals", "minute"),
    "campaign_total": Kind(CampaignTotal, "campaign_totals", "campaign_id"),
    "ledger": Kind(Ledger, "ledger", "join_partition"),
    "rejected": Kind(Rejected, "rejects", "none"),
    "pacing_decision": Kind(PacingDecision, "pacing", "campaign_id"),
    "seal_record": Kind(SealRecord, "seals", "partition"),
    "model_version": Kind(ModelVersion, "models", "model and shard"),
    "model_metrics": Kind(ModelMetrics, "model_metrics", "model, shard, window and slice"),
}


def schema_text(name: str) -> bytes:
    """The file of one of `KINDS`: the same bytes for the same types, with a newline at the end."""
    kind = KINDS[name]
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Value of {topic_name(kind.role)}; key: {kind.key}",
    }
    whole = {**head, **msgspec.json.schema(kind.type)}
    described = {struct.__name__: _descriptions(struct) for struct in structs(kind.type)}
    for title, definition in whole["$defs"].items():
        if "description" in definition:
            definition["description"] = flowing(definition["description"])
        for field, text in described.get(title, {}).items():
            definition["properties"][field]["description"] = text
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _descriptions(kind: type) -> dict[str, str]:
    texts = field_texts(kind)
    units = {field.name: unit_of(field.type) for field in msgspec.structs.fields(kind)}
    return {name: f"{text} Unit: {units[name]}." if units[name] else text for name, text in texts.items()}


def unit_of(annotation: Any) -> str:
    """The unit a field's type carries; empty where it carries none, and its name or text says it."""
    infos = _types(msgspec.inspect.type_info(annotation))
    return next((str(i.extra["unit"]) for i in infos if isinstance(i, msgspec.inspect.Metadata) and i.extra), "")


def structs(kind: Any) -> list[type]:
    """The struct types a value is made of, the outer ones first; tagged types in the order of their union."""
    found: dict[type, None] = {}
    for each in _types(msgspec.inspect.type_info(kind)):
        if isinstance(each, msgspec.inspect.StructType):
            found[each.cls] = None
    return list(found)


def _types(info: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    yield info
    if isinstance(info, msgspec.inspect.Metadata):
        yield from _types(info.type)
    elif isinstance(info, msgspec.inspect.UnionType):
        for each in info.types:
            yield from _types(each)
    elif isinstance(info, msgspec.inspect.StructType):
        for field in info.fields:
            yield from _types(field.type)


def field_texts(kind: type) -> dict[str, str]:
    """What each field of a class, or each member of an enumeration, holds: the string below it in the source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in itertools.pairwise(tree.body):
        target: ast.expr | None = field.target if isinstance(field, ast.AnnAssign) else None
        if isinstance(field, ast.Assign):
            target = field.targets[0]
        said = below.value if isinstance(below, ast.Expr) else None
        if isinstance(target, ast.Name) and isinstance(said, ast.Constant) and isinstance(said.value, str):
            found[target.id] = flowing(said.value)
    return found


def prose_of(kind: type) -> str:
    """A type's docstring as it stands in the source."""
    return inspect.getdoc(kind) or ""


def flowing(docstring: str) -> str:
    """Paragraphs of one line each: where our source wraps is nobody else's business."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def main() -> None:
    """Writes all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name in KINDS:
        (FOLDER / f"{name}.json").write_bytes(schema_text(name))


if __name__ == "__main__":
    main()

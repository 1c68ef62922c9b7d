"""`python -m schemas.generate`: writes schemas/json, one JSON Schema for each kind of record, from the types.

The types are the source; these files are for whoever produces or reads the topics in another language, or wants to
see a change of the wire format in a diff.
"""

from __future__ import annotations

import inspect
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
    for definition in whole["$defs"].values():
        if "description" in definition:
            definition["description"] = _flowing(definition["description"])
    return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _flowing(docstring: str) -> str:
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

"""Models that learned a little, and their records."""

from __future__ import annotations

from typing import Any

from online_models.kinds import new_model
from online_models.mixture.row_model import RowModel
from online_models.mixture.rows import HASH_VERSION
from online_models.mixture.settings import MixtureSettings
from online_models.publishing import model_records
from schemas.models import MODEL_FORMAT, ModelManifest
from schemas.records import Out
from tests.models.clicks import examples, rows_of

SMALL = MixtureSettings(slot_bits=10, pair_bits=12)


def learned(count: int, /, *, kind: str = "mixture", seed: int = 1) -> RowModel:
    """A small model of this kind that has learned so many rows."""
    model = new_model(kind, SMALL)
    model.run(rows_of(examples(count, seed=seed), model.known))
    return model


def manifest_of(learner: RowModel, version: int, /, **changes: Any) -> ModelManifest:
    """A manifest of model ctr shard 0, but for its parts."""
    usual: dict[str, Any] = {
        "format": MODEL_FORMAT,
        "model": "ctr",
        "shard": 0,
        "version": version,
        "next_offset": version,
        "event_ms": 1_700_000_000_000,
        "kind": learner.kind,
        "hash_version": HASH_VERSION,
        "settings": learner.config(),
        "parts": 1,
        "bytes": 1,
        "digest": "",
    }
    return ModelManifest(**usual | changes)


def records_of(learner: RowModel, version: int, place: str = "even", /, **changes: Any) -> list[Out]:
    """The records of a version."""
    return model_records(manifest_of(learner, version, **changes), learner.snapshot(), place)

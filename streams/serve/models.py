"""The model that serves: the newest whole version of one model and shard, and what it predicts for a call."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from online_models.mixture.candidates import candidate_rows
from online_models.published import PublishedModel, PublishedModels, WholeModel
from schemas.events import Features
from schemas.serving import ModelFacts, PredictCall, merged


class Served:
    """One whole version, ready to predict. It never changes."""

    def __init__(self, model: PublishedModel) -> None:
        manifest = model.manifest
        self.facts = ModelFacts(manifest.model, manifest.shard, manifest.version, manifest.event_ms)
        self._model = model

    def predict(self, call: PredictCall) -> list[float]:
        """The click probability of each candidate in order: to the bit what the learner would predict."""
        model = self._model
        if isinstance(model, WholeModel):
            rows = candidate_rows(call, model.model.known, model.model.selection)
        else:
            rows = model.rows(impressions(call))
        found: list[float] = model.predict(rows).tolist()
        return found


class Models:
    """Takes the records of `ads.models`. `served` is replaced as a whole, so any thread may read it."""

    def __init__(self, model: str, shard: int) -> None:
        self.served: Served | None = None
        self._key = (model, shard)
        self._newest: PublishedModel | None = None
        self._published = PublishedModels((model,))

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Takes a record, in order."""
        self._published.take(key, value)

    def update(self) -> list[str]:
        """Serves the newest whole version of the records taken; a sentence for each that cannot be used."""
        said = self._published.update()
        newest = self._published.current.get(self._key)
        if newest is not None and newest is not self._newest:
            self.served, self._newest = Served(newest), newest
        return said


class _Shown(msgspec.Struct, frozen=True, gc=False):
    """The fields of an impression that a model may see."""

    ts: int
    campaign_id: str
    creative_id: str
    placement: str | None
    country: str | None
    device: str | None
    features: Features


def impressions(call: PredictCall) -> Iterator[_Shown]:
    """What each candidate would be, if it were shown."""
    for each in call.candidates:
        yield _Shown(
            call.ts, each.campaign_id, each.creative_id, call.placement, call.country, call.device, merged(call, each)
        )

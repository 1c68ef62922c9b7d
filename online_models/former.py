"""Models as 0.1 published them: one JSON record of weights. Read until 0.3. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xxhash

from online_models.features import FEATURES_VERSION, Shown, bucket, intercept_index, named_features
from online_models.model import probability
from schemas.errors import BrokenInvariant, StateMismatch
from schemas.models import ModelManifest, ModelVersion


def weights_digest(weights: dict[str, float]) -> str:
    """xxh3-128 of the pairs (index u32, weight f64), little-endian, by ascending index."""
    pairs = sorted((int(index), weight) for index, weight in weights.items())
    return xxhash.xxh3_128_hexdigest(np.array(pairs, np.dtype([("index", "<u4"), ("weight", "<f8")])).tobytes())


def check(version: ModelVersion) -> None:
    """Raises StateMismatch when this program hashes features another way, BrokenInvariant when weights are damaged."""
    named = f"model {version.model} shard {version.shard} version {version.version}"
    if version.features_version != FEATURES_VERSION:
        raise StateMismatch(
            f"{named} hashes features by version {version.features_version}, this program by {FEATURES_VERSION}; "
            "use the program that published it"
        )
    if weights_digest(version.weights) != version.digest:
        raise BrokenInvariant(f"{named}: weights do not match digest {version.digest}; use the next version")


class FormerModel:
    """A sum of weights as a published model. Raises as `check`."""

    def __init__(self, version: ModelVersion) -> None:
        check(version)
        self.manifest = ModelManifest(
            format=1,
            model=version.model,
            shard=version.shard,
            version=version.version,
            next_offset=version.next_offset,
            event_ms=version.event_ms,
            kind="weights",
            hash_version=0,
            settings={"bits": version.bits},
            parts=0,
            bytes=0,
            digest=version.digest,
        )
        self._version = version

    def rows(self, shown: Iterable[Shown]) -> list[Shown]:
        """The impressions themselves."""
        return list(shown)

    def predict(self, rows: list[Shown]) -> np.ndarray:
        """Click probability of each impression."""
        return np.array([self._probability(each) for each in rows])

    def _probability(self, shown: Shown) -> float:
        weights, bits = self._version.weights, self._version.bits
        total = weights.get(str(intercept_index(bits)), 0.0)
        for name, category, value in named_features(shown):
            total += weights.get(str(bucket(name, category, bits)), 0.0) * value
        return probability(total)

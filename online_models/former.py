"""Models as 0.1 published them: one JSON record of weights. Read until 0.3. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
import xxhash

from online_models.features import FEATURES_VERSION, INTERCEPT, Shown, bucket, intercept_index, named_features
from online_models.model import probability
from schemas.errors import BrokenInvariant, StateMismatch
from schemas.models import ModelManifest, ModelVersion

# Weights of one published model. The broker takes records up to 1,048,588 bytes, and an entry has at most 37 bytes: an
# index of 8 digits, a weight of 24, and 5 of punctuation. 25,000 of them are 925,000 bytes.
MAX_WEIGHTS: Final = 25_000


class Contribution(msgspec.Struct, frozen=True):
    """What one feature adds to the log odds: `value * weight`. `category` is empty for a number and the intercept."""

    name: str
    category: str
    value: float
    weight: float


def weights_digest(weights: dict[str, float]) -> str:
    """xxh3-128 of the pairs (index u32, weight f64), little-endian, by ascending index."""
    pairs = sorted((int(index), weight) for index, weight in weights.items())
    return xxhash.xxh3_128_hexdigest(np.array(pairs, np.dtype([("index", "<u4"), ("weight", "<f8")])).tobytes())


def latest(versions: Iterable[ModelVersion]) -> dict[tuple[str, int], ModelVersion]:
    """The highest version of each model and shard, in whatever order they come."""
    highest: dict[tuple[str, int], ModelVersion] = {}
    for version in versions:
        key = (version.model, version.shard)
        if key not in highest or version.version > highest[key].version:
            highest[key] = version
    return highest


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


def contributions(version: ModelVersion, shown: Shown) -> list[Contribution]:
    """What each feature of an impression adds, the intercept first; features without a weight have weight 0."""
    weights = version.weights
    parts = [Contribution(INTERCEPT, "", 1.0, weights.get(str(intercept_index(version.bits)), 0.0))]
    for name, category, value in named_features(shown):
        index = bucket(name, category, version.bits)
        parts.append(Contribution(name, category or "", value, weights.get(str(index), 0.0)))
    return parts


def predict(version: ModelVersion, shown: Shown) -> float:
    """Click probability of an impression: to the bit what the learner would predict, if no weight was left out."""
    margin = 0.0
    for part in contributions(version, shown):
        margin += part.weight * part.value
    return probability(margin)


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
        return np.array([predict(self._version, each) for each in rows])

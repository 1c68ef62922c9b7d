"""Published models: made from weights, chosen among, and asked for a prediction. Pure functions over ModelVersion."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp
from typing import Final

import msgspec
import numpy as np
import xxhash

from online_models.features import FEATURES_VERSION, INTERCEPT, Shown, bucket, intercept_index, named_features
from online_models.ftrl_core import MAX_MARGIN, FtrlCore
from schemas.errors import BrokenInvariant, StateMismatch
from schemas.models import ModelVersion

# The broker takes 1,048,588 bytes. An entry is at most 37: index of 8 digits, weight of 24, five of punctuation;
# 25,000 of them are 925,000.
MAX_WEIGHTS: Final = 25_000


class Contribution(msgspec.Struct, frozen=True):
    """What one feature adds to the log odds: `value * weight`. `category` is empty for a number and the intercept."""

    name: str
    category: str
    value: float
    weight: float


def weights_of(core: FtrlCore) -> dict[str, float]:
    """The weights that are not zero by index, ascending; of more than `MAX_WEIGHTS` those of largest magnitude.

    Equal magnitudes go by index. The intercept is always among them.
    """
    settings = core.settings
    z, n = np.array(core.z), np.array(core.n)
    strength = (settings.beta + np.sqrt(n)) / settings.alpha + settings.l2
    weights = np.where(np.abs(z) > settings.l1, (np.sign(z) * settings.l1 - z) / strength, 0.0)
    weights[core.intercept] = 0.0
    indices = np.flatnonzero(weights)
    if len(indices) >= MAX_WEIGHTS:
        heaviest = np.argsort(-np.abs(weights[indices]), kind="stable")[: MAX_WEIGHTS - 1]
        indices = np.sort(indices[heaviest])
    found = {str(index): float(weights[index]) for index in indices.tolist()}
    found[str(core.intercept)] = core.weight(core.intercept)
    return found


def weights_digest(weights: dict[str, float]) -> str:
    """xxh3-128 of the pairs (index u32, weight f64), little-endian, by ascending index."""
    pairs = sorted((int(index), weight) for index, weight in weights.items())
    return xxhash.xxh3_128_hexdigest(np.array(pairs, np.dtype([("index", "<u4"), ("weight", "<f8")])).tobytes())


def latest(versions: Iterable[ModelVersion]) -> dict[tuple[str, int], ModelVersion]:
    """The highest version of each model and shard, whatever the order they come in."""
    found: dict[tuple[str, int], ModelVersion] = {}
    for version in versions:
        key = (version.model, version.shard)
        if key not in found or version.version > found[key].version:
            found[key] = version
    return found


def check(version: ModelVersion) -> None:
    """Raises StateMismatch when features are hashed otherwise here, BrokenInvariant when weights miss their digest."""
    named = f"model {version.model} shard {version.shard} version {version.version}"
    if version.features_version != FEATURES_VERSION:
        raise StateMismatch(
            f"{named} hashes features by version {version.features_version}, this program by {FEATURES_VERSION}; "
            "use the program that published it"
        )
    if weights_digest(version.weights) != version.digest:
        raise BrokenInvariant(f"{named}: weights do not match digest {version.digest}; take the next version")


def contributions(version: ModelVersion, shown: Shown) -> list[Contribution]:
    """What each feature of an impression adds, the intercept first; features without a weight have weight 0."""
    weights = version.weights
    found = [Contribution(INTERCEPT, "", 1.0, weights.get(str(intercept_index(version.bits)), 0.0))]
    for name, category, value in named_features(shown):
        index = bucket(name, category, version.bits)
        found.append(Contribution(name, category, value, weights.get(str(index), 0.0)))
    return found


def predict(version: ModelVersion, shown: Shown) -> float:
    """Click probability of an impression: to the bit what the learner itself would say, if no weight was left out."""
    margin = 0.0
    for each in contributions(version, shown):
        margin += each.weight * each.value
    return 1.0 / (1.0 + exp(-max(-MAX_MARGIN, min(MAX_MARGIN, margin))))

"""What the learner tells the world: records of `ads.models` and `ads.model_metrics`."""

from __future__ import annotations

import msgspec


class ModelVersion(msgspec.Struct, frozen=True):
    """A published set of weights (`ads.models`, compacted, keyed by model and shard).

    `weights` maps a hashed feature index to its weight, zero ones left out; `next_offset` is the first offset of
    `ads.outcomes` the weights have not seen; `digest` is the xxh3-128 of the canonical weights.
    """

    model: str
    shard: int
    version: int
    next_offset: int
    event_ms: int
    features_version: str
    bits: int
    digest: str
    weights: dict[str, float]


class ModelMetrics(msgspec.Struct, frozen=True):
    """Progressive validation over one window of labelled outcomes (`ads.model_metrics`): predict first, then learn.

    Sums are weighted by the outcomes' weights. `auc` is exact within the window, null when it held one class only;
    `calibration` is predicted over observed clicks, null without clicks. `slice` is 'all' or 'dimension=value'.
    """

    model: str
    shard: int
    version: int
    window_start: int
    window_end: int
    slice: str
    examples: int
    weight: float
    clicks: float
    predicted_clicks: float
    log_loss: float
    auc: float | None
    calibration: float | None

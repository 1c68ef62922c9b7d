"""What the learner publishes: records of `ads.models` and `ads.model_metrics`."""

from __future__ import annotations

import msgspec

from schemas.events import EventMs


class ModelVersion(msgspec.Struct, frozen=True):
    """A published set of weights (`ads.models`, compacted, keyed by model and shard).

    `weights` maps the index of a hashed feature to its weight, without zeros. `next_offset` is the first offset of
    `ads.outcomes` that is not learned yet. `digest` is the xxh3-128 of the canonical weights.
    """

    model: str
    """Name of the model."""
    shard: int
    """Partition of `ads.outcomes` it learns from."""
    version: int
    """It grows with each publication of a model and shard; the highest is the latest."""
    next_offset: int
    """First offset of `ads.outcomes` that the weights have not learned."""
    event_ms: EventMs
    """Event time up to which it has learned."""
    features_version: str
    """Version of the feature hash. Weights mean nothing under another one."""
    bits: int
    """Log2 of the number of buckets features are hashed into."""
    digest: str
    """xxh3-128 of the weights, hex."""
    weights: dict[str, float]
    """Weight by feature index, as text; zero weights are left out."""


class ModelMetrics(msgspec.Struct, frozen=True):
    """Progressive validation over one window of labelled outcomes (`ads.model_metrics`): predict first, then learn.

    Sums are weighted by the weights of the outcomes. `auc` is exact within the window; it is null when the window has
    only clicks or only non-clicks. `calibration` is predicted over observed clicks, null without clicks. `slice` is
    'all' or 'dimension=value'.
    """

    model: str
    """Name of the model."""
    shard: int
    """Partition of `ads.outcomes` it learns from."""
    version: int
    """Version of the model at the end of the window; the highest is valid."""
    window_start: EventMs
    """First moment of the window."""
    window_end: EventMs
    """First moment after the window."""
    slice: str
    """`all`, or `dimension=value`."""
    examples: int
    """Labelled outcomes."""
    weight: float
    """Impressions they stand for."""
    clicks: float
    """Clicks, weighted."""
    predicted_clicks: float
    """Sum of the predictions made before learning, weighted."""
    log_loss: float
    """Nats per unit of weight."""
    auc: float | None
    """Exact within the window; null when it has only clicks or only non-clicks."""
    calibration: float | None
    """Predicted over observed clicks; null without clicks."""

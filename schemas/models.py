"""What the learner publishes: records of `ads.models` and `ads.model_metrics`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.events import EventMs

# The form of a manifest and of the parts it stands for. Raise it when a program that reads this one would be wrong.
MODEL_FORMAT: Final = 2


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="manifest"):
    """A whole version of a model (`ads.models`, compacted), written behind its parts in one transaction.

    Its key is `model/shard/place`, those of its parts `model/shard/place/0` and so on. A part is the
    letters "clkmpart", the format (u32, 1), the xxh3-128 of the rest, then version (u64), number of the part and of all
    parts (u32 each), and bytes. The bytes of all parts together are the model, compressed with zstd. `digest` is the
    xxh3-128 of the model.
    """

    format: int
    """Form of the manifest and of the model, 2. A reader refuses a newer one."""
    model: str
    """Name of the model."""
    shard: int
    """Partition of `ads.outcomes` it learns from."""
    version: int
    """It grows with each publication of a model and shard; the highest is the latest."""
    next_offset: int
    """First offset of `ads.outcomes` that the model has not learned."""
    event_ms: EventMs
    """Event time up to which it has learned."""
    kind: str
    """What learned: `mixture`, `ftrl`, or the dotted name of a River classifier."""
    hash_version: int
    """Version of the hash from an impression to slots. Weights mean nothing under another one."""
    settings: dict[str, Any]
    """The settings of the model."""
    parts: int
    """Number of parts."""
    bytes: int
    """Length of the model, decompressed."""
    digest: str
    """xxh3-128 of the model, decompressed, hex."""
    measures: dict[str, float | None] = {}
    """How good it was over the last day of event time: `weight`, `clicks`, `log_loss`, `ne`, `calibration`."""
    copy_of: int | None = None
    """Version that was published again by `clickfold models rollback`."""


class ModelChoice(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="choice"):
    """Which model a reader of `model` follows (`ads.models`, key `model/shard/choice`); without one, that model.

    `clickfold models rollback` and `promote` write it.
    """

    format: int
    """As in a manifest."""
    model: str
    """Name of the model that is asked for."""
    shard: int
    """Partition of `ads.outcomes`."""
    number: int
    """It grows with each choice of a model and shard; the highest holds."""
    follow: str
    """Name of the model whose versions are served: the same, one of its challengers, or its copy by a rollback."""


class ModelVersion(msgspec.Struct, frozen=True):
    """A published set of weights as 0.1 wrote it (`ads.models`, keyed by model and shard). Read until 0.3.

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
    'all' or 'dimension=value'; 'served' has the predictions that came with impressions (`pctr`), and 'beside served'
    the model's own of the same outcomes.
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
    """`all`, `dimension=value`, `served` or `beside served`."""
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
    ne: float | None = None
    """Normalised entropy: log loss over the entropy of the click rate; null for a rate of 0 or 1."""
    calibration_low: float | None = None
    """Lower 95 % limit of `calibration`, with clicks as Poisson; null without clicks."""
    calibration_high: float | None = None
    """Upper 95 % limit; null without clicks, or where there is none."""
    ece: float = 0.0
    """Expected calibration error: mean distance of predicted and actual rate, over fixed bins."""
    bins: list[list[float]] = []
    """Weight, clicks and predicted clicks by bin of the prediction; of slice `all` only."""
    settings: str = ""
    """Digest of the model's settings."""
    against: str = ""
    """Of a challenger: the model that its losses are compared with, on the same outcomes."""
    against_settings: str = ""
    """Digest of that model's settings."""
    loss_difference: float = 0.0
    """Sum of weight times own loss less that of `against`, nats."""
    weight_squared: float = 0.0
    """Sum of squared weights."""
    loss_products: float = 0.0
    """Sum of squared weight times that difference."""
    loss_squared: float = 0.0
    """Sum of squared weight times squared difference."""

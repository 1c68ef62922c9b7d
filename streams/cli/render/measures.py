"""A model's measures over several windows: sums, and the figures computed from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streams.cli.render.figures import count, decimal


@dataclass(frozen=True, slots=True)
class Measures:
    """Progressive validation of outcomes. All but `examples` are weighted; `loss_nats` is the sum of log losses."""

    examples: int = 0
    weight: float = 0.0
    clicks: float = 0.0
    predicted_clicks: float = 0.0
    loss_nats: float = 0.0

    def __add__(self, other: Measures) -> Measures:
        return Measures(
            self.examples + other.examples,
            self.weight + other.weight,
            self.clicks + other.clicks,
            self.predicted_clicks + other.predicted_clicks,
            self.loss_nats + other.loss_nats,
        )

    @property
    def log_loss(self) -> float | None:
        """Nats per impression; None without any."""
        return self.loss_nats / self.weight if self.weight > 0.0 else None

    @property
    def calibration(self) -> float | None:
        """Predicted over observed clicks; None without clicks."""
        return self.predicted_clicks / self.clicks if self.clicks > 0.0 else None

    @property
    def constant_log_loss(self) -> float | None:
        """Log loss of predicting the observed click rate for everyone: hard to beat, as it is known only afterwards."""
        if not 0.0 < self.clicks < self.weight:
            return None
        rate = self.clicks / self.weight
        return -rate * math.log(rate) - (1.0 - rate) * math.log1p(-rate)

    def figures(self) -> list[str]:
        """Examples, clicks, predicted clicks, calibration and log loss, as every table of a model shows them."""
        return [
            count(self.examples),
            decimal(self.clicks, 0),
            decimal(self.predicted_clicks, 1),
            decimal(self.calibration, 2),
            decimal(self.log_loss, 5),
        ]

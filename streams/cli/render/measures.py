"""Measures of a model over several windows: sums, and the figures computed from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streams.cli.render.figures import count, decimal


@dataclass(frozen=True, slots=True)
class Measures:
    """Sums of progressive validation. All but `examples` are weighted; `loss_nats` is the sum of log losses."""

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
        """Nats for each impression; None without impressions."""
        return self.loss_nats / self.weight if self.weight > 0.0 else None

    @property
    def calibration(self) -> float | None:
        """Predicted clicks divided by observed ones; None without clicks."""
        return self.predicted_clicks / self.clicks if self.clicks > 0.0 else None

    @property
    def constant_log_loss(self) -> float | None:
        """Log loss when the observed click rate is predicted for every impression; None without clicks or only clicks.

        It is hard to beat, because the observed rate is known only afterwards.
        """
        if not 0.0 < self.clicks < self.weight:
            return None
        rate = self.clicks / self.weight
        return -rate * math.log(rate) - (1.0 - rate) * math.log1p(-rate)

    def figures(self) -> list[str]:
        """The columns that every table of a model has: examples, clicks, predicted clicks, calibration, log loss."""
        return [
            count(self.examples),
            decimal(self.clicks, 0),
            decimal(self.predicted_clicks, 1),
            decimal(self.calibration, 2),
            decimal(self.log_loss, 5),
        ]

"""Two models on the same examples: the difference of their losses, and an interval that is right at every look."""

from __future__ import annotations

from math import inf, log

import msgspec
import numpy as np
from numpy.typing import NDArray

from online_models.anytime import half_width, p_value

# A prediction of exactly 0 or 1 must not decide alone; see `metrics`.
_SMALLEST = 1e-15


class Paired(msgspec.Struct, frozen=True):
    """Sums over examples: of weights w, and of w·d, w², w²·d and w²·d², where d is own loss less the other's.

    Sums of several windows add up.
    """

    examples: int = 0
    weight: float = 0.0
    loss: float = 0.0
    weight_squared: float = 0.0
    loss_products: float = 0.0
    loss_squared: float = 0.0

    def __add__(self, other: Paired) -> Paired:
        return Paired(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))

    @property
    def difference(self) -> float:
        """The mean difference in nats an impression; below 0 the own model is better."""
        return self.loss / self.weight if self.weight else 0.0

    @property
    def variance(self) -> float:
        """Of that difference: the variance of a weighted mean of independent examples."""
        if not self.weight:
            return inf
        mean = self.difference
        squares = self.loss_squared - 2.0 * mean * self.loss_products + mean * mean * self.weight_squared
        return max(0.0, squares) / self.weight**2

    def interval(self) -> tuple[float, float]:
        """A 95 % confidence sequence of the difference: it holds at all looks together. See `anytime.half_width`."""
        if self.examples < 2:
            return -inf, inf
        half = half_width(self.variance, self.examples)
        return self.difference - half, self.difference + half

    def p_value(self) -> float:
        """The always-valid p-value of no difference."""
        return p_value(self.difference, self.variance, self.examples) if self.examples >= 2 else 1.0


def paired(
    own: NDArray[np.float64], other: NDArray[np.float64], *, labels: NDArray[np.int8], weights: NDArray[np.float64]
) -> Paired:
    """The sums of these examples. Logarithms are libm's, because numpy's depend on the CPU."""
    columns = zip(own.tolist(), other.tolist(), labels.tolist(), strict=True)
    losses = np.array([_loss(p, label) - _loss(q, label) for p, q, label in columns])
    squared = weights * weights
    return Paired(
        len(labels),
        float(weights.sum()),
        float((weights * losses).sum()),
        float(squared.sum()),
        float((squared * losses).sum()),
        float((squared * losses * losses).sum()),
    )


def _loss(p: float, label: int) -> float:
    return -log(max(p if label else 1.0 - p, _SMALLEST))

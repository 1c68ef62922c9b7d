"""What a model of click probability is, and how to add one.

A model gives the click probability of an impression from its hashed features, and learns from labelled examples, one at
a time. Everything around that is the same for every model: which features it is given (`features`), the order of the
examples, the metrics, publishing and snapshots (`learner`).

To add a model:

1. Write a class with the methods of `Model`, in a file of its own. `ftrl_core.FtrlCore` is the first one.
2. Make it in `settings.LearnerSettings.new_model`. Every setting that decides what it learns belongs to
   `LearnerSettings.digest`, so that a snapshot of other settings is refused.
3. Add it to `MODELS` in tests/test_models.py. The tests there hold it to every promise below.

A published model is a linear one: log odds are the sum of weight times value over the features, and `published.predict`
computes the probability from that. A model of another form needs another record than `schemas.models.ModelVersion`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp
from typing import Final, Protocol

# Log odds are limited to +- this. There 1 - p is 6.7e-16; from 37 on a double rounds p to 1, and log(1 - p) is log(0).
MAX_MARGIN: Final = 35.0

# Index and value of each feature but the intercept; an index may come twice, then its contributions add up.
HashedFeatures = Iterable[tuple[int, float]]


class Model(Protocol):
    """A model of click probability.

    It is deterministic: the same examples in the same order give the same predictions and the same `columns`, to the
    bit, after any number of restarts. It takes no clock and no randomness.
    """

    @property
    def nbytes(self) -> int:
        """Bytes of memory the model takes. The state budget of the worker counts them."""
        ...

    @property
    def column_count(self) -> int:
        """The number of `columns`: always the same, also after `restore`."""
        ...

    def predict(self, features: HashedFeatures) -> float:
        """Click probability of an impression, strictly between 0 and 1. Changes nothing."""
        ...

    def learn(self, features: HashedFeatures, label: int, weight: float) -> float:
        """Learns one example and returns the probability *before* it was learned: exactly what `predict` would return.

        `label` is 1 for a click and 0 for none. `weight` is above 0 and finite; the example stands for that many equal
        ones.
        """
        ...

    def columns(self) -> list[bytes]:
        """The whole state, canonical: equal states give equal bytes, whatever led to them. Little-endian."""
        ...

    def restore(self, columns: Sequence[bytes]) -> None:
        """Takes `columns` of a model with the same settings, in place of what it has learned."""
        ...

    def weights(self, most: int) -> dict[str, float]:
        """The weights to publish: index in decimal digits to weight, by ascending index, without zeros.

        At most `most` of them: the intercept, which is always there, and the largest by magnitude; of equal ones those
        with the lowest index.
        """
        ...


def probability(margin: float) -> float:
    """The click probability of log odds, strictly between 0 and 1."""
    return 1.0 / (1.0 + exp(-max(-MAX_MARGIN, min(MAX_MARGIN, margin))))

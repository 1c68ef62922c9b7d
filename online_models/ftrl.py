"""FTRL-proximal as a River estimator: `ftrl_core` with feature names in place of hashed indices.

River's own `optim.FTRLProximal` (0.26.1) predicts with weights one step old and never returns a weight to zero.
Importing this module imports River (2.3 s, 117 MB), so the learner never imports it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from river import base
from river.base.typing import ClfTarget

from online_models.ftrl_core import FtrlCore, FtrlSettings

_INTERCEPT = 0


class FTRLClassifier(base.Classifier):
    """Binary logistic regression learned by FTRL-proximal (McMahan et al., KDD 2013).

    Parameters
    ----------
    alpha, beta
        Learning rate of a coordinate: `alpha / (beta + sqrt(n))`.
    l1, l2
        Penalties; a weight whose evidence stays within `l1` is exactly zero. The intercept has no penalty.
    prior
        Probability predicted before anything was learned.

    Feature values are numbers; a bool counts as 0 or 1. A value of zero is not learned and takes no memory.

    Examples
    --------
    >>> model = FTRLClassifier(alpha=0.5, l1=0.0)
    >>> for _ in range(100):
    ...     model.learn_one({"sunny": 1.0}, True)
    ...     model.learn_one({"rainy": 1.0}, False)
    >>> model.predict_proba_one({"sunny": 1.0})[True] > 0.8
    True

    """

    def __init__(
        self, alpha: float = 0.05, beta: float = 1.0, l1: float = 0.0, l2: float = 1.0, prior: float = 0.5
    ) -> None:
        self.alpha = alpha
        self.beta = beta
        self.l1 = l1
        self.l2 = l2
        self.prior = prior
        settings = FtrlSettings(alpha=alpha, beta=beta, l1=l1, l2=l2, prior=prior)
        self._core = FtrlCore(settings, size=1, intercept=_INTERCEPT)
        self._index: dict[Hashable, int] = {}

    def learn_one(self, x: dict[Hashable, Any], y: ClfTarget, w: float = 1.0) -> None:
        """Learns one example that stands for `w` equal ones; `y` is True or 1 for the positive class."""
        features = []
        for name, value in x.items():
            if value:
                index = self._index.get(name)
                if index is None:
                    index = self._index[name] = self._core.grow()
                features.append((index, float(value)))
        self._core.learn(features, 1 if y else 0, w)

    def predict_proba_one(self, x: dict[Hashable, Any], **_: Any) -> dict[ClfTarget, float]:
        """Probability of each label; features that were never learned are ignored."""
        index = self._index
        p = self._core.predict((index[name], float(value)) for name, value in x.items() if name in index)
        return {False: 1.0 - p, True: p}

    @property
    def weights(self) -> dict[Hashable, float]:
        """The weights that are not zero, by feature."""
        weights = {name: self._core.weight(index) for name, index in self._index.items()}
        return {name: weight for name, weight in weights.items() if weight}

    @property
    def intercept(self) -> float:
        """The log odds of an example without features."""
        return self._core.weight(_INTERCEPT)

"""Small runs of the learner's kernels: all of them between canaries and with each index checked (`test_kernels`)."""

from __future__ import annotations

import numpy as np
import pytest

from online_models.mixture.model import Mixture
from online_models.mixture.plain import Ftrl
from online_models.mixture.row_model import RowModel
from online_models.mixture.settings import MixtureSettings
from tests.models.clicks import examples, rows_of

TINY = MixtureSettings(slot_bits=8, pair_bits=8, delay_ms=20_000)


@pytest.mark.parametrize("model", [Mixture, Ftrl])
def test_a_small_model_predicts_every_row_within_its_arrays(model: type[RowModel]) -> None:
    """With so few slots most categories share one, and pairs are chosen anew twice."""
    made, found = model(TINY), examples(4_100)
    for start in range(0, len(found), 700):
        predicted = made.run(rows_of(found[start : start + 700], made.known))
        assert ((predicted > 0.0) & (predicted < 1.0) & np.isfinite(predicted)).all()
    assert made.waiting == 20

"""A running hash over examples and their predictions: learners with equal trails learned the same in the same order."""

from __future__ import annotations

import numpy as np

from online_models.mixture.hashing import mixed, paired
from schemas.compiled import kernel, read, written


@kernel(written("u8"), read("u8"), read("u8"))
def follow(trail: np.ndarray, offsets: np.ndarray, bits: np.ndarray) -> None:
    """Takes the offset of each example and the bits of its prediction into `trail[0]`."""
    found = trail[0]
    for row in range(len(offsets)):
        found = paired(paired(found, mixed(offsets[row])), bits[row])
    trail[0] = found

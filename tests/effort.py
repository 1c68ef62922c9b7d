"""How much of a proof by many seeds is tried: TRIES in the environment, a share of all; without it, all of them.

`make check` tries a tenth, `make test` two fifths, `make proofs` all.
"""

from __future__ import annotations

import math
import os
from typing import Final

_SHARE: Final = float(os.environ.get("TRIES", "1"))
# What is rare does not come in so few seeds, and what takes long is left out.
SHORT: Final = _SHARE < 0.3


def tries(number: int) -> int:
    """`number`, or the share of it that is to be tried, rounded up."""
    return math.ceil(number * _SHARE)

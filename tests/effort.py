"""How long a proof by many seeds takes: SHORT=1 in the environment tries a tenth of them, as `make check` does."""

from __future__ import annotations

import os
from typing import Final

SHORT: Final = os.environ.get("SHORT", "0") != "0"


def tries(number: int) -> int:
    """`number`, or a tenth of it, rounded up, when the proof is to be short."""
    return -(-number // 10) if SHORT else number

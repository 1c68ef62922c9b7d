"""What a model of click probability is, how to add one, and the scale that all of them share.

A model is a `mixture.row_model.RowModel`: it is given batches of rows, which were read from bytes once, and predicts
each row before it learns it. It promises:

- It is deterministic. The same rows in the same order give the same predictions and the same state, to the bit, in
  batches of any size and after any number of restarts. It takes no clock and no randomness.
- `predict` gives to the bit what `run` would give first, and changes nothing.
- `snapshot` has the whole state as plain arrays of numbers: equal states give equal bytes, and nothing of it is run.
- `config` has all settings that decide what it learns; a snapshot of other settings is refused.
- A prediction is strictly between 0 and 1.

To add a model:

1. Write a class with the methods of `RowModel`, in a file of its own, with a `kind` of its own. `mixture.plain.Ftrl` is
   the shortest. A step that is compiled is a kernel (`schemas.compiled`).
2. Add it to `KINDS` in `kinds`. It can then be named in the TOML, as a challenger too, and is published and read.
3. Add it to `KINDS` in tests/test_kinds.py: the tests there hold it to every promise above.
"""

from __future__ import annotations

from math import exp
from typing import Final

# Log odds are limited to +- this. There 1 - p is 6.7e-16; from 37 on a double rounds p to 1, and log(1 - p) is log(0).
MAX_MARGIN: Final = 35.0


def probability(margin: float) -> float:
    """The click probability of log odds, strictly between 0 and 1."""
    return 1.0 / (1.0 + exp(-max(-MAX_MARGIN, min(MAX_MARGIN, margin))))

"""Sizes so small that a dozen records fill segments and tables, begin journals anew and cut trails into blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import streams.join.index
import streams.join.store
import streams.join.totals.journal
import streams.join.trail


@contextmanager
def small_sizes() -> Iterator[None]:
    """Within the block, joins made work at these sizes; what they decide must not change.

    Never of a kernel: one that is compiled meanwhile, and kept for later processes, would have the size in it.
    """
    with ExitStack() as stack:
        for module, name, value in (
            (streams.join.store, "ROW_BITS", 2),
            (streams.join.store, "SEGMENT_ROWS", 4),
            (streams.join.trail, "BLOCK_RECORDS", 3),
            (streams.join.index, "SMALLEST_ROWS", 6),
            (streams.join.index, "TABLE_POSITIONS", 24),
            (streams.join.totals.journal, "_SMALL_BYTES", 300),
            (streams.join.totals.journal, "_WASTE", 1),
        ):
            stack.enter_context(patch.object(module, name, value))
        yield

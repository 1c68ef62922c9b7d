"""Marks of lines: which were ever written, and which a checkpoint writes in its turn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.mixture.marks import Marks
from online_models.turns import EVERYTHING, TURNS, Turn

LINES = st.sets(st.integers(0, 40))


def marked(marks: Marks, lines: set[int]) -> None:
    """As the kernels do it."""
    for line in lines:
        marks.unsaved[line >> 3] |= 1 << (line & 7)


@pytest.mark.parametrize("count", [41, 48])
@given(LINES, LINES, LINES)
def test_a_checkpoint_writes_what_changed_and_its_part_of_what_was_ever_written(
    count: int, before: set[int], restored: set[int], after: set[int]
) -> None:
    marks = Marks(count)
    marked(marks, before)
    marks.saved()
    marks.add_saved(np.array(sorted(restored), np.int64))
    marked(marks, after)
    ever = before | restored | after
    assert marks.used().tolist() == marks.due(EVERYTHING).tolist() == sorted(ever)
    for part in range(TURNS):
        assert marks.due(Turn(part)).tolist() == sorted(
            after | {line for line in before | restored if line % TURNS == part}
        )
    marks.clear()
    assert not len(marks.used())

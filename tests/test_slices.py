"""Slices are the strings of their spans, however these lie in the buffer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kernels.slices import MARGIN, Slices


@given(st.lists(st.binary(max_size=5) | st.none(), max_size=8))
def test_strings_are_the_same_at_once_and_one_by_one(values: list[bytes | None]) -> None:
    slices = Slices.of(values)
    places = np.arange(len(values))[::-1][::2].copy()
    for part in (slices, slices[1:], slices.at(places)):
        assert list(part) == [part[place] for place in range(len(part))]
    assert list(slices) == values
    assert list(slices.at(places)) == [values[place] for place in places]


@pytest.mark.parametrize("between", [0, 3, 1_000])
def test_strings_far_from_each_other_are_not_copied_together(between: int) -> None:
    buffer = np.zeros(2 * between + 4 + MARGIN, np.uint8)
    spans = np.array([[between + 2, 2], [0, 2]], np.int64)
    buffer[spans[0, 0] : spans[0, 0] + 2] = 7
    assert list(Slices(buffer, spans)) == [b"\7\7", b"\0\0"]

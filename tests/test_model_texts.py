"""Texts of keys: each that a batch had is there, whatever came before."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from online_models.mixture.rows import text_hash
from online_models.mixture.texts import Texts

COLUMN = 1


def taken(texts: Texts, names: list[str]) -> None:
    """Takes the texts of a batch; an empty one stands for none."""
    joined = "".join(names).encode()
    ends = np.cumsum([len(name) for name in names], dtype=np.int64)
    spans, keys = np.zeros((len(names), 2, 2), np.int64), np.ones((len(names), 2), np.uint64)
    spans[:, COLUMN, 1] = ends
    spans[1:, COLUMN, 0] = ends[:-1]
    keys[:, COLUMN] = [text_hash("campaign_id", name) if name else 0 for name in names]
    texts.take(joined, spans, keys, COLUMN)


def expected(names: list[str]) -> dict[int, str]:
    return {text_hash("campaign_id", name): name for name in names if name}


@given(st.lists(st.lists(st.sampled_from(["", *(f"c{number}" for number in range(30))]), max_size=20), max_size=5))
def test_texts_are_those_of_all_batches_since_they_were_cleared(batches: list[list[str]]) -> None:
    texts = Texts()
    taken(texts, ["c1", "gone"])
    texts.clear()
    for names in batches:
        taken(texts, names)
    assert texts == expected([name for names in batches for name in names])


def test_the_table_of_keys_grows_with_them() -> None:
    texts, names = Texts(), [f"campaign {number}" for number in range(5_000)]
    for start in range(0, len(names), 250):
        taken(texts, names[: start + 250])
    assert texts == expected(names)


def test_keys_that_share_a_place_of_the_table_stay_apart() -> None:
    texts = Texts()
    keys = np.array([[0, 5], [0, 5 + (1 << 40)], [0, 6], [0, 5]], np.uint64)
    spans = np.array([[[0, 0], [row, row + 1]] for row in range(4)], np.int64)
    texts.take(b"abcd", spans, keys, COLUMN)
    assert texts == {5: "a", 5 + (1 << 40): "b", 6: "c"}


def test_a_text_that_is_known_is_not_taken_again() -> None:
    texts = Texts()
    texts[7] = "read by hand"
    texts.take(b"", np.zeros((1, 2, 2), np.int64), np.array([[0, 7]], np.uint64), COLUMN)
    assert texts == {7: "read by hand"}

"""What is done with rows, and in which order: a list that depends on no prediction, made before the kernel runs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schemas.compiled import INT64, kernel, read, written

# What is done with a row, as bits. SHOW: it is predicted. LEARN: its label is learned, 1 with CLICKED, else 0; with
# KEEP the gradients of that are kept. REVERSE: they are taken back. One pass may show a row and learn it.
SHOW, LEARN, CLICKED, KEEP, REVERSE = 1, 2, 4, 8, 16
# Where `delayed` stands: the row that is learned next, the row that is shown next, the end of the rows, and actions.
_OLD, _NEW, _END, _DONE = 0, 1, 2, 3


class Actions(NamedTuple):
    """Numbers of rows, what is done with each, and the weight with which it is learned or was learned."""

    rows: np.ndarray
    kinds: np.ndarray
    weights: np.ndarray


def shown_only(rows: int) -> Actions:
    """Rows are predicted and not learned."""
    return Actions(np.arange(rows), np.full(rows, SHOW, np.uint8), np.ones(rows))


def after_delay(
    ts: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, waiting: int, delay_ms: int
) -> tuple[Actions, int]:
    """Shows all rows but the first `waiting`, and learns those that are due; returns the first that is not learned.

    A row is due at once if the delay is 0, else before a row is shown whose ts is at least the delay later. Rows are
    learned in their order.
    """
    learn = np.where(labels == 1, np.uint8(LEARN | CLICKED), np.uint8(LEARN))
    if delay_ms == 0:
        return Actions(np.arange(len(ts)), learn | np.uint8(SHOW), weights), len(ts)
    rows, kinds = np.empty(2 * len(ts), np.int64), np.empty(2 * len(ts), np.uint8)
    cursor = np.array([0, waiting, len(ts), 0], np.int64)
    delayed(ts, learn, rows, kinds, cursor, delay_ms)
    done = int(cursor[_DONE])
    return Actions(rows[:done], kinds[:done], weights[rows[:done]]), int(cursor[_OLD])


@kernel(read("i8"), read("u1"), written("i8"), written("u1"), written("i8"), INT64)
def delayed(
    ts: np.ndarray, learn: np.ndarray, rows: np.ndarray, kinds: np.ndarray, cursor: np.ndarray, delay: int
) -> None:
    """Fills `rows` and `kinds`, and moves the cursor."""
    while cursor[_NEW] < cursor[_END]:
        old, new, done = cursor[_OLD], cursor[_NEW], cursor[_DONE]
        late = old < new and ts[old] + delay <= ts[new]
        rows[done], kinds[done] = (old, learn[old]) if late else (new, SHOW)
        cursor[_OLD if late else _NEW] += 1
        cursor[_DONE] += 1

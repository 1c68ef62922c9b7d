"""Steps that several experts take: one of AdaGrad, and one of FTRL-proximal without penalties."""

from __future__ import annotations

import math

import numpy as np

from schemas.compiled import inlined

ALPHA, BETA = 0.1, 1.0


@inlined
def adagrad_step(table: np.ndarray, line: int, weight: int, squares: int, rate: float, gradient: float) -> None:
    """Moves the weight in one column by its gradient; the other column has the sum of squared gradients."""
    table[line, squares] += gradient * gradient
    # The square of a gradient below 1e-162 is 0.
    if table[line, squares] > 0.0:
        table[line, weight] -= rate * gradient / math.sqrt(table[line, squares])


@inlined
def adagrad_back(table: np.ndarray, line: int, weight: int, squares: int, rate: float, gradient: float) -> None:
    """Takes a gradient back, at the pace of now; the sum of squares stays."""
    if table[line, squares] > 0.0:
        table[line, weight] += rate * gradient / math.sqrt(table[line, squares])


@inlined
def ftrl_step(table: np.ndarray, line: int, z: int, n: int, root: float, gradient: float, weight: float) -> None:
    """Takes a gradient into both columns of a line; `root` is the square root of `n` before."""
    after = table[line, n] + weight * gradient * gradient
    shift = (math.sqrt(after) - root) / (BETA + root)
    # w = -z * alpha / (beta + sqrt(n)), so (sqrt(n') - sqrt(n)) / alpha * w = -shift * z.
    table[line, z] += weight * gradient + shift * table[line, z]
    table[line, n] = after

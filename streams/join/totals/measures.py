"""What an accepted impression and a matched click add to each measure; `schemas.totals` names the measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.events import Impression
from schemas.totals import MEASURES

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

# What every impression adds, in its own minute, as a function of prices and predicted probabilities. Rounded for each
# impression, half to even as Python's round does, so that sums do not depend on batching.
_OF_IMPRESSION: Final[dict[str, Callable[[Float64s, Float64s], Float64s]]] = {
    "impressions": lambda prices, _pctrs: np.ones(len(prices)),
    "expected_clicks_nano": lambda _prices, pctrs: np.rint(pctrs * 1e9),
    "expected_spend_micros": lambda prices, pctrs: np.rint(pctrs * prices),
}
# Positions in MEASURES of what every impression adds, and of what only clicks add, which few rows ever have.
SHOWN: Final = tuple(map(MEASURES.index, _OF_IMPRESSION))
CLICKED: Final = tuple(index for index in range(len(MEASURES)) if index not in SHOWN)

# What a matched click adds: a repeat in its own minute; a billable click in its own minute, and in the impression's.
REPEAT: Final = 0
BILLED: Final = 1
ATTRIBUTED: Final = 2


def _by_kind(*kinds: dict[str, int]) -> Int64s:
    """A row for each kind of click, with a column for each of CLICKED."""
    names = [MEASURES[index] for index in CLICKED]
    assert all(kind.keys() <= set(names) for kind in kinds), f"{kinds} adds to what is not one of {names}"
    return np.array([[kind.get(name, 0) for name in names] for kind in kinds], np.int64)


# What a click adds at any price, and what it adds per micro of the price; rows are REPEAT, BILLED, ATTRIBUTED.
_COUNTED: Final = _by_kind({"repeats": 1}, {"clicks": 1}, {"attributed_clicks": 1})
_PRICED: Final = _by_kind({}, {"spend_micros": 1}, {"attributed_spend_micros": 1})

_price = attrgetter("price_micros")


def added_by_impressions(prices: Int64s, pctrs: Float64s) -> Int64s:
    """A row for each of SHOWN, a column for each impression, given its price in micros and its pCTR, nan for none."""
    prices_micros, shares = prices.astype(np.float64), np.nan_to_num(pctrs)
    added = np.empty((len(SHOWN), len(prices)), np.int64)
    for row, of_impression in enumerate(_OF_IMPRESSION.values()):
        added[row] = of_impression(prices_micros, shares)
    return added


def added_by_clicks(impressions: Sequence[Impression], kinds: Sequence[int]) -> Int64s:
    """A row for each of CLICKED, a column for each click: on these impressions, REPEAT, BILLED or ATTRIBUTED."""
    prices = np.fromiter(map(_price, impressions), np.int64, len(impressions))
    chosen = np.array(kinds, np.intp)
    return np.ascontiguousarray((_COUNTED[chosen] + _PRICED[chosen] * prices[:, np.newaxis]).T)

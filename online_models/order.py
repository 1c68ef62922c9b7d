"""The order of learning, for a batch of examples at once.

A click is decided at once, a non-click only when its attribution window has passed. So the log holds the clicks of a
minute half an hour before the non-clicks of that minute. Learned in log order, a new model would see nothing but clicks
for half an hour (tried: it then predicted 0.91 where the truth was 0.03), and every rise of traffic would look like a
rise of click probability. A click is therefore held back until a non-click arrives whose impression is of the same time
or later. Both classes are then learned by impression time, one attribution window late. Where several join partitions
feed a shard, the one that is furthest ahead releases the clicks: clicks of a partition that lags are learned before its
non-clicks, by as much time as it lags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.delays import LONGEST_WAIT_MS

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a batch of examples, in log order, does to event time.

    `event_ms` is the event time behind each: up to it examples are learned. `held` says which wait. `latest_ms` is the
    latest impression time so far.
    """

    event_ms: Times
    held: NDArray[np.bool_]
    latest_ms: int


def arrivals(ts: Times, labels: NDArray[np.int8], *, event_ms: int, latest_ms: int | Times) -> Arrivals:
    """Moves event time by one or more examples: a non-click moves it to its own time, a click to 32 days before.

    `latest_ms` is the latest impression time before all of them, or up to each.
    """
    # Without a bound, a join that keeps no non-clicks at all (negative rate 0) would fill the memory with clicks.
    clicked = labels == 1
    latest = np.maximum.accumulate(np.maximum(ts, latest_ms))
    event = np.maximum.accumulate(np.maximum(np.where(clicked, latest - LONGEST_WAIT_MS, ts), event_ms))
    return Arrivals(event, clicked & (ts > event), int(latest[-1]))


def learning_order(event_ms: Times, held: NDArray[np.bool_], released_ts: Times) -> tuple[Any, Any]:
    """Which example is learned when: numbers of examples in order, and for each the arrival at which it is learned.

    Numbers below `len(held)` are those of the batch, in log order; those from there on are of clicks that waited and
    are released, which are given by their times, in the order of time and offset. Of one arrival the released clicks
    come first, in that order. Each must be due: of a time up to the last of `event_ms`.
    """
    own = np.flatnonzero(~held)
    due = np.searchsorted(event_ms, released_ts, side="left")
    place = np.concatenate((own, due))
    behind = np.repeat((1, 0), (len(own), len(due)))
    order = np.lexsort((behind, place))
    numbers = np.concatenate((own, len(held) + np.arange(len(due))))
    # A released click belongs to the arrival before, as far as windows are concerned: it is learned before they close.
    return numbers[order], (place + behind)[order]

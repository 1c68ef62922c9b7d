"""From events to what a model does with its rows, by the policy for labels that come late.

`fake_negative` learns a negative at once and then, if there is one, the click (S. I. Ktena et al., 2019).
`reversal` takes the negative back before it learns the click. `matched` does too, and learns the negative after as long
as clicks take, so that at each time both labels are there in their true proportion, and few negatives are reversed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from online_models.mixture.actions import CLICKED as CLICK
from online_models.mixture.actions import KEEP, LEARN, REVERSE, SHOW, Actions
from online_models.mixture.kept_rows import KeptRows
from online_models.mixture.row_model import RowModel
from online_models.mixture.rows import Rows
from online_models.open_impressions import CLICKED, DUE, SHOWN, UNCLICKED, Events, Policy

_AT_SHOWN: Final[dict[Policy, int]] = {
    "fake_negative": SHOW | LEARN,
    "reversal": SHOW | LEARN | KEEP,
    "matched": SHOW,
}


class LateLabels:
    """One model and the rows whose labels it waits for.

    A model that began after an impression was shown has no row of it. It shows and learns it when the label comes.
    """

    def __init__(self, model: RowModel, policy: Policy) -> None:
        self._model, self._policy = model, policy
        self.kept = KeptRows()

    def run(self, events: Events, batch: Rows) -> tuple[NDArray[np.float64], int]:
        """Follows the events of a batch; returns the prediction that belongs to each, and how many were reversed."""
        before = np.unique(events.serials[(events.serials >= 0) & (events.serials < events.first)])
        here, places = self.kept.find(before)
        stored = before[here]
        taken, gradients = self.kept.take(places)
        rows = taken.followed_by(batch)
        rows_of = self._rows_of(events, stored)
        actions, reversed_ = _actions(events, rows_of, len(stored) + events.records, batch.weights, self._policy)
        every = np.concatenate((gradients, np.zeros((len(batch), gradients.shape[1]))))
        self._model.act(rows, actions, every)
        self._keep(events, stored, places, rows, every)
        return rows.predicted[np.where(rows_of >= 0, rows_of, len(stored) + events.records)], reversed_

    def _rows_of(self, events: Events, stored: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each event's impression, -1 for one without."""
        rows = np.full(len(events.serials), -1, np.int64)
        born = events.serials >= events.first
        rows[born] = len(stored) + events.born[events.serials[born] - events.first]
        if len(stored):
            at = np.minimum(np.searchsorted(stored, events.serials), len(stored) - 1)
            found = stored[at] == events.serials
            rows[found] = at[found]
        return rows

    def _keep(
        self,
        events: Events,
        stored: NDArray[np.int64],
        places: NDArray[Any],
        rows: Rows,
        gradients: NDArray[np.float64],
    ) -> None:
        self.kept.learned(places, rows.served[: len(stored)], gradients[: len(stored)])
        closed = events.serials[(events.whats == CLICKED) | (events.whats == UNCLICKED)]
        self.kept.close(places[np.isin(stored, closed)])
        born = events.first + np.arange(len(events.born))
        stays = ~np.isin(born, closed)
        chosen = len(stored) + events.born[stays]
        self.kept.add(born[stays], rows.ordered(chosen), gradients[chosen])


def _actions(
    events: Events,
    rows_of: NDArray[np.int64],
    record_rows: NDArray[np.int64],
    weights: NDArray[np.float64],
    policy: Policy,
) -> tuple[Actions, int]:
    """What is done, and how many of it are reversals. An event has up to two actions: the second one learns a click."""
    whats, known, labelled = events.whats, rows_of >= 0, events.whats >= CLICKED
    clicked = whats == CLICKED
    kinds = np.zeros(len(whats), np.uint8)
    kinds[whats == SHOWN] = _AT_SHOWN[policy]
    kinds[(whats == DUE) & known] = LEARN | KEEP
    kinds[labelled & ~known] = SHOW | LEARN
    kinds[(whats == UNCLICKED) & known & ~events.learned] = LEARN
    kinds[clicked & known & ~events.learned] = LEARN
    kinds[clicked & (kinds != 0)] |= CLICK
    again = clicked & known & events.learned
    if policy != "fake_negative":
        kinds[again] = REVERSE
    own = weights[events.records]
    first_weights = np.where((whats == DUE) | again, events.weights, own)
    pairs = np.stack((kinds, np.where(again, np.uint8(LEARN | CLICK), np.uint8(0))), axis=1)
    chosen = pairs != 0
    rows = np.where(known, rows_of, record_rows)
    actions = Actions(np.repeat(rows, 2)[chosen.ravel()], pairs[chosen], np.stack((first_weights, own), axis=1)[chosen])
    return actions, int(np.count_nonzero(kinds & REVERSE))

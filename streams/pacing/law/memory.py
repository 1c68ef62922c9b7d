"""A pacer with more rows, a row for another campaign, and what a restart needs of a pacer.

Of each campaign that is its state, the terms that its plan was made of, and how its traffic spreads over the day. Of
all together: how traffic spreads over the week and how long clicks take. What impressions already shown may still cost
is not kept: the counters have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Final

import msgspec
import numpy as np

from streams.kernels import pacing_columns as columns
from streams.pacing.law.arrays import Floats, Ints, Terms, Totals
from streams.pacing.law.pacer import MINUTE_S, Pacer, checked_curves
from streams.pacing.law.shape import QUARTERS, WEEK, TrafficShape

# Numbers a campaign. Memory with another count is of another version of the law: it is not used.
WIDTH: Final = columns.STATE + columns.TERMS
# A rate that was measured over fewer full seconds is a guess.
_MEASURED_S: Final = 600.0
# Of the spread of a campaign's traffic over quarter-hours: value, full seconds, and what was learnt of them.
_SPREAD: Final = (("value", np.dtype("<f4")), ("full", np.dtype("<f2")), ("relative", np.dtype("<f2")))
SHAPE_BYTES: Final = QUARTERS * sum(kind.itemsize for _, kind in _SPREAD)


class Learnt(msgspec.Struct, array_like=True, frozen=True):
    """What a pacer has learnt of all campaigns together; arrays as bytes of doubles."""

    now_s: float
    pooled: bytes
    week_value: bytes
    week_full: bytes
    delays: bytes


def grown(pacer: Pacer, rows: int) -> Pacer:
    """A pacer with more rows that goes on where this one is. This one is of no use any more."""
    fresh = Pacer(rows, pacer.settings)
    before = len(pacer.terms.table)
    fresh._curves = pacer._curves
    _move(pacer, fresh, before)
    return fresh


def _move(old: Any, new: Any, rows: int) -> None:
    for name, value in vars(old).items():
        target = getattr(new, name)
        if name == "_curves":
            continue
        if isinstance(value, (Terms, TrafficShape)):
            _move(value, target, rows)
        elif not isinstance(value, np.ndarray) or value.shape == target.shape:
            setattr(new, name, value)
        elif value.shape[0] == rows:
            target[:rows] = value
        else:
            target[:, :rows] = value


def clear(pacer: Pacer, row: int, blank: Pacer) -> None:
    """Makes a row as new. `blank` is a pacer of one row with the same settings that was never asked."""
    _clear(blank, pacer, row)


def _clear(blank: Any, pacer: Any, row: int) -> None:
    for name, value in vars(blank).items():
        target = getattr(pacer, name)
        if isinstance(value, (Terms, TrafficShape)):
            _clear(value, target, row)
        elif isinstance(value, np.ndarray) and value.shape != target.shape and name != "_curves":
            if value.shape[0] == 1:
                target[row] = value[0]
            else:
                target[:, row] = value[:, 0]


def curve_plan(pacer: Pacer, curve: Sequence[float]) -> float:
    """The plan of a custom curve of 24 or 96 shares; the pacer learns one that it does not know."""
    parts = np.repeat(np.array(curve), columns.CURVE_PARTS // len(curve)) / (columns.CURVE_PARTS // len(curve))
    wanted = checked_curves((parts / parts.sum())[None, :])[0]
    known = np.flatnonzero((pacer._curves == wanted).all(1))
    if not len(known):
        pacer._curves = np.vstack((pacer._curves, wanted))
        known = np.array([len(pacer._curves) - 1])
    return float(columns.ASAP + 1 + known[0])


def campaigns_memory(pacer: Pacer, rows: slice) -> bytes:
    """What is to be kept of these campaigns, `WIDTH` doubles each."""
    return np.hstack((pacer._state[rows], pacer._known[rows])).tobytes()


def remember_campaigns(pacer: Pacer, rows: Ints, memory: bytes) -> None:
    """Takes back what was kept of campaigns. Each is told anew at the next tick."""
    kept = np.frombuffer(memory).reshape(len(rows), WIDTH)
    pacer._state[rows], pacer._known[rows] = kept[:, : columns.STATE], kept[:, columns.STATE :]
    pacer._state[rows, columns.SENT_S] = -1e18
    for column in (columns.SEEN_IMPRESSIONS, columns.SEEN_CLICKS, columns.SEEN_SPEND):
        pacer._state[rows, column] = 0.0


def campaigns_shapes(pacer: Pacer, rows: slice) -> bytes:
    """How the traffic of these campaigns is spread over the day, `SHAPE_BYTES` each."""
    parts = [getattr(pacer.shape, name)[rows].astype(kind).view(np.uint8) for name, kind in _SPREAD]
    return np.hstack(parts).tobytes()


def remember_shapes(pacer: Pacer, rows: Ints, memory: bytes) -> None:
    """Takes back how the traffic of campaigns is spread."""
    kept, at = np.frombuffer(memory, np.uint8).reshape(len(rows), SHAPE_BYTES), 0
    for name, kind in _SPREAD:
        part = np.ascontiguousarray(kept[:, at : at + QUARTERS * kind.itemsize])
        getattr(pacer.shape, name)[rows] = part.view(kind)
        at += QUARTERS * kind.itemsize


def learnt(pacer: Pacer) -> Learnt:
    """What is to be kept of all campaigns together."""
    shape = pacer.shape
    arrays = (shape.pooled, shape.week_value, shape.week_full, pacer.delay.histogram)
    return Learnt(pacer._now, *(array.tobytes() for array in arrays))


def remember_learnt(pacer: Pacer, kept: Learnt) -> None:
    """Takes back what was kept of all campaigns together, as far as it is of this version of the law."""
    shape, delays = pacer.shape, np.frombuffer(kept.delays)
    if len(delays) == len(pacer.delay.histogram):
        pacer.delay.histogram = delays.copy()
        pacer.delay.refresh()
    week = [np.frombuffer(array) for array in (kept.pooled, kept.week_value, kept.week_full)]
    if all(len(array) == WEEK for array in week):
        shape.pooled, shape.week_value, shape.week_full = (array.copy() for array in week)


def seen_to_s(pacer: Pacer) -> float:
    """Up to when the last tick took everything as counted."""
    return pacer._seen_to


def resume(pacer: Pacer, *, before_s: float, now_s: float, seen_to_s: float) -> None:
    """Before the first tick: a former pacer knew all until `before_s`, and totals show all until `seen_to_s`.

    Spend since then is reckoned. Where totals are as fresh as ad servers are, none is.
    """
    state = pacer._state
    pacer._now, pacer._seen_to = min(max(before_s, seen_to_s), now_s), seen_to_s
    if seen_to_s >= before_s:
        state[:, columns.FULL_SEEN] = state[:, columns.FULL_NOW]
    if now_s - seen_to_s < pacer.settings.overlap_s:
        state[:, columns.FULL_SEEN] = state[:, columns.FULL_NOW]
        pacer._now = now_s


def reserve(pacer: Pacer, totals: Totals, leases: Mapping[int, float], *, now_s: float) -> None:
    """Reserves what ad servers may still show by leases of a former pacer, until totals show what they did.

    `leases` has the last one, as it was told, by row. A lease is at most half of what was free when it was granted, so
    at least as much again was free behind it. No more than that is free now: however often a pacer begins anew while
    totals stand still, all that is granted then is at most what the last lease left.
    """
    made, state = pacer.tick(now_s, totals), pacer._state
    rows = np.array(list(leases), np.int64)
    granted = np.array(list(leases.values())) * state[rows, columns.KAPPA]
    left = pacer.terms.budget_micros[rows] - pacer._seen[rows, columns.SPEND] - made.in_flight_micros[rows]
    for column in (columns.RESERVED, columns.RESERVED_BEFORE, columns.GRANT, columns.SHOWN):
        state[:, column] = 0.0
    state[rows, columns.RESERVED_BEFORE] = np.maximum(left - granted, 0.0)
    state[:, columns.RESERVED_S], state[:, columns.SENT_S] = now_s, -1e18


def show(pacer: Pacer, rows: Ints, *, quarter_s: int, clicks: Floats, spend: Floats, seen_to_s: float) -> None:
    """Puts what rows showed in a quarter-hour among that whose clicks may still come, evenly over its minutes."""
    minutes = pacer._clicks_by_minute.shape[1]
    newest = int(seen_to_s // MINUTE_S)
    first, stop = quarter_s // MINUTE_S, min(quarter_s // MINUTE_S + 15, newest + 1)
    # Those of minutes that are too old for clicks are left out.
    for minute in range(max(first, newest - minutes + 2), stop):
        pacer._clicks_by_minute[rows, minute % minutes] += (clicks / (stop - first)).astype(np.float32)
        pacer._spend_by_minute[rows, minute % minutes] += (spend / (stop - first)).astype(np.float32)


def told_as_well(pacer: Pacer, rows: Ints, now_s: float) -> None:
    """These decisions of the last tick are sent although the law did not ask for it; their leases are granted."""
    state, decided = pacer._state, pacer._decided
    granted = decided[rows, columns.ALLOWANCE] * state[rows, columns.KAPPA]
    state[rows, columns.GRANT], state[rows, columns.SHOWN] = granted, 0.0
    state[rows, columns.RESERVED] += granted
    begun_s = state[rows, columns.RESERVED_S]
    state[rows, columns.RESERVED_S] = np.where(begun_s > 0.0, begun_s, now_s)
    state[rows, columns.SENT] = decided[rows, columns.ADMIT]
    state[rows, columns.SENT_MULTIPLIER] = decided[rows, columns.BID_MULTIPLIER]
    state[rows, columns.SENT_S] = now_s


def expected_and_leased(pacer: Pacer, row: int) -> float:
    """What impressions already shown may still cost, and what leases may: micros."""
    decided, state = pacer._decided[row], pacer._state[row]
    leased = state[columns.RESERVED] + state[columns.RESERVED_BEFORE]
    return float(decided[columns.IN_FLIGHT] + max(decided[columns.UNSEEN], leased))


def able(pacer: Pacer, row: int, left: float) -> float:
    """How much of a budget with so much left could be spent in every auction to the end of the period; micros."""
    raw = pacer._state[row, columns.WANTED]
    # As much is wanted as a part `raw` of all auctions brings; without measured traffic that says nothing.
    is_known = raw > 0.0 and left > 0.0 and pacer._state[row, columns.SLOW_FULL] > _MEASURED_S
    return left / float(raw) if is_known else inf


def tell_anew(pacer: Pacer, row: int) -> None:
    """The next decision of this row is sent, whatever it is."""
    pacer._state[row, columns.SENT_S] = -1e18


def learnt_attributed(pacer: Pacer, row: int, attributed: Floats) -> None:
    """These clicks of the row's campaign came before it had the row: nothing is learnt of them."""
    pacer._attributed[row] = attributed[row]


def price_guess(pacer: Pacer, row: int) -> float:
    """What a click of the campaign costs, as far as it is known."""
    return float(pacer._state[row, columns.PRICE_GUESS])

"""Decides for all campaigns of a partition: give it terms and totals, then ask at every tick."""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.errors import SettingsError
from streams.kernels import pacing_columns as columns
from streams.kernels.pacing import decide, turn_multipliers
from streams.kernels.pacing_caps import end_in_time, plan_under_caps
from streams.kernels.pacing_plan import look_ahead
from streams.pacing.law.arrays import Decisions, Floats, Ints, Terms, Totals
from streams.pacing.law.delay import ClickDelay
from streams.pacing.law.plan import open_s, planned
from streams.pacing.law.settings import LawSettings
from streams.pacing.law.shape import TrafficShape

QUARTER_S: Final = 900
MINUTE_S: Final = 60
DAY_S: Final = 86_400
# Calibration of a campaign is shrunk to that of all with the weight of so many clicks, that of all to 1 with so many.
_OWN_CLICKS: Final = 20.0
_ALL_CLICKS: Final = 200.0
# What clicks say of calibration and click rates counts half after two days.
_KEPT_A_DAY: Final = 0.7
# Reckoned click rate of impressions without a prediction. Calibration makes the campaign's measured rate of it.
UNPREDICTED_RATE: Final = 0.01


class Pacer:
    """The law with its memory. Deterministic: the same calls give the same decisions. Not safe for threads.

    `terms` may be changed in place between ticks; where a budget, a plan or a period differs from that of the tick
    before, the plan begins anew at that moment with what is left.
    """

    def __init__(self, rows: int, settings: LawSettings | None = None, *, curves: Floats | None = None) -> None:
        """`curves`: custom plans, each the share of the budget in each of 96 equal parts of its period."""
        self.settings = settings or LawSettings()
        self.terms = Terms(rows)
        self.delay = ClickDelay(self.settings.window_s)
        self.shape = TrafficShape(rows)
        self._law = self.settings.table()
        self._curves = checked_curves(curves)
        self._known = np.full((rows, columns.TERMS), -1.0)
        self._state = np.zeros((rows, columns.STATE))
        for column, value in (
            *((columns.KAPPA, 1.0), (columns.ADMITTED, 0.05), (columns.MULTIPLIER, 1.0), (columns.SENT, 0.0)),
            *((columns.SENT_MULTIPLIER, 1.0), (columns.ELASTICITY, self.settings.elasticity)),
            (columns.SENT_S, -1e18),
        ):
            self._state[:, column] = value
        minutes = self.settings.window_s // MINUTE_S + 6
        self._clicks_by_minute = np.zeros((rows, minutes), np.float32)
        self._spend_by_minute = np.zeros((rows, minutes), np.float32)
        self._attributed = np.zeros((rows, columns.QUARTERS_KEPT))
        self._ticks = np.zeros((columns.TICKS_KEPT, rows))
        self._decided = np.zeros((rows, columns.DECIDED))
        self._clock = np.zeros(columns.FULL_TICKS + 1)
        self._clock[columns.WINDOW], self._clock[columns.POOLED_RATE] = self.settings.window_s, UNPREDICTED_RATE
        self._now = self._seen_to = -1.0
        self._seen = np.zeros((rows, columns.SEEN))
        self._number = 0

    def tick(self, now_s: float, totals: Totals) -> Decisions:
        """Decisions for the time from `now_s` on. Ticks follow each other by seconds, at most 20; time never goes back.

        Totals that are behind those of the last tick count as those. About 1 µs a campaign.
        """
        if self._now < 0:
            self._now = self._seen_to = now_s
        seen_to = max(totals.seen_to_s, self._seen_to)
        if totals.seen_to_s >= self._seen_to:
            np.copyto(self._seen, totals.table)
        clock = self._clock
        clock[:4] = now_s, self._now, seen_to, self._seen_to
        clock[columns.FULL_TICKS] = self._number
        state = self._state
        is_new_quarter = now_s // QUARTER_S != self._now // QUARTER_S
        if is_new_quarter:
            self.delay.refresh()
            self.shape.fold(int(self._now // QUARTER_S), state, self._level())
            if now_s // DAY_S != self._now // DAY_S:
                self._learn_day()
        changed = self._take_terms()
        if is_new_quarter or not self._number:
            changed = np.arange(len(state))
        if len(changed):
            shape, landing = self.shape, self.delay.landing
            look_ahead(
                *(np.array([now_s], np.float64), changed, self.terms.table, self._curves),
                *(shape.pooled, shape.relative, landing, state),
            )
            self._plan_under_caps(now_s)
        count = decide(
            *(clock, self._law, self.terms.table, self._seen, self._curves, self.shape.pooled, self.shape.relative),
            *(self.delay.landing, state, self._ticks, self._clicks_by_minute, self._spend_by_minute, self._decided),
        )
        self.delay.learn(clock, totals.attributed, self._clicks_by_minute, self._attributed, state)
        if now_s // MINUTE_S != self._now // MINUTE_S:
            self._calibrate(seen_to)
            turn_multipliers(self._law, self.terms.table, state)
        self._now, self._seen_to = now_s, seen_to
        self._number += 1
        end_in_time(np.array([now_s, now_s + self.settings.valid_s]), self.terms.table, self._decided)
        return Decisions(self._decided, count)

    def planned_micros(self, times_s: Floats) -> Floats:
        """What the plan, as it stands now, spends by each time: a row for each campaign."""
        return planned(self.terms, self._state, self._curves, self.shape, self.delay.landing, times_s)

    def _plan_under_caps(self, now_s: float) -> None:
        if not self.terms.hour_cap_micros.any():
            return
        decided = self._decided
        expected = decided[:, columns.IN_FLIGHT] + decided[:, columns.UNSEEN]
        left = self.terms.budget_micros - self._seen[:, columns.SPEND] - expected
        shape, landing = self.shape, self.delay.landing
        plan_under_caps(
            np.array([now_s], np.float64),
            left,
            *(self.terms.table, self._seen, self._curves, shape.pooled, shape.relative, landing, self._state),
        )

    def _level(self) -> Floats:
        """Value a full second of mean traffic; 0 where nothing was shown."""
        value, full = self._state[:, columns.SLOW_VALUE], self._state[:, columns.SLOW_FULL]
        return np.where(full > 0, value / np.maximum(full, 1e-12), 0.0)

    def _take_terms(self) -> Ints:
        """Notes what changed in the terms, and gives the rows. The plan of such a campaign begins anew."""
        terms = self.terms.table
        rows = np.flatnonzero((terms != self._known).any(1))
        if not len(rows):
            return rows
        self._state[rows, columns.PLANNED_FROM] = 0.0
        cold = rows[self._state[rows, columns.SLOW_FULL] <= 0]
        # A campaign that never ran: could spend twice its budget, each click a twentieth.
        length = np.maximum(open_s(terms[cold]), 1.0)
        self._state[cold, columns.LEVEL] = 2.0 * terms[cold, columns.BUDGET] / length
        guessed = self._state[cold, columns.PRICE_GUESS]
        cap = terms[cold, columns.HOUR_CAP]
        budget = np.minimum(terms[cold, columns.BUDGET], np.where(cap > 0, cap, np.inf))
        self._state[cold, columns.PRICE_GUESS] = np.where(guessed > 0, guessed, budget / 20.0)
        self._known[rows] = terms[rows]
        return rows

    def _learn_day(self) -> None:
        self.shape.learn()
        level = self._level()
        self._state[:, columns.LEVEL] = np.where(level > 0, level, self._state[:, columns.LEVEL])
        self._state[:, columns.DUE_CLICKS] *= _KEPT_A_DAY
        self._state[:, columns.CAME_CLICKS] *= _KEPT_A_DAY

    def _calibrate(self, seen_to: float) -> None:
        """Clicks that came over those that were due by now, of each campaign shrunk to all, and of all to 1."""
        minutes = self._clicks_by_minute.shape[1]
        newest = int(seen_to // MINUTE_S)
        numbers = newest - np.arange(minutes - 1)
        ages = np.asarray(seen_to - MINUTE_S * numbers, np.float64)
        landed = self.delay.mean_landed(np.asarray(ages - MINUTE_S, np.float64), ages)
        coming = self._clicks_by_minute[:, numbers % minutes] @ (1 - landed).astype(np.float32)
        state = self._state
        due = np.maximum(state[:, columns.DUE_CLICKS] - coming, 0.0)
        came = state[:, columns.CAME_CLICKS]
        whole = (_ALL_CLICKS + came.sum()) / (_ALL_CLICKS + due.sum())
        state[:, columns.KAPPA] = (_OWN_CLICKS * whole + came) / (_OWN_CLICKS + due)


def checked_curves(curves: Floats | None) -> Floats:
    """Curves as the kernel takes them. Raises SettingsError for one that is negative or does not sum to 1."""
    if curves is None:
        return np.ones((1, columns.CURVE_PARTS))
    if curves.ndim != 2 or curves.shape[1] != columns.CURVE_PARTS:
        raise SettingsError(f"a curve has {curves.shape[-1]} parts; give {columns.CURVE_PARTS} shares of the budget")
    for number, curve in enumerate(curves):
        if not (curve >= 0).all() or abs(curve.sum() - 1.0) > 1e-6:
            raise SettingsError(f"curve {number} sums to {curve.sum():g}; give shares from 0 on that sum to 1")
    return np.ascontiguousarray(curves * columns.CURVE_PARTS, np.float64)

"""The campaigns of a partition that are paced: each has a row of the law, and the figures that decisions show.

Columns in place of objects, because a tick looks at all campaigns and 100,000 of them take 0.1 s so. A row is free
again when its campaign is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.pacing import PacingDecision, PacingState
from schemas.totals import QUARTER_MS
from streams.kernels import pacing_columns as columns
from streams.pacing.counters import NOTHING, PacedMeasures
from streams.pacing.kept_day import Change
from streams.pacing.law import ASAP, REASONS, LawSettings, Pacer, Totals
from streams.pacing.law.arrays import Ints
from streams.pacing.law.memory import (
    able,
    clear,
    curve_plan,
    expected_and_leased,
    grown,
    seen_to_s,
    tell_anew,
    told_as_well,
)
from streams.pacing.law.pacer import UNPREDICTED_RATE
from streams.pacing.local_day import LocalDay
from streams.pacing.recent_quarters import RecentQuarters
from streams.pacing.shared_budgets import Why
from streams.pacing.terms import DayTerms

_ROWS: Final = 64
# Figures that no decision says yet, or that pacing is blind, are said after this time, so many campaigns a tick; the
# law says by itself what matters to ad servers. So a few campaigns are fresh, and 100,000 do not fill the topic.
_FIGURES_S: Final = 5.0
_HOUR_S: Final = 3_600
_QUARTERS_AN_HOUR: Final = _HOUR_S * 1_000 // QUARTER_MS
_FIGURES_A_TICK: Final = 200
_STATES: Final[tuple[PacingState, ...]] = (
    *("on_plan", "ahead", "behind", "blind", "exhausted", "paused", "unknown", "outside_flight", "outside_hours"),
)
_OF_REASON: Final = np.zeros(max(REASONS) + 1, np.int8)
for _reason, _state in (
    *((columns.ALL_ADMITTED, "behind"), (columns.NOT_BEGUN, "outside_flight"), (columns.ENDED, "outside_flight")),
    *((columns.SPENT, "exhausted"), (columns.IN_FLIGHT_FULL, "ahead"), (columns.CHANCE, "ahead")),
    *((columns.BLIND, "blind"), (columns.NO_BUDGET, "exhausted")),
    *((columns.CLOSED_NOW, "outside_hours"), (columns.HOUR_FULL, "ahead")),
):
    _OF_REASON[_reason] = _STATES.index(_state)
# Reasons of a share that comes from reckoning while totals are behind.
_RECKONED: Final = np.isin(
    np.arange(len(_OF_REASON)), (columns.BY_PLAN, columns.ALL_ADMITTED, columns.CHANCE, columns.BLIND)
)
_BLIND: Final = _STATES.index("blind")
# Why there is no budget, beside the law's own reasons.
BUDGETED, PAUSED, UNKNOWN, OUTRANKED, OTHER_DAY, APART = range(6)
WHY_NO_PART: Final = {
    Why.GIVEN: OUTRANKED, Why.OUTRANKED: OUTRANKED, Why.OTHER_DAY: OTHER_DAY, Why.APART: APART,
}  # fmt: skip
_WORDS: Final = {
    PAUSED: "the campaign is paused",
    UNKNOWN: "no record of the campaign is in force",
    OUTRANKED: "campaigns of its shared budget that come before it have all of it",
    OTHER_DAY: "its time zone or currency is not that of the first campaign of its shared budget",
    APART: "campaigns of a shared budget stay out while several workers share the partitions of pacing; run one",
}
SPEND, IMPRESSIONS, CLICKS = range(3)
VERSION, EVENT, COUNTED_TO, DAY_START, BUDGET, VALID_UNTIL, STATE, REASON = range(8)


class Paced:
    """Rows of campaigns, the law's pacer and the totals that it is given. `ids[row]` is None where a row is free."""

    def __init__(self, settings: LawSettings) -> None:
        self.pacer = Pacer(_ROWS, settings)
        self._blank = Pacer(1, settings)
        self.totals = Totals(_ROWS)
        self.ids: list[str | None] = []
        self._of: dict[str, int] = {}
        self._free: list[int] = []
        self.day_start_ms = np.zeros(_ROWS, np.int64)
        self.day_end_ms = np.zeros(_ROWS, np.int64)
        self.why = np.zeros(_ROWS, np.int8)
        self.figures = np.zeros((_ROWS, 3), np.int64)
        # The cap of impressions for one user and its period in seconds; 0: none.
        self.frequency = np.zeros((_ROWS, 2), np.int64)
        # The last decision that was sent, as columns.
        self._sent_figures = np.zeros((_ROWS, 3), np.int64)
        self._sent = np.zeros((_ROWS, REASON + 1), np.int64)
        self._sent_law = np.zeros((_ROWS, columns.DECIDED))
        self.attributed = RecentQuarters(self.totals.attributed)
        """Billable clicks by quarter-hour of their impression."""
        self.spent = RecentQuarters(np.zeros((_ROWS, columns.QUARTERS_KEPT)))
        """Spend by quarter-hour of the click."""

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def row(self, campaign_id: str) -> int | None:
        """The row of a campaign; None for one that is not paced."""
        return self._of.get(campaign_id)

    def add(self, campaign_id: str) -> int:
        """A row for a campaign that has none."""
        if self._free:
            row = self._free.pop()
            self.ids[row] = campaign_id
        else:
            row = len(self.ids)
            self.ids.append(campaign_id)
            if row == len(self.figures):
                self._grow(2 * row)
        self._of[campaign_id] = row
        if seen_to_s(self.pacer) >= 0:
            # Ticks went over the row while nobody had it.
            clear(self.pacer, row, self._blank)
        return row

    def drop(self, campaign_id: str) -> None:
        """Forgets a campaign."""
        row = self._of.pop(campaign_id, None)
        if row is None:
            return
        self.ids[row] = None
        self._free.append(row)
        clear(self.pacer, row, self._blank)
        for array in (self.day_start_ms, self.day_end_ms, self.why, self.figures, self.totals.table, self.frequency):
            array[row] = 0
        for array in (self._sent_figures, self._sent, self._sent_law):
            array[row] = 0
        self.attributed.clear(row)
        self.spent.clear(row)

    def count(self, row: int, change: Change) -> None:
        """Takes what a total changed."""
        after, before, quarter_ms = change.after, change.before, change.total.quarter
        table = self.totals.table[row]
        table[columns.IMPRESSIONS] += after.impressions - before.impressions
        table[columns.EXPECTED_CLICKS] += (after.expected_clicks_nano - before.expected_clicks_nano) / 1e9
        table[columns.EXPECTED_SPEND] += after.expected_spend_micros - before.expected_spend_micros
        self.attributed.add(row, quarter_ms, after.attributed_clicks - before.attributed_clicks)
        self.spent.add(row, quarter_ms, after.spend_micros - before.spend_micros)
        if self.day_start_ms[row] <= quarter_ms < self.day_end_ms[row]:
            figures = self.figures[row]
            figures[SPEND] += after.spend_micros - before.spend_micros
            figures[IMPRESSIONS] += after.impressions - before.impressions
            figures[CLICKS] += after.clicks - before.clicks
            table[columns.SPEND], table[columns.CLICKS] = figures[SPEND], figures[CLICKS]

    def begin_day(self, row: int, day: LocalDay, sums: PacedMeasures = NOTHING) -> None:
        """From now on the figures are those of this day, in which `sums` are counted already."""
        self.day_start_ms[row], self.day_end_ms[row] = day.start_ms, day.end_ms
        self.figures[row] = sums.spend_micros, sums.impressions, sums.clicks
        table = self.totals.table[row]
        table[columns.SPEND], table[columns.CLICKS] = sums.spend_micros, sums.clicks

    def set_terms(self, row: int, terms: DayTerms) -> None:
        """From now on the campaign is paced by these terms."""
        plan = terms.plan if terms.curve is None else curve_plan(self.pacer, terms.curve)
        # At once: a start sets 100,000 rows.
        self.pacer.terms.table[row] = (
            *(terms.budget_micros, terms.start_ms / 1_000, terms.end_ms / 1_000, plan),
            *(terms.least_multiplier, terms.most_multiplier, terms.is_last),
            *(terms.day_start_ms / 1_000, terms.hour_cap_micros, terms.closed),
        )
        if tuple(self.frequency[row]) != terms.frequency:
            self.frequency[row] = terms.frequency
            # Ad servers hear of it although the share stays.
            tell_anew(self.pacer, row)

    def _see_hours(self, now_s: float) -> None:
        """Has the law see what campaigns with an hourly cap were billed in this clock hour."""
        terms = self.pacer.terms
        rows = np.flatnonzero(terms.hour_cap_micros[: len(self.ids)])
        if len(rows):
            day_s = terms.day_start_s[rows]
            first = (day_s + (now_s - day_s) // _HOUR_S * _HOUR_S) // (QUARTER_MS / 1_000)
            self.totals.hour_spend_micros[rows] = self.spent.sums(rows, first.astype(np.int64), _QUARTERS_AN_HOUR)

    def tick(self, *, event_ms: int, counted_to_ms: int, behind_ms: int, version: int) -> list[PacingDecision]:
        """The decisions to send: those that the law wants said, and some whose figures are not said yet.

        `behind_ms` is how far event time is behind the wall clock.
        """
        now_s = event_ms / 1_000
        # Where it is not known how far they are counted, what is billed counts all the same.
        self.totals.seen_to_s = max(counted_to_ms / 1_000, seen_to_s(self.pacer))
        self._see_hours(now_s)
        made = self.pacer.tick(now_s, self.totals)
        used = len(self.ids)
        told = made.told[:used].copy()
        in_use = self.day_end_ms[:used] > 0
        told &= in_use
        reason = made.reason[:used]
        is_reckoned = _RECKONED[reason]
        if now_s - seen_to_s(self.pacer) <= self.pacer.settings.blind_s:
            is_reckoned[:] = False
        reason[is_reckoned] = columns.BLIND
        is_reckoned &= self.why[:used] == BUDGETED
        unsaid = (self.figures[:used] != self._sent_figures[:used]).any(1)
        unsaid |= is_reckoned != (self._sent[:used, STATE] == _BLIND)
        unsaid &= ~told
        unsaid &= event_ms - self._sent[:used, EVENT] >= _FIGURES_S * 1_000
        unsaid &= in_use
        more = np.flatnonzero(unsaid)
        if len(more) > _FIGURES_A_TICK:
            more = more[np.argpartition(self._sent[more, EVENT], _FIGURES_A_TICK)[:_FIGURES_A_TICK]]
        if len(more):
            told_as_well(self.pacer, more, now_s)
        rows = np.concatenate((np.flatnonzero(told), more))
        if not len(rows):
            return []
        self._sent_figures[rows] = self.figures[rows]
        self._sent_law[rows] = made.table[rows]
        sent = self._sent
        sent[rows, VERSION], sent[rows, EVENT] = version, event_ms
        sent[rows, COUNTED_TO] = min(round(seen_to_s(self.pacer) * 1_000), event_ms)
        sent[rows, DAY_START] = self.day_start_ms[rows]
        sent[rows, BUDGET] = self.pacer.terms.budget_micros[rows]
        sent[rows, VALID_UNTIL] = np.rint(made.valid_until_s[rows] * 1_000).astype(np.int64) + behind_ms
        reason = reason[rows]
        state = _OF_REASON[reason]
        # A campaign that spends as fast as it can is on its plan when it enters all auctions.
        state[(state == _STATES.index("behind")) & (self.pacer.terms.plan[rows] == ASAP)] = _STATES.index("on_plan")
        why = self.why[rows]
        state[why == PAUSED], state[why == UNKNOWN] = _STATES.index("paused"), _STATES.index("unknown")
        sent[rows, STATE] = state
        sent[rows, REASON] = np.where(why == BUDGETED, reason, -why)
        return self.decisions(rows)

    def prospect(self, row: int) -> tuple[float, float]:
        """What the campaign has committed of its day's budget, and what it can still spend beside that; both in micros.

        Committed is what is billed, in flight, and what ad servers may still spend of their leases. What it can spend
        is a forecast to the end of its period; infinite where there is none.
        """
        committed = float(self.figures[row, SPEND]) + expected_and_leased(self.pacer, row)
        return committed, able(self.pacer, row, max(self.pacer.terms.budget_micros[row] - committed, 0.0))

    def decision(self, campaign_id: str) -> PacingDecision | None:
        """The last decision that was sent on a campaign; None before the first."""
        row = self._of.get(campaign_id)
        if row is None or not self._sent[row, VERSION]:
            return None
        return self.decisions(np.array([row]))[0]

    def decisions(self, rows: Ints) -> list[PacingDecision]:
        """The last decisions that were sent on these rows, which have one."""
        return [
            PacingDecision(
                campaign_id or "",
                sent[VERSION],
                sent[EVENT],
                sent[DAY_START],
                _STATES[sent[STATE]],
                round(law[columns.ADMIT], 4),
                sent[BUDGET],
                figures[SPEND],
                round(law[columns.PLANNED]),
                figures[IMPRESSIONS],
                figures[CLICKS],
                round(law[columns.BID_MULTIPLIER], 4),
                round(law[columns.ALLOWANCE]),
                sent[VALID_UNTIL],
                round(law[columns.SAFE_ADMIT], 4),
                UNPREDICTED_RATE,
                sent[COUNTED_TO],
                round(law[columns.IN_FLIGHT] + law[columns.UNSEEN]),
                REASONS[sent[REASON]] if sent[REASON] >= 0 else _WORDS[-sent[REASON]],
                *frequency,
            )
            for campaign_id, sent, figures, law, frequency in zip(
                (self.ids[row] for row in rows.tolist()),
                self._sent[rows].tolist(),
                self._sent_figures[rows].tolist(),
                self._sent_law[rows].tolist(),
                self.frequency[rows].tolist(),
                strict=True,
            )
        ]

    def states(self) -> dict[PacingState, int]:
        """How many campaigns have a decision of each state."""
        sent = self._sent[: len(self.ids)]
        counts = np.bincount(sent[sent[:, VERSION] > 0, STATE], minlength=len(_STATES))
        return {state: int(count) for state, count in zip(_STATES, counts, strict=True)}

    def shares(self) -> npt.NDArray[np.float64]:
        """The admitted share of each campaign that has a budget."""
        used = slice(0, len(self.ids))
        return self._sent_law[used, columns.ADMIT][(self._sent[used, VERSION] > 0) & (self._sent[used, BUDGET] > 0)]

    def sums(self) -> tuple[int, int]:
        """Spend, and what was planned of it, of all campaigns in their days, micros."""
        used = slice(0, len(self.ids))
        return int(self.figures[used, SPEND].sum()), round(self._sent_law[used, columns.PLANNED].sum())

    def furthest(self, most: int) -> list[tuple[str, float]]:
        """The campaigns that are furthest from their plans, in shares of their budgets: above it is positive."""
        used = slice(0, len(self.ids))
        budget = np.maximum(self._sent[used, BUDGET], 1)
        away = (self.figures[used, SPEND] - self._sent_law[used, columns.PLANNED]) / budget
        away[(self._sent[used, BUDGET] == 0) | (self._sent[used, VERSION] == 0)] = 0.0
        worst = np.argsort(-np.abs(away))[:most].tolist()
        return [(self.ids[row] or "", float(away[row])) for row in worst if away[row]]

    def _grow(self, rows: int) -> None:
        self.pacer = grown(self.pacer, rows)
        totals = Totals(rows)
        before = len(self.totals.table)
        totals.seen_to_s = self.totals.seen_to_s
        totals.table[:before], totals.attributed[:before] = self.totals.table, self.totals.attributed
        self.totals = totals
        self.day_start_ms, self.day_end_ms = _longer(self.day_start_ms, rows), _longer(self.day_end_ms, rows)
        self.why, self.figures = _longer(self.why, rows), _longer(self.figures, rows)
        self._sent_figures, self._sent = _longer(self._sent_figures, rows), _longer(self._sent, rows)
        self._sent_law, self.frequency = _longer(self._sent_law, rows), _longer(self.frequency, rows)
        self.attributed = self.attributed.grown(totals.attributed)
        self.spent = self.spent.grown(_longer(self.spent.amounts, rows))


def _longer(array: npt.NDArray, rows: int) -> npt.NDArray:  # type: ignore[type-arg]  # of any type
    longer = np.zeros((rows, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


def rows_in_use(ids: Sequence[str | None]) -> list[tuple[int, str]]:
    """The rows that have a campaign."""
    return [(row, campaign_id) for row, campaign_id in enumerate(ids) if campaign_id is not None]

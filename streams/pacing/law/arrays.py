"""What the law is given and answers, as arrays with a row for each campaign; attributes are views of columns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streams.kernels import pacing_columns as columns

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Terms:
    """What may be spent, and when. `start_s <= t < end_s` is the period of the budget: a local day, or a flight.

    A campaign that is paused or withdrawn has a budget of 0.
    """

    def __init__(self, rows: int) -> None:
        self.table = np.zeros((rows, columns.TERMS))
        self.least_multiplier[:], self.most_multiplier[:] = 0.05, 1.0

    @property
    def budget_micros(self) -> Floats:
        """What may be spent in the period."""
        return self.table[:, columns.BUDGET]

    @property
    def start_s(self) -> Floats:
        """First second of the period."""
        return self.table[:, columns.START]

    @property
    def end_s(self) -> Floats:
        """First second after the period."""
        return self.table[:, columns.END]

    @property
    def plan(self) -> Floats:
        """EVEN (by traffic), FLAT (by clock), ASAP, or FIRST_CURVE + n for curve n of the pacer."""
        return self.table[:, columns.PLAN]

    @property
    def least_multiplier(self) -> Floats:
        """Bound of the bid multiplier."""
        return self.table[:, columns.LEAST_MULTIPLIER]

    @property
    def most_multiplier(self) -> Floats:
        """Bound of the bid multiplier."""
        return self.table[:, columns.MOST_MULTIPLIER]

    @property
    def is_last(self) -> Floats:
        """1 where no period follows, so that clicks after the end count as well; else the next budget pays for them."""
        return self.table[:, columns.IS_LAST]

    @property
    def day_start_s(self) -> Floats:
        """From this second on hours and half-hours count: the local midnight. For the two below only."""
        return self.table[:, columns.DAY_START]

    @property
    def hour_cap_micros(self) -> Floats:
        """What may be spent in an hour; 0: no bound."""
        return self.table[:, columns.HOUR_CAP]

    @property
    def closed(self) -> Floats:
        """Half-hours of the day without auctions, as a number: bit n is the half-hour n, of at most 50; 0: none."""
        return self.table[:, columns.CLOSED]


class Totals:
    """What is counted so far: exactly what happened before `seen_to_s`. It may stay behind; it never goes back.

    Every number is a sum over the quarter-hours of `ads.campaign_totals`.
    """

    def __init__(self, rows: int) -> None:
        self.seen_to_s = 0.0
        self.table = np.zeros((rows, columns.SEEN))
        self.attributed = np.zeros((rows, columns.QUARTERS_KEPT))
        """Billable clicks by quarter-hour of their impression: quarter `t_s // 900` stands in column `% 16`."""

    @property
    def spend_micros(self) -> Floats:
        """Billed in the period, by click time."""
        return self.table[:, columns.SPEND]

    @property
    def clicks(self) -> Floats:
        """Billable clicks of the period, by click time."""
        return self.table[:, columns.CLICKS]

    @property
    def impressions(self) -> Floats:
        """Impressions since any moment; the law uses differences."""
        return self.table[:, columns.IMPRESSIONS]

    @property
    def expected_clicks(self) -> Floats:
        """Sum of `pctr` of impressions since any moment."""
        return self.table[:, columns.EXPECTED_CLICKS]

    @property
    def expected_spend_micros(self) -> Floats:
        """Sum of `pctr` times `price_micros` of impressions since any moment."""
        return self.table[:, columns.EXPECTED_SPEND]

    @property
    def hour_spend_micros(self) -> Floats:
        """Billed in the hour of the tick, by click time; it matters to campaigns with an hourly cap."""
        return self.table[:, columns.HOUR_SPEND]


@dataclass(frozen=True, slots=True)
class Decisions:
    """A decision for every campaign, as views of an array that the next tick writes anew.

    `count` of them differ enough from the last that was told to be sent; `told` says which.
    """

    table: Floats = field(repr=False)
    count: int

    @property
    def told(self) -> Bools:
        """Which are to be sent."""
        return self.table[:, columns.TOLD] > 0

    @property
    def admit(self) -> Floats:
        """Share of auctions to enter."""
        return self.table[:, columns.ADMIT]

    @property
    def bid_multiplier(self) -> Floats:
        """Bids are multiplied by it."""
        return self.table[:, columns.BID_MULTIPLIER]

    @property
    def allowance_micros(self) -> Floats:
        """Lease: expected spend that may be shown until the next decision, as ad servers reckon it."""
        return self.table[:, columns.ALLOWANCE]

    @property
    def safe_admit(self) -> Floats:
        """Share of auctions when the decision is stale."""
        return self.table[:, columns.SAFE_ADMIT]

    @property
    def valid_until_s(self) -> Floats:
        """From then on the decision is stale. Before hours that are closed it ends with them, and `safe_admit` is 0."""
        return self.table[:, columns.VALID_UNTIL]

    @property
    def in_flight_micros(self) -> Floats:
        """Expected spend of impressions that totals show, and whose clicks they do not show yet."""
        return self.table[:, columns.IN_FLIGHT]

    @property
    def unseen_micros(self) -> Floats:
        """Expected spend of impressions that totals do not show yet, by dead reckoning."""
        return self.table[:, columns.UNSEEN]

    @property
    def planned_micros(self) -> Floats:
        """What the plan has spent by now."""
        return self.table[:, columns.PLANNED]

    @property
    def reason(self) -> Ints:
        """Why; `REASONS` has the words."""
        return self.table[:, columns.REASON].astype(np.int64)

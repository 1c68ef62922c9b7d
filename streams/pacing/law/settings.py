"""The numbers of the law. They hold for every campaign; none is tuned to one market's size or currency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

# Of a share: a change of it is less than the noise of a bidder.
_ROUNDING: Final = 0.002


@dataclass(frozen=True, slots=True)
class LawSettings:
    """Each with the reason for its default."""

    window_s: int = 3_600
    """Attribution window of the join: later clicks are not billed."""
    deviations: float = 3.2
    """Standard deviations of chance that must fit into the budget beside what is expected."""
    early: float = 0.01
    """The plan is done when this part of its time, by traffic, is left: a quarter of an hour of a day's evening."""
    early_clicks: float = 6.0
    """And when so many clicks' part of the budget is left."""
    early_from: float = 0.35
    """It hurries so only when this part of the plan is left."""
    setpoint: float = 0.85
    """Share of auctions that the multiplier aims at: the rest is room for surprises."""
    gain: float = 0.03
    """Of the multiplier, a minute: half of a deviation is mended in 23 minutes, slower than clicks come."""
    hold_multiplier: bool = False
    """Leaves all multipliers at 1 and throttles only."""
    lease_s: float = 150.0
    """So many seconds of spend are granted with a decision."""
    repeat_s: float = 60.0
    """A decision is sent again after this time, with a new lease."""
    overlap_s: float = 12.0
    """So long after a decision an ad server may still go by the one before; both leases are reserved until then."""
    valid_s: float = 180.0
    """Then a decision is stale, and its `safe_admit` holds, which is half of its share."""
    blind_s: float = 60.0
    """Totals older than this make the law careful: what it reckons may be wrong by `reckoning_error`."""
    reckoning_error: float = 0.35
    """One standard deviation of spend that is reckoned and not seen, as a part of it."""
    left_over: float = 0.9
    """Less than this part of a click price is left over: one click more could be two, and those are over the budget."""
    left_share: float = 0.005
    """A larger budget may leave this part of it, which is less than what chance makes of its last clicks."""
    left_most: float = 2.5
    """But so many click prices at most."""
    track_s: float = 7_200.0
    """What was missed of the plan, or is above it, is made up for in this time of it."""
    last_clicks: float = 3.0
    """For so many clicks above what may be left over the multiplier rises only as long as they are not dear."""
    dear: float = 1.0
    """A click is dear that costs so many times the period's mean."""
    risk: float = 0.2
    """A campaign that needs every auction to come wants so much more: traffic may be less than forecast."""
    tight_from: float = 0.6
    """It begins to do so from this share of them on."""
    slack: float = 0.0
    """Click prices that may be spent above the budget by chance."""
    elasticity: float = 1.5
    """Spend changes with the multiplier to this power, at first."""
    dead_band: float = 0.04
    """A share must change by this part to be worth a record."""
    multiplier_band: float = 0.01
    """And a multiplier by so much."""

    def table(self) -> npt.NDArray[np.float64]:
        """The numbers in the order of `streams.kernels.pacing_columns`."""
        return np.array(
            [
                *(self.deviations, self.early, self.early_clicks, self.setpoint, self.gain, self.lease_s),
                *(self.blind_s, self.reckoning_error, float(self.hold_multiplier), self.slack),
                *(self.dead_band, _ROUNDING, self.multiplier_band, self.repeat_s, self.overlap_s, self.left_over),
                *(self.left_share, self.left_most, self.track_s, self.risk, self.tight_from, self.last_clicks),
                *(self.dear, self.early_from),
            ]
        )

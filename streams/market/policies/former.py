"""The controller that the worker `pace` had in version 0.1, in the market."""

from __future__ import annotations

import numpy as np

from schemas.events import Campaign
from schemas.zones import zone
from streams.market.policies.plain import Plain
from streams.market.policies.proportional import Spent, admission
from streams.market.scenario import Scenario
from streams.market.seen import Budgets
from streams.market.world import Floats, campaign_ids
from streams.pacing.counters import PacedMeasures
from streams.pacing.law import Totals
from streams.pacing.local_day import LocalDay, day_of

_QUARTER_S = 900
# So long it took clicks to be on their way, whatever the window: 45 minutes.
_IN_FLIGHT_QUARTERS = 4
_COLUMNS = 16


class Former(Plain):
    """That controller as it was, asked every 4 s. Attributed spend is clicks times their mean price."""

    def begin(self, scenario: Scenario, predicted: Floats) -> None:
        """Nothing is in flight."""
        super().begin(scenario, predicted)
        self._ids = campaign_ids(scenario.campaigns)
        self._expected = np.zeros((scenario.campaigns, _COLUMNS))
        self._seen = np.zeros(scenario.campaigns)
        self._quarter = 0

    def step(self, now_s: int, budgets: Budgets, totals: Totals) -> None:
        """Asks for each campaign."""
        quarter = int(totals.seen_to_s // _QUARTER_S)
        if quarter != self._quarter:
            self._expected[:, quarter % _COLUMNS] = 0.0
            self._quarter = quarter
        self._expected[:, quarter % _COLUMNS] += totals.expected_spend_micros - self._seen
        self._seen = totals.expected_spend_micros.copy()
        flight = self._in_flight(now_s, totals)
        day = day_of(_UTC, now_s * 1000)
        for row, campaign_id in enumerate(self._ids):
            self.admit[row] = self._admission(row, campaign_id, day, budgets, totals, float(flight[row]), now_s)

    def _in_flight(self, now_s: int, totals: Totals) -> Floats:
        prices = totals.spend_micros / np.maximum(totals.clicks, 1.0)
        newest = now_s // _QUARTER_S
        columns = [(newest - back) % _COLUMNS for back in range(_IN_FLIGHT_QUARTERS)]
        came = totals.attributed[:, columns] * prices[:, None]
        return np.asarray(np.maximum(self._expected[:, columns] - came, 0.0).sum(1))

    def _admission(
        self, row: int, campaign_id: str, day: LocalDay, budgets: Budgets, totals: Totals, flight: float, now_s: int
    ) -> float:
        campaign = Campaign(
            campaign_id=campaign_id,
            daily_budget_micros=int(budgets.micros[row]),
            timezone="UTC",
            status="active",
            pacing="asap" if budgets.asap else "even",
            version=1,
            start=budgets.start_s * 1000,
        )
        measures = PacedMeasures(spend_micros=int(totals.spend_micros[row]))
        return admission(campaign, day=day, spent=Spent(measures, int(flight)), event_ms=now_s * 1000)[1]


_found = zone("UTC")
assert _found is not None
_UTC = _found

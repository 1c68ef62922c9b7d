"""The pacing law on its own: what it does with totals that stop, plans, changed budgets, windows and predictions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from schemas.errors import SettingsError
from streams.kernels import pacing_columns as columns
from streams.kernels.pacing_columns import QUARTERS_KEPT
from streams.kernels.pacing_hours import landed, mean_landed
from streams.pacing.law import ASAP, EVEN, FIRST_CURVE, FLAT, REASONS, Decisions, LawSettings, Pacer, Totals
from streams.pacing.law.delay import ClickDelay
from streams.pacing.law.memory import told_as_well

MIDNIGHT_S = 20_605 * 86_400
HOUR_S = 3_600
PRICE = 100_000.0
PCTR = 0.01
_TICK_S = 12


class Fluid:
    """Campaigns whose spend is what is expected: `rate` a second in every auction at multiplier 1, clicks at once.

    `told` is what ad servers go by; it takes a tick until they do.
    """

    def __init__(self, pacer: Pacer, rate: float, *, start_s: float = MIDNIGHT_S, pctr: float = PCTR) -> None:
        self.pacer, self.rate, self.now_s, self.pctr = pacer, rate, start_s, pctr
        rows = len(pacer.terms.table)
        self.totals = Totals(rows)
        self.counters = np.zeros((rows, 5))
        self.admit = np.zeros(rows)
        self.is_seen = True
        self.made: Decisions | None = None

    def until(self, end_s: float, density: Callable[[float], float] = lambda _: 1.0) -> None:
        """Plays on, a tick every 12 s."""
        while self.now_s < end_s:
            spend = self.rate * self.admit * _TICK_S * density(self.now_s)
            clicks = spend / PRICE
            self.counters += np.stack(
                [spend, clicks, clicks / PCTR, clicks * self.pctr / PCTR, spend * self.pctr / PCTR], 1
            )
            self.now_s += _TICK_S
            if self.is_seen:
                self.totals.seen_to_s = self.now_s
                self.totals.table[:, :5] = self.counters
                self.totals.attributed[:, int(self.now_s // 900) % QUARTERS_KEPT] += clicks
            self.made = self.pacer.tick(self.now_s, self.totals)
            self.admit = self.made.admit * self.made.bid_multiplier**1.5

    @property
    def spent(self) -> np.ndarray:
        return self.counters[:, 0]


def paced(budget: float, *, hours: tuple[float, float] = (0, 24), plan: int = EVEN, **settings: object) -> Pacer:
    pacer = Pacer(1, LawSettings(**settings))  # type: ignore[arg-type]  # each test gives numbers
    change(pacer, budget, hours=hours, plan=plan)
    return pacer


def change(pacer: Pacer, budget: float, *, hours: tuple[float, float] = (0, 24), plan: int = EVEN) -> None:
    terms = pacer.terms
    terms.budget_micros[:], terms.plan[:] = budget, plan
    terms.start_s[:], terms.end_s[:] = MIDNIGHT_S + hours[0] * HOUR_S, MIDNIGHT_S + hours[1] * HOUR_S


def test_a_flat_day_is_spent_evenly_and_to_the_end() -> None:
    fluid = Fluid(paced(200 * PRICE), 1_000.0)
    for hour in (6, 12, 18):
        fluid.until(MIDNIGHT_S + hour * HOUR_S)
        assert fluid.spent[0] == pytest.approx(200 * PRICE * hour / 24, rel=0.08)
    fluid.until(MIDNIGHT_S + 24 * HOUR_S)
    assert 198.5 * PRICE <= fluid.spent[0] <= 200 * PRICE


@pytest.mark.parametrize("hours", [(18.0, 24.0), (10.0, 12.0)])
def test_a_flight_begins_its_plan_where_it_begins(hours: tuple[float, float]) -> None:
    fluid = Fluid(paced(100 * PRICE, hours=hours), 20_000.0, start_s=MIDNIGHT_S + hours[0] * HOUR_S - 60)
    fluid.until(MIDNIGHT_S + hours[0] * HOUR_S)
    assert fluid.spent[0] == 0.0
    fluid.until(MIDNIGHT_S + (hours[0] + 0.1 * (hours[1] - hours[0])) * HOUR_S)
    assert 3 * PRICE < fluid.spent[0] < 18 * PRICE
    fluid.until(MIDNIGHT_S + hours[1] * HOUR_S)
    assert 97.5 * PRICE <= fluid.spent[0] <= 100 * PRICE
    fluid.until(fluid.now_s + 60)
    assert fluid.admit[0] == 0.0


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_budget_changed_at_noon_is_planned_from_what_is_left(factor: float) -> None:
    """A campaign on plan that got its budget doubled spent 40 of 48 within three minutes."""
    pacer = paced(200 * PRICE)
    fluid = Fluid(pacer, 2_000.0)
    fluid.until(MIDNIGHT_S + 12 * HOUR_S)
    before = fluid.spent[0]
    change(pacer, 200 * PRICE * factor)
    fluid.until(MIDNIGHT_S + 13 * HOUR_S)
    due = max(200 * PRICE * factor - before, 0.0) / 12
    assert fluid.spent[0] - before == pytest.approx(due, rel=0.25, abs=2 * PRICE)
    fluid.until(MIDNIGHT_S + 24 * HOUR_S)
    assert fluid.spent[0] <= max(200 * PRICE * factor, before) + PRICE


def test_when_totals_stop_it_becomes_careful_and_says_so() -> None:
    """Totals that stopped at 18:00 were 'behind' from 18:15 on, and everything was admitted until midnight."""
    fluid = Fluid(paced(200 * PRICE), 20_000.0)
    fluid.until(MIDNIGHT_S + 18 * HOUR_S)
    fluid.is_seen = False
    reasons, before = set(), fluid.admit[0]
    for minute in range(1, 360):
        fluid.until(MIDNIGHT_S + 18 * HOUR_S + 60 * minute)
        assert fluid.made is not None
        reasons.add(int(fluid.made.reason[0]))
        assert minute > 240 or fluid.admit[0] < 2 * before
    assert fluid.spent[0] <= 200 * PRICE
    assert columns.BLIND in reasons
    assert "totals are behind" in REASONS[columns.BLIND]


def test_leases_granted_while_blind_add_up_to_no_more_than_what_is_left() -> None:
    fluid = Fluid(paced(100 * PRICE, plan=ASAP), 3_000.0)
    fluid.until(MIDNIGHT_S + 600)
    fluid.is_seen = False
    granted = 0.0
    for _ in range(100):
        fluid.until(fluid.now_s + _TICK_S)
        assert fluid.made is not None
        granted += float(fluid.made.allowance_micros[0]) * bool(fluid.made.told[0])
    assert 0 < granted <= 100 * PRICE - fluid.totals.spend_micros[0]


@pytest.mark.parametrize("window_s", [1_800, 7_200])
def test_spend_is_in_flight_as_long_as_the_window(window_s: int) -> None:
    pacer = paced(1_000 * PRICE, plan=ASAP, window_s=window_s)
    pacer.delay.histogram[:] = 0.0
    pacer.delay.histogram[-1] = 1e9  # clicks come at the end of the window
    pacer.delay.refresh()
    totals = Totals(1)
    totals.seen_to_s = MIDNIGHT_S + 4.0
    pacer.tick(MIDNIGHT_S + 4, totals)
    totals.impressions[:], totals.expected_clicks[:], totals.expected_spend_micros[:] = 1_000, 10.0, 10 * PRICE
    for second in range(8, window_s + 400, 4):
        totals.seen_to_s = float(MIDNIGHT_S + second)
        flight = pacer.tick(MIDNIGHT_S + second, totals).in_flight_micros[0]
        if second < 0.9 * window_s:
            assert flight > 3 * PRICE, second
    assert flight == 0.0


def test_impressions_without_a_prediction_count_with_the_rate_that_was_measured() -> None:
    fluid = Fluid(paced(2_000 * PRICE), 5_000.0, pctr=0.0)
    fluid.until(MIDNIGHT_S + 8 * HOUR_S)
    assert fluid.made is not None
    assert fluid.spent[0] == pytest.approx(2_000 * PRICE / 3, rel=0.25)
    rate = fluid.pacer._state[0, columns.KAPPA] * 0.01
    assert rate == pytest.approx(PCTR, rel=0.2)
    assert fluid.made.in_flight_micros[0] > 0


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_predictions_are_calibrated(factor: float) -> None:
    fluid = Fluid(paced(2_000 * PRICE), 5_000.0, pctr=factor * PCTR)
    fluid.until(MIDNIGHT_S + 6 * HOUR_S)
    assert fluid.pacer._state[0, columns.KAPPA] == pytest.approx(1 / factor, rel=0.1)


def test_an_even_plan_follows_traffic_and_a_flat_one_the_clock() -> None:
    def density(now_s: float) -> float:
        return 1.5 if now_s % 86_400 >= 12 * HOUR_S else 0.5

    shares = {}
    for plan in (EVEN, FLAT):
        pacer = paced(1_500 * PRICE, plan=plan)
        fluid = Fluid(pacer, 6_000.0)
        fluid.until(MIDNIGHT_S + 24 * HOUR_S, density)
        change(pacer, 1_500 * PRICE, hours=(24, 48), plan=plan)
        before, fluid.counters[:, :2] = fluid.spent[0], 0.0
        fluid.until(MIDNIGHT_S + 36 * HOUR_S, density)
        assert before > 1_400 * PRICE
        shares[plan] = fluid.spent[0] / (1_500 * PRICE)
    # A day of one campaign has taught most of it.
    assert 0.25 <= shares[EVEN] < 0.4
    assert shares[FLAT] == pytest.approx(0.5, abs=0.05)


def test_a_curve_of_ones_own_is_followed() -> None:
    curve = np.zeros((1, 96))
    curve[0, :24], curve[0, 72:] = 0.8 / 24, 0.2 / 24
    pacer = Pacer(1, curves=curve)
    change(pacer, 300 * PRICE, plan=FIRST_CURVE)
    fluid = Fluid(pacer, 5_000.0)
    for hour, share in ((6, 0.8), (18, 0.8), (24, 1.0)):
        fluid.until(MIDNIGHT_S + hour * HOUR_S)
        assert fluid.spent[0] / (300 * PRICE) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(
    ("curve", "said"),
    [(np.full((1, 96), 0.01), "sums to 0.96"), (np.full((1, 95), 1 / 95), "95 parts"), (-np.ones((1, 96)), "sums to")],
)
def test_a_curve_that_does_not_sum_to_one_is_refused(curve: np.ndarray, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Pacer(1, curves=curve)


def test_without_a_budget_nothing_is_admitted() -> None:
    fluid = Fluid(paced(0.0), 1_000.0)
    fluid.until(MIDNIGHT_S + 60)
    assert fluid.made is not None
    assert fluid.admit[0] == 0.0
    assert REASONS[int(fluid.made.reason[0])] == "there is no budget"


def test_the_multiplier_brings_the_share_back_and_stays_in_its_bounds() -> None:
    pacer = paced(200 * PRICE)
    pacer.terms.least_multiplier[:] = 0.3
    fluid = Fluid(pacer, 2_000.0)
    fluid.until(MIDNIGHT_S + 8 * HOUR_S)
    assert fluid.made is not None
    # A ninth of all auctions would do: at 0.3 the elasticity of 1.5 makes it 0.7 of them.
    assert fluid.made.bid_multiplier[0] == pytest.approx(0.3, abs=0.01)
    assert fluid.made.admit[0] == pytest.approx(0.7, abs=0.1)


def test_totals_that_come_again_or_late_change_nothing() -> None:
    def played(*, repeats: bool) -> np.ndarray:
        pacer, found = paced(500 * PRICE), []
        old = Totals(1)
        totals = Totals(1)
        for second in range(4, 2_000, 4):
            totals.seen_to_s = float(MIDNIGHT_S + second)
            totals.expected_spend_micros[:] = 40.0 * second
            totals.expected_clicks[:] = totals.impressions[:] = 40.0 * second / PRICE
            pacer.tick(MIDNIGHT_S + second, totals)
            if repeats:
                pacer.tick(MIDNIGHT_S + second, old)
                pacer.tick(MIDNIGHT_S + second, totals)
            found.append(pacer.tick(MIDNIGHT_S + second, totals).in_flight_micros.copy())
        return np.array(found)

    assert np.allclose(played(repeats=True), played(repeats=False))


def test_campaigns_do_not_depend_on_their_neighbours_decisions() -> None:
    """Ten equal campaigns get equal decisions."""
    pacer = Pacer(10)
    change(pacer, 200 * PRICE)
    fluid = Fluid(pacer, 1_000.0)
    fluid.until(MIDNIGHT_S + 2 * HOUR_S)
    assert fluid.made is not None
    assert np.ptp(fluid.made.admit) < 1e-6


@pytest.mark.parametrize("age_s", [0.0, 0.4, 30.0, 59.9, 60.0, 61.5, 599.0, 640.0, 700.0])
def test_kernels_and_calibration_take_one_mean_of_the_clicks_that_came(age_s: float) -> None:
    delay = ClickDelay(600)
    delay.histogram[:] = np.arange(len(delay.histogram)) % 7
    delay.refresh()
    areas = np.concatenate(([0.0], np.cumsum(delay.landing)))
    low_s = max(age_s - 60.0, 0.0)
    ages = np.linspace(low_s, max(age_s, low_s + 1e-9), 60_001)
    plainly = np.mean([landed(delay.landing, age) for age in ages])
    assert mean_landed(areas, low_s, age_s) == pytest.approx(plainly, abs=1e-3)
    low, high = (np.array([each], np.float64) for each in (age_s - 60.0, age_s))
    assert delay.mean_landed(low, high)[0] == pytest.approx(mean_landed(areas, low_s, age_s), abs=1e-9)


def test_a_decision_that_is_sent_for_its_figures_reserves_its_lease() -> None:
    """Ad servers go by its lease as by any other's. It was not reserved."""
    pacer = paced(1e7)
    fluid = Fluid(pacer, 300.0)
    fluid.until(MIDNIGHT_S + HOUR_S)
    reserved = pacer._state[0, columns.RESERVED]
    assert fluid.made is not None
    granted = fluid.made.allowance_micros[0] * pacer._state[0, columns.KAPPA]
    told_as_well(pacer, np.array([0]), fluid.now_s)
    assert granted > 0
    assert pacer._state[0, columns.RESERVED] == pytest.approx(reserved + granted)
    assert (pacer._state[0, columns.GRANT], pacer._state[0, columns.SHOWN]) == (pytest.approx(granted), 0.0)

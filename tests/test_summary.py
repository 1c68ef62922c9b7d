"""What the summary says of days, arms and money; models taken apart."""

from collections.abc import Sequence
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from online_models.experiments import Arm, compare
from online_models.features import FEATURES_VERSION, bucket, intercept_index
from online_models.former import FormerModel, weights_digest
from schemas.events import Impression
from schemas.models import ModelMetrics, ModelVersion
from streams.cli.render.measures import Measures
from streams.cli.render.models import measures_table, prediction_table
from streams.cli.render.summary import arms, days, model, pacing, rates, verdict
from tests.world import HOUR_MS

MICROS = 1_000_000
DAY_MINUTES = 24 * 60


def text_of(parts: Sequence[RenderableType], *, width: int = 100) -> str:
    """The parts as printed on a pipe, without trailing spaces."""
    console = Console(width=width, file=StringIO(), record=True, legacy_windows=False)
    for part in parts:
        console.print(part)
    return "\n".join(row.rstrip() for row in console.export_text().splitlines())


def test_hours_become_days_of_24_counts() -> None:
    hours = [
        {"hour": hour, "campaign_id": "k1", "impressions": shown, "attributed_clicks": 1, "spend_micros": 5}
        for hour, shown in (("2019-11-24 00:00:00", 3), ("2019-11-24 23:00:00", 4), ("2019-11-25 00:00:00", 9))
    ]
    first, second = days(hours)
    assert (first.impressions, first.attributed_clicks, first.spend_micros) == (7, 2, 10)
    assert first.hourly_impressions == (3, *[0] * 22, 4)
    assert (second.day.isoformat(), second.hourly_impressions[0]) == ("2019-11-25", 9)


def test_an_undecided_difference_is_called_undecided_with_its_interval() -> None:
    bts, random = Arm("bts", 30_000, 157), Arm("random", 30_000, 130)
    shown = verdict("policy", bts, random, compare(bts, random)).plain
    assert "-0.090 points (-0.298 to +0.118), p 0.75: undecided" in shown
    assert "does not show that the arms are alike" in shown


def test_a_decided_difference_names_the_better_arm() -> None:
    bts, random = Arm("bts", 30_000, 357), Arm("random", 30_000, 130)
    assert ": bts; bts was clicked more" in verdict("policy", bts, random, compare(bts, random)).plain


def test_an_arm_nobody_was_shown_is_left_out() -> None:
    row = {"experiment": "e", "arm": "a", "impressions": 0, "attributed_clicks": 0, "expected_clicks": 0}
    assert "no impression names an arm" in text_of([arms([row])])


def test_currencies_that_differ_stand_with_each_amount() -> None:
    row = {"hour": "2019-11-24 00:00:00", "impressions": 1, "attributed_clicks": 1, "spend_micros": 2_500_000}
    found = days([row | {"campaign_id": name} for name in ("k1", "k2", "k3")])
    shown = text_of([rates(found, {"k1": "JPY", "k2": "EUR"})])
    assert ("2.50 JPY" in shown, "2.50 EUR" in shown, "spend JPY" in shown) == (True, True, False)


def test_every_part_fits_80_columns() -> None:
    hours = [
        {"hour": f"2019-11-{day} {hour:02}:00:00", "campaign_id": f"brand-{at}", "impressions": 9_999,
         "attributed_clicks": 999, "spend_micros": 4_000 * MICROS}
        for at in range(9) for day in range(10, 19) for hour in range(24)
    ]  # fmt: skip
    decision = {
        "campaign_id": "brand-1", "state": "outside_flight", "admit": 0.5, "spend_micros": 10**10,
        "plan_micros": 10**10, "budget_micros": 10**10, "budget_percent": 100.0, "event_time": "2019-11-24 00:00:00.5",
    }  # fmt: skip
    window = {
        "model": "ctr", "window_start": "2019-11-24 00:00:00.000", "examples": 9_999_999, "weight": 1e7,
        "clicks": 99_999.0, "predicted_clicks": 99_999.9, "log_loss": 0.03,
    }  # fmt: skip
    currencies = {"brand-1": "JPY"}
    parts = [rates(days(hours), currencies), pacing([decision], currencies), model([window])]
    shown = text_of(parts, width=80)
    assert "…" not in shown
    assert "41 more days left out" in shown


@pytest.mark.parametrize(("labelled", "said"), [(110, False), (1_000, True)])
def test_measures_of_few_of_the_outcomes_are_called_so(labelled: int, said: bool) -> None:
    window = {
        "model": "ctr", "window_start": "2019-11-24 00:00:00.000", "examples": 100, "weight": 100.0,
        "clicks": 3.0, "predicted_clicks": 1.0, "log_loss": 0.03,
    }  # fmt: skip
    assert ("Only 100 of 1,000 outcomes were measured" in text_of([model([window], labelled=labelled)])) == said


def test_measures_add_up_by_weight() -> None:
    both = Measures(10, 10.0, 1.0, 2.0, 5.0) + Measures(30, 90.0, 4.0, 3.0, 15.0)
    assert (both.log_loss, both.calibration, both.examples) == (0.2, 1.0, 40)
    # H(0.05) = -0.05 ln 0.05 - 0.95 ln 0.95
    assert both.constant_log_loss == pytest.approx(0.1985152433458726)
    nothing = Measures()
    assert (nothing.log_loss, nothing.calibration, nothing.constant_log_loss) == (None, None, None)


def test_a_prediction_is_taken_apart_largest_first() -> None:
    found = {str(intercept_index(8)): -2.0, str(bucket("campaign_id", "k1", 8)): 0.5}
    found[str(bucket("device", "phone", 8))] = -0.75
    model = FormerModel(ModelVersion("ctr", 0, 41, 41, HOUR_MS, FEATURES_VERSION, 8, weights_digest(found), found))
    shown = text_of([prediction_table(model, Impression("i1", HOUR_MS, "k1", "r1", 5, device="phone"))])
    assert "ctr/0@41: impression i1 is clicked with probability 9.535 %" in shown  # 1 / (1 + e^2.25)
    rows = [row.split() for row in shown.splitlines()]
    assert rows.index(["device", "phone", "-0.7500"]) + 1 == rows.index(["campaign_id", "k1", "+0.5000"])
    assert ["creative_id", "r1", "+0.0000"] in rows


def test_a_window_written_again_counts_once() -> None:
    window = ModelMetrics("ctr", 0, 5, HOUR_MS, HOUR_MS + 1, "all", 100, 100.0, 4.0, 5.0, 0.25, 0.7, 1.25)
    shown = text_of([measures_table([window, window])])
    assert "all 1 windows" in shown
    assert "no window" in text_of([measures_table([])])

"""The comparison with Vowpal Wabbit: its settings, its rows, and figures that equal their definitions."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from online_models.mixture.examples import Example
from streams.cli.bench.vw_text import Texts
from tests.learning.__main__ import table
from tests.learning.scoring import delay_of, figures, of_vw, points_below, reached
from tests.learning.vw import DEFAULT, Ran, settings

ROW = Example(
    kind="click",
    impression_id="i",
    ts=7 * 3_600_000,
    label=1,
    campaign_id="a b:c|d",
    features={"price": -3.0, "tag_x": True, "tag_y": False, "site": "", "infinite": math.inf},
)


def entropy(rate: float) -> float:
    return -(rate * math.log(rate) + (1.0 - rate) * math.log(1.0 - rate))


def test_23_settings_are_tried_and_no_two_are_alike() -> None:
    found = settings(0.2)
    assert len(found) == len(set(found.values())) == 23
    assert found[DEFAULT] == "-b 20"
    assert sum("-q ::" in each for each in found.values()) == 10


def test_a_constant_is_the_log_odds_of_the_rate() -> None:
    assert settings(0.2)["linear, rate 0.1"] == "-b 22 -l 0.1 --constant -1.386"


def test_a_row_has_a_namespace_for_each_field_and_no_sign_of_vowpal_wabbit_in_a_word() -> None:
    texts = Texts()
    assert texts.line(ROW) == "1 |a a_b_c_d |b 7 |c v:-1.38629 |d tag_x no_tag_y |e _"
    negative = msgspec.structs.replace(ROW, label=0, kind="unclicked", weight=2.5, features=None)
    assert texts.line(negative) == "-1 2.5 |a a_b_c_d |b 7"


def test_fields_after_the_52nd_share_a_namespace() -> None:
    line = Texts().line(msgspec.structs.replace(ROW, features={f"f{number}": "x" for number in range(60)}))
    assert [part[0] for part in line.split("|")[1:]].count("Z") == 1
    assert line.split("|Z ")[1] == " ".join(["x"] * 11)


def test_figures_equal_their_definitions() -> None:
    predicted, labels, weights = np.array([0.3, 0.6, 0.2, 0.5]), np.array([0, 1, 0, 1], np.int8), np.ones(4)
    found = figures(predicted, labels, weights, seconds=2.0)
    losses = [-math.log(each) for each in (0.7, 0.6, 0.8, 0.5)]
    assert found["ne"] == pytest.approx(sum(losses) / 4 / entropy(0.5))
    assert found["ne_second_half"] == pytest.approx(sum(losses[2:]) / 2 / entropy(0.5))
    assert found["calibration"] == pytest.approx(1.6 / 2)
    assert found["rows_per_s"] == 2.0


def test_the_best_setting_has_the_lowest_loss_of_all_rows() -> None:
    labels, weights = np.array([0, 1], np.int8), np.ones(2)
    ran = {DEFAULT: Ran(np.array([0.5, 0.5]), 1.0), "better": Ran(np.array([0.2, 0.8]), 1.0)}
    found = of_vw(ran, labels, weights)
    assert found["vw best"]["setting"] == "better"
    assert points_below(found["vw best"], found["vw default"]) == pytest.approx(
        100 * (1.0 + math.log(0.8) / math.log(2))
    )


def test_labels_come_later_in_logs_of_a_day_or_longer() -> None:
    assert [delay_of(span_ms) for span_ms in (86_399_999, 86_400_000)] == ["5m", "30m"]


def test_the_summary_has_the_mean_and_the_worst_file_and_the_table_a_line_for_each_model() -> None:
    def found(ours: float, best: float) -> dict[str, dict[str, object]]:
        of = {"ne_second_half": best, "calibration": ours, "rows_per_s": 1_000.0}
        return {
            **{model: {"ne": ours, **of} for model in ("mixture", "ftrl", "vw default")},
            "vw best": {"ne": best, **of, "setting": "coin"},
        }

    at_once = [found(0.90, 0.92), found(1.01, 1.00)]
    summary = reached(at_once, at_once)
    assert summary["mean_points_below_best"] == pytest.approx(0.5)
    assert summary["least_points_below_best"] == pytest.approx(-1.0)
    assert summary["calibration"] == [0.90, 1.01]
    lines = list(table({"one": {"0s": at_once[0], "5m": at_once[1]}}))
    assert len(lines) == 1 + 2 * 4
    assert lines[4].endswith("coin")
    assert "+2.00" in lines[1]

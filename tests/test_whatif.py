"""`clickfold whatif`: a made-up market, and logs that can and cannot tell what more would have bought."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from streams.cli.app import app

DAY_MS = 20_605 * 86_400_000
SMALL = ("--campaigns", "4", "--auctions", "1", "--scenario", "first-day")


def whatif(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["whatif", *arguments])


def log(path: Path, *, tells_more: bool) -> Path:
    """Two campaigns over a day: 4,000 impressions of which one in forty is clicked, a minute later."""
    draw = np.random.default_rng(1)
    names = ["ts", "campaign_id", "price_micros", "pctr", "clicked", "click_delay_ms"]
    rows = [",".join([*names, *(["admit", "price_to_beat_micros"] if tells_more else [])])]
    for number in range(4_000):
        ts = DAY_MS + number * 21_600
        price = int(draw.integers(80_000, 120_000))
        clicked = int(draw.random() < 0.025)
        cells = [str(ts), f"c{number % 2}", str(price), "0.025", str(clicked), "60000" if clicked else ""]
        rows.append(",".join([*cells, *(["0.5", str(price // 2)] if tells_more else [])]))
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_made_up_market_prints_figures_the_worst_campaigns_and_a_chart(tmp_path: Path) -> None:
    png = tmp_path / "day.png"
    done = whatif(*SMALL, "--png", str(png))
    assert done.exit_code == 0, done.output
    for words in (
        "delivered of their budgets",
        "furthest over a budget",
        "clicks a unit of money",
        "Spend of all campaigns",
    ):
        assert words in done.output
    assert png.read_bytes().startswith(b"\x89PNG")


def test_hourly_caps_and_dayparts_hold_in_a_made_up_market() -> None:
    # The judged day is a Monday.
    done = whatif(*SMALL, "--hourly-cap", "0.15", "--dayparts", "mon 8-20", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["over_hour"] <= 3.0
    assert found["delivered"] > 0.8
    assert "furthest over an hour's cap" in whatif(*SMALL, "--hourly-cap", "0.2").output


def test_a_log_is_played_within_hourly_caps_and_dayparts(tmp_path: Path) -> None:
    file = str(log(tmp_path / "log.csv", tells_more=True))
    day = json.loads(whatif(file, "--hourly-cap", "0.1", "--dayparts", "mon 12-24", "--json").stdout)
    assert day["over_hour"] <= 3.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--policy", "pid", "--hourly-cap", "0.1"), "--policy pid knows no hourly caps and dayparts; choose from law"),
        (("--dayparts", "funday 1-2"), "--dayparts: dayparts has the day 'funday'; there are mon"),
    ],
)
def test_hours_that_cannot_be_are_refused(arguments: tuple[str, ...], said: str) -> None:
    done = whatif(*SMALL, *arguments)
    assert done.exit_code != 0
    assert said in str(done.exception)


def test_a_log_of_wins_is_not_extrapolated_and_says_so(tmp_path: Path) -> None:
    done = whatif(str(log(tmp_path / "log.csv", tells_more=False)), "--json")
    assert done.exit_code == 0, done.output
    assert "cannot tell what a larger budget or another bid would have bought" in done.stderr
    found = json.loads(done.stdout)
    assert found["campaigns"] == 2
    assert 0.9 < found["delivered"] < 1.1


def test_a_budget_above_what_a_log_of_wins_spent_is_refused(tmp_path: Path) -> None:
    done = whatif(str(log(tmp_path / "log.csv", tells_more=False)), "--budget", "1.5")
    assert done.exit_code != 0
    assert "the budget of c0 is above what the log spent" in str(done.exception)


def test_a_log_with_shares_and_prices_to_beat_tells_what_more_would_have_bought(tmp_path: Path) -> None:
    """It was throttled to a half, so twice its budget can be spent."""
    done = whatif(str(log(tmp_path / "log.csv", tells_more=True)), "--budget", "1.5", "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert json.loads(done.stdout)["delivered"] > 0.9


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1780272000000,c,5,0.1,1,", "was clicked and has no click_delay_ms"),
        ("1780272000000,c,-5,0.1,0,", "line 2 is no impression of an auction"),
        ("1780272000000,c,5,1.1,0,", "line 2 is no impression of an auction"),
    ],
)
def test_a_line_that_is_no_impression_is_named(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"ts,campaign_id,price_micros,pctr,clicked,click_delay_ms\n{row}\n")
    assert said in str(whatif(str(path)).exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scenario", "war"), "scenario 'war' is not known; choose from normal"),
        (("--policy", "best", *SMALL), "policy 'best' is not known"),
        (("--window", "5h"), "is not between 1m and 3h"),
        (("--servers", "2", "--refresh", "0s"), "give at least 1s"),
    ],
)
def test_a_wrong_option_is_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    assert said in str(whatif(*arguments).exception)

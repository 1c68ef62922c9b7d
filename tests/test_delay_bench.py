"""The stream of `clickfold bench delay`, and what the command says of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from streams.cli.app import app
from streams.cli.bench.delayed_stream import WINDOW_MS, WITHIN_WINDOW, stream


def test_stream_has_the_clicks_and_delays_that_it_says() -> None:
    made = stream(1, impressions=200_000, hours=6)
    clicks = int(made.clicked.sum())
    # Four standard errors of the number of clicks.
    assert clicks == pytest.approx(made.chances.sum(), abs=4 * clicks**0.5)
    assert made.delays_ms.max() == WINDOW_MS
    assert sorted(made.delays_ms[made.clicked].tolist())[clicks // 2] == pytest.approx(75_000, rel=0.15)
    assert 0.97 < WITHIN_WINDOW < 0.98
    assert sorted(made.rows.ts.tolist()) == made.rows.ts.tolist()


def measured(*more: str, impressions: int = 20_000) -> dict[str, Any]:
    given = ["--impressions", str(impressions), "--hours", "6", "--seeds", "1", "--json", *more]
    ended = CliRunner().invoke(app, ["bench", "delay", *given], catch_exceptions=False)
    found: dict[str, Any] = orjson.loads(ended.stdout)
    return found


def test_labels_that_come_late_cost_little_when_negatives_are_matched_and_much_when_all_wait() -> None:
    policies = measured()["policies"]
    assert list(policies) == ["no delay", "wait", "fake_negative", "reversal", "matched"]
    assert policies["no delay"]["early_ratio"] == 1.0
    assert policies["matched"]["early_ratio"] < 1.5 < 4.0 < policies["wait"]["early_ratio"]
    assert policies["matched"]["reversed"] < policies["reversal"]["reversed"]


def test_a_join_that_catches_up_costs_little_only_where_negatives_are_matched() -> None:
    found = measured("--ahead", "15m", "--ahead-hours", "7", impressions=40_000)
    assert (found["ahead_ms"], found["ahead_hours"]) == (900_000, 6)
    policies = found["policies"]
    assert policies["matched"]["calibration"] == pytest.approx(policies["no delay"]["calibration"], abs=0.1)
    assert policies["matched"]["later_ratio"] < 1.3 < 1.8 < policies["reversal"]["later_ratio"]

"""The stream of `clickfold bench delay`, and what the command says of it."""

from __future__ import annotations

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


def test_labels_that_come_late_cost_little_when_negatives_are_matched_and_much_when_all_wait() -> None:
    given = ["--impressions", "20000", "--hours", "6", "--seeds", "1", "--json"]
    ended = CliRunner().invoke(app, ["bench", "delay", *given], catch_exceptions=False)
    policies = orjson.loads(ended.stdout)["policies"]
    assert list(policies) == ["no delay", "wait", "fake_negative", "reversal", "matched"]
    assert policies["no delay"]["early_ratio"] == 1.0
    assert policies["matched"]["early_ratio"] < 1.5 < 4.0 < policies["wait"]["early_ratio"]
    assert policies["matched"]["reversed"] < policies["reversal"]["reversed"]

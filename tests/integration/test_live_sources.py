"""The live view's figures from ClickHouse."""

import pytest
from clickhouse_connect.driver.client import Client

from schemas.models import ModelMetrics
from streams.cli.render.measures import Measures
from streams.cli.render.sources import Sources
from tests.golden import insert, total
from tests.test_live import DAY_MS


@pytest.mark.clickhouse
def test_clickhouse_says_rows_and_measures_and_is_asked_seldom(ads: Client) -> None:
    insert(ads, "totals", [total(0, version=1, impressions=3)])
    windows = [
        ModelMetrics("m", 0, at, at * DAY_MS, at * DAY_MS + 1, "all", 10, 10.0, clicks, 2.0, loss, None, None)
        for at, clicks, loss in ((20_000, 1.0, 0.5), (20_002, 3.0, 0.25))
    ]
    insert(ads, "model_metrics", windows)
    now_s = [10.0]
    sources = Sources(client=lambda: ads, clock=lambda: now_s[0])
    snapshot = sources.read()
    assert snapshot.tables == {"model_metric_rows": 2, "minute_totals": 1}
    assert snapshot.measures == Measures(20, 20.0, 4.0, 4.0, 7.5)
    assert snapshot.last_day_measures == Measures(10, 10.0, 3.0, 2.0, 2.5)
    insert(ads, "totals", [total(1, version=1, impressions=3)])
    assert sources.read().tables == snapshot.tables
    now_s[0] += 2.0
    assert sources.read().tables == {"minute_totals": 2, "model_metric_rows": 2}
    sources.close()

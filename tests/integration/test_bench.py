"""`clickfold bench …` on little: that it measures what it says, not how fast."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from schemas.clickhouse.queries import queries
from schemas.codec import encode
from streams.cli.bench import app
from streams.cli.bench.ingest_topics import filled, one_round
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_log
from tests.ingesting import MAPPING, view
from tests.models.clicks import examples

Run = Callable[..., str]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, clickhouse: ClickHouse) -> Run:
    """The command as a function of its arguments, on the tests' ClickHouse, giving its standard output."""
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse.url)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.mark.clickhouse
def test_bench_queries_asks_every_named_query(bench: Run) -> None:
    asked = orjson.loads(bench("queries", "--minutes", "2000", "--outcomes", "2000", "--repeats", "1", "--json"))
    assert {one["name"] for one in asked} == set(queries())
    answered = {one["name"]: one["rows"] for one in asked}
    assert min(answered[name] for name in ("ctr_by_campaign_hour", "top_creatives", "experiment_arms", "pacing")) > 0
    assert answered["click_delay"] > 0


@pytest.mark.broker
@pytest.mark.clickhouse
def test_bench_sink_measures_totals_and_outcomes_beside_driver_and_engine(
    bench: Run, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap)
    found = orjson.loads(bench("sink", "--impressions", "10000", "--partitions", "2", "--rounds", "1", "--json"))
    assert set(found) == {"totals", "outcomes"}
    for measured in found.values():
        assert min(measured["engine"], measured["driver"], measured["sink"]) > 0
        assert measured["spent_us"]["decode (CPU)"] > 0


@pytest.mark.broker
def test_bench_ingest_measures_a_worker_and_a_consumer_that_only_reads(
    broker: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    filled(cluster, [orjson.dumps(view(number)) for number in range(30_000)], partitions=2)
    found = one_round(cluster, str(tmp_path / "m.toml"), tmp_path, 30_000, 2)
    assert min(found) > 0
    assert sum(len(read_log(cluster, "impressions", partition)) for partition in range(2)) == 30_000


@pytest.mark.broker
def test_bench_join_measures_a_worker_and_a_consumer_that_only_reads(
    bench: Run, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap)
    found = orjson.loads(bench("join", "--impressions", "30000", "--partitions", "2", "--rounds", "1", "--json"))
    assert found["events"] >= 30_000
    assert min(found["bare_events_per_s"], found["join_events_per_s"], found["join_cpu_us_per_event"]) > 0
    assert found["ratio"] == pytest.approx(found["join_events_per_s"] / found["bare_events_per_s"], abs=0.001)


def test_bench_fold_says_where_the_time_of_an_event_goes(bench: Run) -> None:
    found = orjson.loads(bench("fold", "--impressions", "2000", "--partitions", "2", "--rounds", "1", "--json"))
    spent_us = found["cpu_us_per_event"]
    assert min(spent_us.values()) >= 0.0
    assert spent_us["all"] == pytest.approx(sum(spent_us.values()) - spent_us["all"], abs=0.01)


@pytest.mark.broker
def test_bench_growth_measures_each_point_of_an_axis(
    bench: Run, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap)
    found = orjson.loads(bench("growth", "--quick", "--axes", "duplicates", "--json"))
    assert [(point["axis"], point["value"]) for point in found] == [("duplicates", 0.0), ("duplicates", 0.5)]
    for point in found:
        assert min(point["events_per_s"], point["cpu_us_per_event"], point["peak_mb"], point["open_impressions"]) > 0


def test_bench_latency_times_every_click_through_every_stage(bench: Run) -> None:
    found = orjson.loads(bench("latency", "--seconds", "10", "--max-rate", "2000", "--shares", "50", "--json"))
    assert (found["max_impressions_per_s"], found["commit"]) == (2_000, "100ms")
    (measured,) = found["rounds"]
    assert measured["impressions_per_s"] == pytest.approx(1_000, rel=0.3)
    assert list(measured["stages"]) == ["outcome", "clickhouse", "learner", "pacing"]
    for times in measured["stages"].values():
        assert (times["missing"], times["clicks"] > 20) == (0, True)
        assert 0 < times["p50_ms"] <= times["p99_ms"] <= times["p99.9_ms"]


def test_bench_serve_times_calls_before_http_and_over_it(bench: Run, tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(b"\n".join(map(encode, examples(500))))
    found = orjson.loads(
        bench("serve", str(path), "--seconds", "1", "--rate", "20", "--candidates", "10", "--rows", "600", "--json")
    )
    assert (found["rows"], found["own client"]["calls"], found["own client"]["failed"]) == (600, 20, 0)
    assert 0 < found["own client"]["p50_ms"] <= found["own client"]["p99_ms"]
    assert 0 < found["cpu_ms_before_http"]["median"] < found["cpu_ms_a_call"] * 10
